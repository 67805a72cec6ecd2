"""The form of every refusal."""

from starlette.responses import JSONResponse


def refuse(status: int, sentence: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """An answer that is an error: ``{"error": sentence}``, as the Open Inference Protocol has it."""
    return JSONResponse({"error": sentence}, status, headers)


def later(reason: str) -> JSONResponse:
    """Told to whom the server has no place for now."""
    return refuse(503, f"{reason}; try again.", {"Retry-After": "1"})
