"""The command that writes a site: `web`."""

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from liquidlens.console import console
from liquidlens.serve.commands.options import Models


def web(
    models: Models = None,
    out: Annotated[Path, typer.Option(help="Folder to write; an earlier site in it is replaced.")] = Path("site"),
) -> None:
    """Write a page that runs models in the browser: a folder that any static host can serve, with nothing uploaded."""
    from liquidlens.serve.web import site

    out = out.resolve()
    names = site.write(models or [], out)
    files = [path for path in out.rglob("*") if path.is_file()]
    size = sum(path.stat().st_size for path in files) / 2**20
    console.print(f"{out}: {', '.join(names)}; {len(files)} files, {size:.1f} MiB.", style="bold", soft_wrap=True)
    console.print(
        f"Look at it at http://127.0.0.1:8080: {shlex.quote(sys.executable)} -m http.server 8080 --bind 127.0.0.1 "
        f"--directory {shlex.quote(str(out))}",
        soft_wrap=True,
        markup=False,
    )
