"""The server: demo, Open Inference Protocol and health endpoints in one process, behind all `guards`."""

import asyncio
import atexit
import functools
import logging
import os
import secrets
import shutil
import signal
import sys
import tempfile
import webbrowser
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import anyio
from fastapi import FastAPI, Response
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware

from liquidlens import memory
from liquidlens.cores import usable_cores
from liquidlens.errors import LiquidLensError
from liquidlens.serve.monitoring import Monitor
from liquidlens.serve.predict import pretrained
from liquidlens.serve.predict.predictor import Predictor
from liquidlens.serve.server import log, protocol
from liquidlens.serve.server.connections import Server, listen
from liquidlens.serve.server.guards import protect
from liquidlens.serve.settings import PASSWORD, Settings

if TYPE_CHECKING:  # else `_mount_demo` imports it
    from gradio import Blocks

#: How long an upload stays that nobody reads, and how often what visitors left is looked for.
UPLOAD_SECONDS, SWEEP_SECONDS = 600, 10

logger = logging.getLogger(__name__)


def create(paths: Sequence[str], settings: Settings) -> FastAPI:
    """The application, its models loaded and run once.

    paths: files or names of pretrained models; none means all pretrained models.
    Raises LiquidLensError if a model cannot be loaded.
    """
    predictors = load(paths, settings)
    folder = private_folder()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        sweeper = asyncio.create_task(_sweep(folder, app.state.page))
        yield
        sweeper.cancel()

    app = FastAPI(title="LiquidLens", openapi_url=None, lifespan=lifespan)
    app.state.predictors = predictors
    app.state.monitor = monitor = Monitor(predictors)
    for name, predictor in predictors.items():
        predictor.on_answer = functools.partial(monitor.answer, name)
    app.include_router(protocol.router(predictors, settings, monitor))
    app.add_api_route("/metrics", lambda: Response(monitor.text(), media_type=CONTENT_TYPE_LATEST))
    app.add_exception_handler(HTTPException, protocol.on_error)
    app.add_middleware(CORSMiddleware, allow_origins=())  # else Gradio's lets pages of other local servers read
    protect(app, settings)  # last, and so around everything else
    app.state.page = _mount_demo(app, predictors, settings)
    return app


def load(paths: Sequence[str], settings: Settings) -> dict[str, Predictor]:
    """Predictors by the name under which the server offers each: that of its file or bundle, numbered if taken."""
    predictors: dict[str, Predictor] = {}
    threads = settings.threads or max(1, usable_cores() // max(1, settings.concurrency))
    for given in paths or pretrained.names():
        path = pretrained.find(given)
        name = unnumbered = pretrained.name_of(path)
        number = 1
        while name in predictors:
            number += 1
            name = f"{unnumbered}-{number}"
        predictors[name] = Predictor(path, settings.device, threads, settings.public_key)
    if not predictors:
        raise LiquidLensError("there are no pretrained models here; name an exported .onnx file.")
    return predictors


@functools.cache
def private_folder() -> Path:
    """This process's folder for uploads, which only its user can enter; removed when the process ends.

    Gradio keeps uploads where $GRADIO_TEMP_DIR says, by default in a folder that all users of a machine share.
    """
    folder = Path(tempfile.gettempdir(), f"liquidlens-{secrets.token_hex(8)}")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)  # before it is there: a signal may end us any moment
    folder.mkdir(mode=0o700)
    os.environ["GRADIO_TEMP_DIR"] = str(folder)
    return folder


async def _sweep(folder: Path, page: "Blocks") -> None:
    """Drop what visitors left, again and again, whatever goes wrong once."""
    from liquidlens.serve.demo import tidy

    kept, over = tidy.kept_files(page), set[str]()
    while True:
        await asyncio.sleep(SWEEP_SECONDS)
        try:
            tidy.tidy_sessions(page)
            tidy.tidy_answers(page)
            over = tidy.tidy_progress(over)
            await anyio.to_thread.run_sync(tidy.tidy_files, folder, kept, UPLOAD_SECONDS)
            tidy.forget_gone_files(page)
            await anyio.to_thread.run_sync(memory.give_back)
        except Exception:
            logger.exception("what visitors left could not be tidied")


