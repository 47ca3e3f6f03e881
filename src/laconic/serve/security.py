"""Who may ask, under which name, and how much at once: checked before anything of a request is read."""

from __future__ import annotations

import hmac
import json
from collections.abc import Awaitable, Callable, MutableMapping
from hashlib import sha256
from typing import Any
from urllib.parse import urlsplit

from starlette.exceptions import HTTPException

from laconic.serve.settings import LOOPBACK, Settings

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_OPEN = ("/health", "/ready", "/")
"""Paths that need no key: probes of an orchestrator, and the page, which asks for one."""
_PAGE = "/page/"
ANYBODY = "-"
"""The owner of requests where there are no keys."""


class Guard:
    """ASGI middleware. Refuses hosts that are not the server's (DNS rebinding), pages of other origins, requests
    without a key, and bodies that are too large; tells the application whose request it is (``scope["owner"]``)."""

    def __init__(self, app: Any, settings: Settings) -> None:
        self.app = app
        self._hosts = {name.lower() for name in (*LOOPBACK, settings.host, *settings.hosts)}
        self._any = settings.everywhere and not settings.hosts
        """Whether any name will do: who rebinds a name to this server has none of its keys, which it then wants."""
        self._origins = set(settings.origins)
        self._keys = [sha256(key.encode()).digest() for key in settings.keys]
        self._most = settings.bounds.body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or refuse it."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return
        headers = {name.lower(): value.decode("latin-1") for name, value in scope["headers"]}
        host, origin = headers.get(b"host", ""), headers.get(b"origin")
        if not self._any and _name(host) not in self._hosts:
            await _refuse(send, 403, "invalid_host", "this server is not known by that name (--allowed-host).")
            return
        own = origin is None or _place(origin) == host
        allowed = own or origin in self._origins
        if not allowed:
            await _refuse(send, 403, "invalid_origin", "pages of other origins may not ask this server.")
            return
        shared = [] if own else [(b"access-control-allow-origin", str(origin).encode("latin-1")), (b"vary", b"Origin")]
        if scope["method"] == "OPTIONS" and not own:
            await _preflight(send, shared, headers.get(b"access-control-request-headers", ""))
            return
        given = headers.get(b"authorization") or f"Bearer {headers.get(b'x-api-key', '')}"  # as Anthropic's clients
        owner = self._owner(given, scope["path"])
        if owner is None:
            wanted = [(b"www-authenticate", b"Bearer")]
            await _refuse(
                send,
                401,
                "invalid_api_key",
                "a key is needed: Authorization: Bearer KEY, or x-api-key: KEY.",
                wanted + shared,
            )
            return
        length = headers.get(b"content-length", "0")
        if length.isascii() and length.isdigit() and int(length) > self._most:
            await self._too_large(send, shared)
            return
        scope["owner"] = owner
        await self.app(scope, self._counted(receive), _with(send, shared))

    def _owner(self, authorization: str, path: str) -> str | None:
        """A short name for whoever holds the key; None for a key that is none. Takes the same time for all."""
        if not self._keys or path in _OPEN or path.startswith(_PAGE):
            return ANYBODY
        scheme, _, key = authorization.partition(" ")
        given = sha256(key.strip(" \t").encode("latin-1")).digest()  # the very bytes that were sent
        known = [hmac.compare_digest(given, known) for known in self._keys]
        return given.hex()[:12] if scheme.lower() == "bearer" and any(known) else None

    def _counted(self, receive: Receive) -> Receive:
        """The request's body, up to the limit. Raises TooLarge where it goes on."""
        read = 0

        async def counted() -> MutableMapping[str, Any]:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > self._most:
                raise TooLarge(413, f"a request has {self._most} bytes at most.")
            return message

        return counted

    async def _too_large(self, send: Send, shared: list[tuple[bytes, bytes]]) -> None:
        await _refuse(send, 413, "request_too_large", f"a request has {self._most} bytes at most.", shared)


class TooLarge(HTTPException):
    """A body that came in pieces and was longer than allowed. Frameworks let go of no other kind of error here."""


def _name(host: str) -> str:
    """A host's name without its port, in small letters."""
    host = host.lower()
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.rpartition(":")[0] if ":" in host else host


def _place(origin: str) -> str | None:
    """Host and port of an origin; None for what is none."""
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return None


async def _refuse(
    send: Send, status: int, code: str, message: str, headers: list[tuple[bytes, bytes]] | None = None
) -> None:
    error = {"message": message, "type": "invalid_request_error", "param": None, "code": code}
    body = json.dumps({"error": error}).encode()
    given = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()), *(headers or [])]
    await send({"type": "http.response.start", "status": status, "headers": given})
    await send({"type": "http.response.body", "body": body})


async def _preflight(send: Send, headers: list[tuple[bytes, bytes]], wanted: str) -> None:
    """Answer a browser that asks what a page of an allowed origin may do: send what headers it likes."""
    allowed = [(b"access-control-allow-methods", b"GET, POST"), (b"access-control-max-age", b"600")]
    allowed += [(b"access-control-allow-headers", wanted.encode("latin-1"))] if wanted else []
    await send({"type": "http.response.start", "status": 204, "headers": headers + allowed})
    await send({"type": "http.response.body", "body": b""})


def _with(send: Send, headers: list[tuple[bytes, bytes]]) -> Send:
    """Send a reply with these headers too."""
    if not headers:
        return send

    async def sent(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", []), *headers]}
        await send(message)

    return sent
