"""Runs the application until it is told to end: binds, says where it is, drains on SIGTERM and Ctrl-C."""

from __future__ import annotations

import asyncio
import logging
import math
import sys
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any

import uvicorn

from laconic.errors import RequestError
from laconic.serve.app import application
from laconic.serve.backend import Backend
from laconic.serve.settings import Settings
from laconic.thinking.base import Controller

_SWITCH = 0.001
"""Seconds for which a thread may hold Python's lock while another wants it: the engine's passes are short."""


_AFTERWARDS = 3
"""Seconds for connections to close once everything has ended that was under way."""


class _Server(uvicorn.Server):
    """Says when it is ready, and lets requests end before connections are closed."""

    def __init__(
        self, config: uvicorn.Config, ready: Callable[[str], None], drain: Callable[[], Awaitable[None]]
    ) -> None:
        super().__init__(config)
        self._ready, self._drain = ready, drain

    async def startup(self, sockets: Any = None) -> None:
        """Start, and say where."""
        await super().startup(sockets=sockets)
        if self.started:
            bound = self.servers[0].sockets[0].getsockname()
            host = f"[{bound[0]}]" if ":" in bound[0] else bound[0]
            self._ready(f"http://{host}:{bound[1]}")

    async def shutdown(self, sockets: Any = None) -> None:
        """Take no more connections, and let the backend drain: streams that it ends are told so, not cut off."""
        drained = asyncio.ensure_future(self._drain())
        await super().shutdown(sockets)
        await drained


def serve(
    backend: Backend,
    settings: Settings,
    efforts: Mapping[str, tuple[Controller, ...]],
    *,
    ready: Callable[[str], None],
) -> None:
    """Serve until SIGTERM or SIGINT; ``ready`` is told the address. Raises RequestError where it cannot be bound."""
    sys.setswitchinterval(_SWITCH)
    config = uvicorn.Config(
        application(backend, settings, efforts),
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=math.ceil(settings.grace) + _AFTERWARDS,
        h11_max_incomplete_event_size=64 << 10,
    )
    server = _Server(config, ready, partial(backend.stop, settings.grace))
    try:
        server.run()
    except KeyboardInterrupt:  # the signal that ended it, raised once more when all is over
        return
    except SystemExit as error:
        raise RequestError(
            f"{settings.host}:{settings.port} cannot be bound.", "Is another server there? Name another --port."
        ) from error


def log_to_stderr(level: int = logging.INFO) -> None:
    """One line of JSON for each event, on standard error; never with what was asked or answered."""
    handler = logging.StreamHandler()
    handler.setFormatter(_Lines())
    root = logging.getLogger("laconic")
    root.handlers, root.propagate = [handler], False
    root.setLevel(level)


class _Lines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        import json

        said = {"time": self.formatTime(record), "level": record.levelname.lower(), "event": record.getMessage()}
        said |= getattr(record, "fields", {})
        if record.exc_info:
            said["trace"] = self.formatException(record.exc_info)
        return json.dumps(said)