def _mount_demo(app: FastAPI, predictors: Mapping[str, Predictor], settings: Settings) -> "Blocks":
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # before the import, which reads it
    os.environ["HF_HUB_OFFLINE"] = "1"
    # No statistics of events, which Gradio makes anew, with pandas, after each.
    os.environ["GRADIO_ANALYTICS_MAX_EVENTS"], os.environ["GRADIO_ANALYTICS_CACHE_FREQUENCY"] = "1", str(2**62)
    import gradio
    from gradio import processing_utils, route_utils, routes

    from liquidlens.serve import demo
    from liquidlens.serve.demo import sessions, tidy, uploads

    # Gradio downloads a file that a request names by address: as large as it may be, from wherever it is.
    processing_utils.async_ssrf_protected_download = _refuse_download
    route_utils.GradioMultiPartParser = routes.GradioMultiPartParser = uploads.UploadParser
    blocks = demo.build(predictors, settings)
    blocks.queue(
        api_open=False,  # no way past the queue
        max_size=settings.queue_size,
        default_concurrency_limit=settings.concurrency,
    )
    app.state.offered = frozenset(map(str, tidy.kept_files(blocks)))
    gradio.mount_gradio_app(
        app,
        blocks,
        path="/",
        allowed_paths=sorted(app.state.offered),
        enable_monitoring=False,
        footer_links=[],
        max_file_size=settings.upload_bytes,
        mcp_server=False,
        pwa=False,
        root_path=settings.root_path or None,
        run_history=False,
        show_error=False,  # of errors that nobody foresaw; those for people are shown anyway
        ssr_mode=False,
        **demo.looks(),
    )
    mounted = app.routes[-1].app
    mounted.uploaded_file_dir = str(uploads.folder())
    sessions.keep(mounted, blocks)
    return blocks


async def _refuse_download(url: str, cache_dir: str) -> NoReturn:
    raise LiquidLensError("this server fetches nothing from elsewhere; upload the file.")


def run(
    paths: Sequence[str],
    settings: Settings,
    say: Callable[[str], None] = print,
    open_page: bool = False,
    json_log: bool = False,
) -> None:
    """Serve until SIGINT or SIGTERM, then end the process with exit code 0.

    say: is told what is served and where; warnings go to stderr.  json_log: whether the log is JSON.
    Raises LiquidLensError if the port is taken or a model cannot be loaded.
    """
    os.umask(0o077)
    memory.share_heaps()
    memory.keep_freed()
    with ended_by_signals(), listen(settings) as listener:
        app = create(paths, settings)
        for name, predictor in app.state.predictors.items():
            say(f"{name}: {predictor.manifest.model} on {predictor.device}, {predictor.path}")
        if not settings.local and settings.password is None:
            print(
                f"Warning: everybody who can reach {settings.host} can use this server; ${PASSWORD} sets a password.",
                file=sys.stderr,
            )
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        address = f"http://{host}:{listener.getsockname()[1]}/"
        say(f"Research use only, not a medical device. Serving at {address} until Ctrl+C.")
        if open_page:
            webbrowser.open(address)
        with log.discreet(json_log):
            Server(app).run(sockets=[listener])


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """SIGINT and SIGTERM end the process with exit code 0, also where a library that is being imported or called makes
    an error of its own of that."""
    told: list[int] = []

    def end(number: int, _: object) -> None:
        told.append(number)
        sys.exit(0)

    for number in (signal.SIGINT, signal.SIGTERM):  # uvicorn raises them again when it has shut down
        signal.signal(number, end)
    try:
        yield
    except Exception:
        if told:
            sys.exit(0)
        raise
