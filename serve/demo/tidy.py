"""What visitors leave behind, and its end: what Gradio keeps of an open page, and files in the folder for uploads.

Gradio keeps every component as a visitor last saw it, pictures and results included, on the server: until ten thousand
others came, also after the page was closed.  Here it goes when the page is closed, or is not used for a while.
"""

import os
import time
from collections.abc import Set
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path

import gradio as gr
from gradio import routes

#: The bytes that the scans and maps of open pages may take together, how long one is remembered that nobody uses, and
#: how long an answer is that nobody fetches.
BYTES, IDLE, UNFETCHED = 4 * 2**30, timedelta(minutes=30), timedelta(minutes=1)


def forget_closed_pages(page: gr.Blocks) -> None:
    """Forget a page when its visitor closes it.  To be called while the page is built."""

    async def closed(request: gr.Request) -> None:  # async: Gradio reads the sessions in the loop's thread
        forget(page, str(request.session_hash))

    page.unload(closed)


def forget(page: gr.Blocks, session: str) -> None:
    """Drop all that is kept of one visitor."""
    page.state_holder.session_data.pop(session, None)
    page.state_holder.time_last_used.pop(session, None)


def tidy_sessions(page: gr.Blocks) -> None:
    """Forget the pages that were not used for `IDLE`, and then others, until the scans of those that are left take at
    most `BYTES`: first such as have more than their share of them, of these the least recently used.  The page used
    last is left in any case.  To be called in the server's loop."""
    holder = page.state_holder
    for session, used in list(holder.time_last_used.items()):
        if datetime.now() - used > IDLE:
            forget(page, session)
    # The least recently used comes first.
    sizes = {session: state.nbytes for session, state in holder.session_data.items()}
    total, share = sum(sizes.values()), BYTES / max(1, sum(size > 0 for size in sizes.values()))
    for session in sorted(list(sizes)[:-1], key=lambda name: sizes[name] <= share):
        if total <= BYTES:
            break
        forget(page, session)
        total -= sizes[session]


def tidy_answers(page: gr.Blocks) -> None:
    """Drop answers that nobody fetched for `UNFETCHED` after nothing of their visitor waits or is worked on any more.
    Gradio keeps those of the last two thousand visitors.  To be called in the server's loop."""
    queue, used = page._queue, page.state_holder.time_last_used
    busy = {event.session_hash for event in queue.event_ids_to_events.values()}
    for session in set(queue.pending_messages_per_session) - busy:
        if session not in used or datetime.now() - used[session] > UNFETCHED:
            queue.pending_messages_per_session.pop(session, None)
            queue.pending_event_ids_session.pop(session, None)


def tidy_progress(before: Set[str]) -> set[str]:
    """Forget the uploads whose progress somebody asked for, that are over, or never began, now as in the round before.
    Returns those of this round.  To be called in the server's loop."""
    progress = routes.file_upload_statuses
    names = {name for name in progress._signals if name not in progress._statuses or progress.is_done(name)}
    for name in names & before:
        progress.stop_tracking(name)
        del progress._signals[name]
    return names


def tidy_files(folder: Path, kept: Set[Path], seconds: float) -> None:
    """Delete files, and folders that are empty, that nobody touched for so long.  kept: paths that stay."""
    # Bottom-up, what is in a folder comes before the folder; one that goes meanwhile ends nothing, as it would rglob.
    for parent, folders, files in os.walk(folder, topdown=False):
        for path in (Path(parent, name) for name in (*files, *folders)):
            with suppress(OSError):  # it may just have been read, and deleted; a folder may not be empty
                if path.resolve() not in kept and time.time() - path.lstat().st_ctime > seconds:
                    path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()


def kept_files(page: gr.Blocks) -> set[Path]:
    """The files that the page itself offers."""
    return {Path(path).resolve() for block in page.blocks.values() for path in getattr(block, "keep_in_cache", ())}


def forget_gone_files(page: gr.Blocks) -> None:
    """Gradio remembers the path of every upload, and with it the name of the file."""
    for paths in page.temp_file_sets:
        paths.difference_update([path for path in paths if not Path(path).exists()])
