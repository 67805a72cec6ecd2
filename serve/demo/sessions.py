"""What the server keeps of an open page: its scan, and which of its components changed; no picture, and no text."""

from types import SimpleNamespace
from typing import Any

import gradio as gr
from gradio.state_holder import SessionState, StateHolder

from liquidlens.serve.demo.case import Case

#: Open pages that are remembered.
SESSIONS = 1_000


class Session(SessionState):
    """Gradio's, without the copy of the whole page that it keeps for links to it, which are not offered."""

    def _update_config(self, key: int) -> None:
        pass

    def _update_value_in_config(self, key: int, value: Any) -> None:
        pass

    @property
    def nbytes(self) -> int:
        """Bytes of its scan and map in memory."""
        return sum(value.nbytes for value in self.state_data.values() if isinstance(value, Case))


class Sessions(StateHolder):
    """Gradio's, which forgets pages without a scan first: many small requests put nobody's scan away."""

    def __getitem__(self, session_id: str) -> SessionState:
        if session_id not in self.session_data:
            nothing: Any = SimpleNamespace(default_config=self.blocks.default_config, blocks=())
            self.session_data[session_id] = Session(nothing)
        return super().__getitem__(session_id)

    def update(self, session_id: str) -> None:
        with self.lock:
            if session_id in self.session_data:
                self.session_data.move_to_end(session_id)
            while len(self.session_data) > self.capacity:  # the least recently used comes first
                others = [name for name in self.session_data if name != session_id]
                gone = min(others, key=lambda name: self.session_data[name].nbytes > 0)
                del self.session_data[gone]
                self.time_last_used.pop(gone, None)


def keep(application: Any, page: gr.Blocks) -> None:
    """Let Gradio's application, with this page on it, keep its visitors here."""
    page.state_session_capacity = SESSIONS
    application.state_holder = Sessions()
    application.state_holder.set_blocks(page)
