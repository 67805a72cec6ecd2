"""The command that starts the server: `serve`."""

from pathlib import Path
from typing import Annotated

import typer

from liquidlens.console import console
from liquidlens.errors import LiquidLensError
from liquidlens.serve.commands.options import Device, JsonLog, Limits, Models, Signature


def serve(
    models: Models = None,
    host: Annotated[str, typer.Option(help="Address to listen at; 0.0.0.0 lets other machines in.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 7860,
    device: Device = "auto",
    threads: Annotated[
        int | None, typer.Option(min=1, help="CPU threads of one request; by default those worked on share the cores.")
    ] = None,
    limits: Limits = None,
    max_upload: Annotated[int, typer.Option(min=1, help="Largest upload, in MiB.")] = 512,
    queue: Annotated[int, typer.Option(min=1, help="How many requests may wait before the next is refused.")] = 64,
    concurrency: Annotated[
        int | None, typer.Option(min=1, help="How many are worked on at once; by default one per core, at least two.")
    ] = None,
    user: Annotated[str | None, typer.Option(help="Who logs in, by default liquidlens; needs a password.")] = None,
    password_file: Annotated[
        Path | None, typer.Option(help="Its first line is the password; otherwise $LIQUIDLENS_PASSWORD, or none.")
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(
            help="A further name of this server, such as that of a proxy, with its port if it has one. Repeatable."
        ),
    ] = None,
    root_path: Annotated[str, typer.Option(help="The path under which a proxy offers this server, as in /lens.")] = "",
    require_signature: Signature = None,
    open_page: Annotated[bool, typer.Option("--open/--no-open", help="Open the demo in a browser.")] = False,
    json_log: JsonLog = False,
) -> None:
    """Serve models to people (a demo in the browser) and to programs (the Open Inference Protocol)."""
    from liquidlens.imaging.budget import parse_budget
    from liquidlens.serve.predict.pretrained import find
    from liquidlens.serve.settings import SERVED, Settings, read_password

    for model in models or ():
        find(model)
    password = read_password(password_file)
    if user is not None and password is None:
        raise LiquidLensError("--user needs a password: set $LIQUIDLENS_PASSWORD or give --password-file.")
    settings = Settings(
        host=host,
        port=port,
        allowed_hosts=tuple(allow_host or ()),
        root_path=root_path.rstrip("/"),
        user=user or "liquidlens",
        password=password,
        upload_bytes=max_upload * 2**20,
        queue_size=queue,
        device=device,
        threads=threads,
        public_key=require_signature,
        budget=parse_budget(limits or (), SERVED),
        **({} if concurrency is None else {"concurrency": concurrency}),
    )
    from liquidlens.serve.server.app import run  # seconds, which a wrong name need not wait for

    run(models or [], settings, lambda line: console.print(line, soft_wrap=True), open_page, json_log)
