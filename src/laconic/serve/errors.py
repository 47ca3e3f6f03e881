"""Errors as the OpenAI API has them, with laconic's hints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi.responses import JSONResponse

from laconic.errors import LaconicError, MethodError, ModelError, RemoteError, RequestError
from laconic.serve.backend import Busy, Draining


class NoSuchModel(RequestError):
    """A model that this server does not have."""


class NoSuchRequest(RequestError):
    """A request that is not under way, or somebody else's."""


_STATUS: tuple[tuple[type[Exception], int, str], ...] = (
    (NoSuchModel, 404, "model_not_found"),
    (NoSuchRequest, 404, "request_not_found"),
    (Busy, 429, "too_many_requests"),
    (Draining, 503, "not_ready"),
    (MethodError, 400, "invalid_method"),
    (RequestError, 400, "invalid_request"),
    (RemoteError, 502, "upstream_error"),
    (ModelError, 500, "engine_error"),
    (LaconicError, 500, "internal_error"),
)


def status(error: Exception) -> int:
    """The HTTP status of an error."""
    return next((found for kind, found, _ in _STATUS if isinstance(error, kind)), 500)


def body(error: Exception) -> dict[str, Any]:
    """An error raised on purpose, as a body; for others, that there was one."""
    code = next((code for kind, _, code in _STATUS if isinstance(error, kind)), "internal_error")
    said = f"{error.message} {error.hint}".strip() if isinstance(error, LaconicError) else "the server failed."
    if isinstance(error, RemoteError):  # what it says is for the operator, and in the log
        said = "the server behind this one failed, or did not answer as it should."
    return _body(status(error), said, code)


def _body(code: int, message: str, name: str | None, param: str | None = None) -> dict[str, Any]:
    kind = "invalid_request_error" if code < 500 else "server_error"
    kind = "rate_limit_error" if code == 429 else kind
    return {"error": {"message": message, "type": kind, "param": param, "code": name}}


def reply(
    code: int,
    message: str,
    *,
    param: str | None = None,
    name: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """An error of this status."""
    return JSONResponse(_body(code, message, name, param), status_code=code, headers=dict(headers or {}))


def of(code: int, error: Exception) -> JSONResponse:
    """The reply to a request that raised this."""
    headers = {"retry-after": str(error.seconds)} if isinstance(error, Busy) else {}
    return JSONResponse(body(error), status_code=code, headers=headers)


def invalid(found: Sequence[Any]) -> JSONResponse:
    """The reply to a body that is not what the API takes: 400, naming the first of what pydantic ``found`` wrong."""
    first = found[0]
    where = [str(part) for part in first["loc"] if part != "body"]
    param = ".".join(where) or None
    said = str(first["msg"]).removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        said = "Unrecognized request argument supplied."
    if first["type"] == "json_invalid":
        param, said = None, "The body is not JSON."
    return reply(400, f"{param}: {said}" if param else said, param=param, name="invalid_request")
