"""The tables of commands, recipe fields, budgets and settings in the docs, written from the code: ``make docs``.

They stand between ``<!-- from the code: NAME -->`` and ``<!-- end -->``.
"""

import inspect
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any

import typer
from pydantic_core import PydanticUndefined

from liquidlens.commands import app
from liquidlens.imaging import Budget
from liquidlens.serve import Settings
from liquidlens.serve.node import settings as node
from liquidlens.train.recipes import Training

DOCS = Path(__file__).parents[1] / "docs"
_BLOCK = re.compile(r"(<!-- from the code: ([\w ]+) -->\n).*?(<!-- end -->)", re.DOTALL)
#: In a docstring: ``name, other: what they are``, up to the next such line.
_DESCRIBED = re.compile(r"^(\w+(?:, \w+)*): (.*?)(?=^\w+(?:, \w+)*: |\Z)", re.DOTALL | re.MULTILINE)
#: In a class: comments of the form ``#: what they are``, and the fields below them.
_COMMENTED = re.compile(r"((?:^ +#: .*\n)*)((?:^ +\w+: .*\n)+)", re.MULTILINE)


def commands() -> Iterator[str]:
    """Every command with its arguments and options."""
    for name, command in typer.main.get_command(app).commands.items():  # type: ignore[attr-defined]
        yield f"\n## {name}\n\n{command.help}\n\n"
        yield from _table(
            ("argument or option", "default", ""),
            ((_spelled(parameter), _default(parameter), parameter.help) for parameter in command.params),
        )


def recipe_fields() -> Iterator[str]:
    defaults = {name: field.get_default(call_default_factory=True) for name, field in Training.model_fields.items()}
    rows = []
    for comment, below in _COMMENTED.findall(inspect.getsource(Training)):
        about = " ".join(line.strip().removeprefix("#: ") for line in comment.splitlines())
        for name, kind in re.findall(r"^ +(\w+): (.*?)(?: = .*)?$", below, re.MULTILINE):
            if name in defaults and name not in ("recipe", "about"):
                choices = ", ".join(f"`{choice}`" for choice in re.findall(r'"([^"]+)"', kind))
                rows.append(
                    (f"`{name}`", _value(name, defaults[name]), f"{about} One of {choices}." if choices else about)
                )
                about = ""
    return _table(("field", "default", ""), rows)


def described(kind: type) -> Iterator[str]:
    """The fields of a dataclass, as its docstring describes them."""
    defaults = {field.name: field.default for field in fields(kind)}
    about = [(names.split(", "), text) for names, text in _DESCRIBED.findall(inspect.getdoc(kind) or "")]
    assert [name for names, _ in about for name in names] == list(defaults), f"{kind} describes other fields"
    rows = (
        (", ".join(f"`{name}`" for name in names), ", ".join(_value(name, defaults[name]) for name in names), text)
        for names, text in about
    )
    return _table(("field", "default", ""), rows)


TABLES: dict[str, Callable[[], Iterator[str]]] = {
    "commands": commands,
    "recipe fields": recipe_fields,
    "budget": lambda: described(Budget),
    "settings": lambda: described(Settings),
    "node": lambda: described(node.Node),
    "node senders": lambda: described(node.Sender),
    "node archive": lambda: described(node.Archive),
    "node rules": lambda: described(node.Rule),
    "node web": lambda: described(node.Web),
    "node tls": lambda: described(node.TLS),
}


def written(text: str) -> str:
    """A page with its tables made anew."""
    return _BLOCK.sub(lambda block: f"{block[1]}\n{''.join(TABLES[block[2]]())}\n{block[3]}", text)


def _table(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    for row in (header, ("---",) * len(header), *rows):
        yield f"| {' | '.join(' '.join(cell.replace('``', '`').split()) for cell in row)} |\n"


def _spelled(parameter: Any) -> str:
    """``MODEL``, ``--limit NAME=VALUE``."""
    if not parameter.opts[0].startswith("-"):
        return f"`{parameter.name.upper()}{'...' * (parameter.nargs == -1)}`"
    spelled = "/".join((*parameter.opts, *parameter.secondary_opts))
    return f"`{spelled} {parameter.metavar}`" if parameter.metavar else f"`{spelled}`"


def _default(parameter: Any) -> str:
    if parameter.required:
        return "required"
    return "" if parameter.default in (None, "") or parameter.default is False else f"`{parameter.default}`"


def _value(name: str, default: Any) -> str:
    """A default as people write it; sizes in bytes as they are given with ``--limit``."""
    if default is None:
        return "none"
    if default in ("", (), {}) or default in (PydanticUndefined, MISSING):
        return ""
    if name.endswith("bytes"):
        unit, size = ("GiB", 2**30) if default % 2**30 == 0 else ("MiB", 2**20)
        return f"`{default // size} {unit}`"
    return f"`{type(default).__name__}()`" if is_dataclass(default) else f"`{default}`"


def main() -> None:
    for page in sorted(DOCS.glob("*.md")):
        text = page.read_text(encoding="utf-8")
        if (new := written(text)) != text:
            page.write_text(new, encoding="utf-8")
            print(page)


if __name__ == "__main__":
    main()
