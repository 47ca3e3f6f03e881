"""The web application: routes, errors, and the life of a request."""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict
from functools import cache, partial
from importlib import resources
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response, StreamingResponse
from pydantic import ValidationError
from starlette.exceptions import HTTPException

from laconic.errors import LaconicError, RemoteError
from laconic.grammar.compiled import vocabulary
from laconic.serve import errors, messages, pages, replies, responses, spans
from laconic.serve.api.chat import ChatBody
from laconic.serve.api.completions import CompletionBody
from laconic.serve.api.messages import MessagesBody
from laconic.serve.api.responses import ResponsesBody
from laconic.serve.api.shown import ERRORS, MESSAGE_ERRORS, ChatCompletion, Concluded, Health, ModelList, TextCompletion
from laconic.serve.asking import Asking
from laconic.serve.audit import Audit
from laconic.serve.backend import Backend, Busy, Jobs, specs
from laconic.serve.job import Job, Told
from laconic.serve.metrics import Metrics
from laconic.serve.security import Guard, TooLarge
from laconic.serve.settings import Settings
from laconic.thinking.base import Controller
from laconic.types import Step

log = logging.getLogger("laconic.serve")
_QUIET = 10.0
"""Seconds of silence after which a stream says that it is alive."""


class Server:
    """What the routes share."""

    def __init__(
        self, backend: Backend, settings: Settings, efforts: Mapping[str, tuple[Controller, ...]] | None = None
    ) -> None:
        self.backend, self.settings = backend, settings
        self.asking = Asking(backend, settings.bounds, efforts or {})
        self.audit = Audit(settings.audit, settings.harm, settings.shadow)
        self.metrics = Metrics(backend, self.audit, settings.name)
        backend.watch(self.metrics.passed)
        self.jobs = Jobs()
        self.since = time.time()
        self.ready = False

    def check_model(self, name: str) -> None:
        """Refuse a model that is not here."""
        if name and name != self.settings.name:
            raise errors.NoSuchModel(f"the model '{name}' is not here.", f"This server has '{self.settings.name}'.")

    def submit(self, id: str, jobs: Sequence[Job]) -> None:
        """Let replies be written; all of them, or none."""
        if len(self.jobs.by_id) >= self.settings.bounds.streams:
            raise Busy(f"{self.settings.bounds.streams} requests are under way already.", "Come again in a moment.")
        for job in jobs:
            job.shadow = job.controllers is None and bool(self.backend.standing) and self.audit.watches()
        begun: list[Job] = []
        try:
            for job in jobs:
                self.backend.submit(job)
                begun.append(job)
        except BaseException:
            for job in begun:
                self.backend.cancel(job)
            raise
        self.jobs.add(id, list(jobs))

    def ended(self, job: Job, told: Told) -> None:
        """Count a reply that is over."""
        if told.result is not None and job.shadow:
            stopped = self.audit.stopped
            self.audit.heard(told.seen, told.result)
            if self.audit.stopped != stopped:
                log.warning("audit", extra={"fields": {"stopped": self.audit.stopped, "harm": self.audit.interval}})
        now = time.perf_counter()
        self.metrics.ended(job, told, now)
        said: dict[str, Any] = {"id": job.id, "owner": job.key, "seconds": round(now - job.received, 3)}
        if told.result is not None:
            result, used = told.result, told.result.usage
            said |= {"finish": result.finish_reason, "prompt": used.prompt, "reused": used.reused}
            said |= {"thought": result.thought, "tokens": len(result.tokens), "shadow": job.shadow}
            said["concluded"] = [event.method for event in result.events if event.action == "conclude"]
        if told.error is not None:
            said["error"] = type(told.error).__name__
            if isinstance(told.error, RemoteError):
                said["upstream"] = told.error.message
        log.info("reply", extra={"fields": said})
        spans.reply(now - job.received, said)

    def leave(self, id: str, jobs: Sequence[Job]) -> None:
        """Nobody listens to a request any more."""
        if not self.jobs.remove(id):  # they have left before
            return
        for job in jobs:
            if not job.over:
                self.backend.cancel(job)
                self.metrics.left()
                log.info("left", extra={"fields": {"id": job.id, "owner": job.key}})

    async def results(self, id: str, jobs: Sequence[Job]) -> list[Told]:
        """The ends of all replies, the steps of each in one. Raises the first error."""
        replies = [asyncio.ensure_future(self._whole(job)) for job in jobs]
        try:
            return await asyncio.gather(*replies)
        finally:
            for reply in replies:  # where one has failed, the others would wait for ever
                reply.cancel()
            self.leave(id, jobs)

    async def _whole(self, job: Job) -> Told:
        steps: list[Step] = []
        async for told in job.news():
            steps += told.steps
            if told.last:
                self.ended(job, told)
                if told.error is not None:
                    raise told.error
                return Told(tuple(steps), result=told.result, seen=told.seen)
        raise AssertionError("news without an end")


def application(
    backend: Backend, settings: Settings, efforts: Mapping[str, tuple[Controller, ...]] | None = None
) -> Guard:
    """The ASGI application. It starts the backend and drains it at the end."""
    server = Server(backend, settings, efforts)

    @asynccontextmanager
    async def life(_: FastAPI) -> AsyncIterator[None]:
        await backend.start()
        server.ready = True
        reading = asyncio.ensure_future(asyncio.to_thread(_read_vocabulary, backend))
        yield
        reading.cancel()
        server.ready = False
        await backend.stop(settings.grace)

    app = FastAPI(title="laconic", version="1", lifespan=life, docs_url=None, redoc_url=None)
    app.state.server = server
    _routes(app, server)
    _errors(app)
    return Guard(app, settings)


def _read_vocabulary(backend: Backend) -> None:
    """Read the tokenizer's words for grammars beforehand: 150,000 of them take seconds."""
    if backend.can.grammar:
        with suppress(LaconicError):  # one that allows no grammar; requests that want one are told
            vocabulary(backend.text)


def _routes(app: FastAPI, server: Server) -> None:
    @app.get("/health", response_model=Health, tags=["server"])
    async def health() -> Any:
        """Whether the server is alive."""
        return {"status": "ok"}

    @app.get("/ready", response_model=Health, responses={503: ERRORS[503]}, tags=["server"])
    async def ready() -> Any:
        """Whether it takes requests."""
        if not server.ready:
            return errors.reply(503, "the server does not take requests now.", name="not_ready")
        return {"status": "ready"}

    @app.get("/metrics", tags=["server"], response_class=Response)
    async def metrics() -> Response:
        """Prometheus metrics."""
        return Response(server.metrics.page(), media_type="text/plain; version=0.0.4; charset=utf-8")

    @app.get("/v1/models", response_model=ModelList, tags=["models"], responses=_errs(401))
    async def models() -> Any:
        """The model that is served."""
        return {"object": "list", "data": [_model(server)]}

    @app.get("/v1/models/{model:path}", tags=["models"], responses=_errs(401, 404))
    async def model(model: str) -> Any:
        """The model by its name."""
        server.check_model(model or "-")
        return _model(server)

    @app.get("/v1/laconic/status", tags=["laconic"], responses=_errs(401))
    async def status() -> dict[str, Any]:
        """What runs, how it goes, and what the audit says."""
        load = server.backend.load()
        return {
            "server": server.backend.describe(),
            "can": asdict(server.backend.can),
            "think": specs(server.backend.standing),
            "efforts": sorted(server.asking.efforts),
            "load": {name: getattr(load, name) for name in load.__slots__},
            "pulse": server.backend.pulse(),
            "audit": server.audit.describe(),
            "uptime": time.time() - server.since,
        }

    @app.get("/v1/laconic/methods", tags=["laconic"], responses=_errs(401))
    async def methods() -> list[dict[str, Any]]:
        """Thinking controllers that a request may name."""
        return thinking_methods()

    @app.post(
        "/v1/chat/completions",
        response_model=ChatCompletion,
        responses=_STREAMED | _errs(400, 401, 404, 413, 429, 500, 502, 503),
        tags=["completions"],
    )
    async def chat(request: Request, body: ChatBody) -> Any:
        """A reply to chat messages, its thought in a field of its own."""
        server.check_model(body.model)
        id = f"chatcmpl-{secrets.token_hex(12)}"
        owner = request.scope["owner"]
        jobs = await asyncio.to_thread(server.asking.chat, body, id, owner)
        reply = replies.Chat(server.backend, server.settings.name, id, jobs, body)
        return await _answer(server, request, id, jobs, reply, stream=bool(body.stream))

    @app.post(
        "/v1/completions",
        response_model=TextCompletion,
        responses=_STREAMED | _errs(400, 401, 404, 413, 429, 500, 502, 503),
        tags=["completions"],
    )
    async def completion(request: Request, body: CompletionBody) -> Any:
        """What follows a text, tags and all."""
        server.check_model(body.model)
        id = f"cmpl-{secrets.token_hex(12)}"
        jobs = await asyncio.to_thread(server.asking.completion, body, id, request.scope["owner"])
        reply = replies.Text(server.backend, server.settings.name, id, jobs, body)
        return await _answer(server, request, id, jobs, reply, stream=bool(body.stream))

    @app.post(responses.PATH, responses=_STREAMED | _errs(400, 401, 404, 413, 429, 500, 502, 503), tags=["completions"])
    async def response(request: Request, body: ResponsesBody) -> Any:
        """A reply in the shape of OpenAI's Responses; nothing is stored."""
        server.check_model(body.model)
        id = f"resp_{secrets.token_hex(12)}"
        chat = responses.as_chat(body)
        jobs = await asyncio.to_thread(server.asking.chat, chat, id, request.scope["owner"])
        reply = responses.Responses(server.backend, server.settings.name, id, jobs, chat, body)
        return await _answer(server, request, id, jobs, reply, stream=bool(body.stream))

    @app.post(
        messages.PATH,
        responses=_STREAMED | _errs(400, 401, 404, 413, 429, 500, 502, 503, of=MESSAGE_ERRORS),
        tags=["completions"],
    )
    async def message(request: Request, body: MessagesBody) -> Any:
        """A reply in the shape of Anthropic's Messages."""
        server.check_model(body.model)
        id = f"msg_{secrets.token_hex(12)}"
        chat = messages.as_chat(body)
        jobs = await asyncio.to_thread(server.asking.chat, chat, id, request.scope["owner"])
        shows = body.thinking is not None and body.thinking.type != "disabled"
        reply = messages.Messages(server.backend, server.settings.name, id, jobs, chat, shows)
        return await _answer(server, request, id, jobs, reply, stream=bool(body.stream))

    @app.post(
        "/v1/requests/{id}/conclude",
        response_model=Concluded,
        responses=_errs(401, 404),
        tags=["laconic"],
    )
    async def conclude(request: Request, id: str) -> Any:
        """End the thought of a request now; its answer comes where the request is listened to."""
        jobs = server.jobs.of(id, request.scope["owner"])
        if not jobs:
            raise errors.NoSuchRequest(f"no request '{id}' is under way.", "Its id is that of its first chunk.")
        found = [await server.backend.conclude(job) for job in jobs]
        return {"id": id, "concluded": sum(found)}

    pages.mount(app)


_EVENT = {
    "type": "object",
    "properties": {"event": {"type": "string"}, "data": {"type": "string"}},
    "required": ["data"],
}
_STREAMED: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/event-stream": {"schema": _EVENT}}, "description": "The reply, or its events."}
}


async def _answer(
    server: Server, request: Request, id: str, jobs: list[Job], reply: replies.Reply, *, stream: bool
) -> Response:
    server.submit(id, jobs)  # last of all: from here on somebody listens, and leaves
    headers = {"x-request-id": id}
    if stream:
        headers |= {"cache-control": "no-cache", "x-accel-buffering": "no"}
        return _Events(_stream(server, request, id, jobs, reply), partial(server.leave, id, jobs), headers)
    whole = asyncio.ensure_future(server.results(id, jobs))
    gone = asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait({whole, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not whole.done():
            return Response(status_code=499)  # nobody reads it
        return JSONResponse(reply.whole(await whole), headers=headers)
    finally:
        server.leave(id, jobs)
        for task in (whole, gone):
            task.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await task


class _Events(StreamingResponse):
    """A stream whose request is left however it ends: where a client goes before it begins, nothing of it runs."""

    def __init__(self, chunks: AsyncGenerator[bytes], leave: Callable[[], None], headers: dict[str, str]) -> None:
        super().__init__(chunks, media_type="text/event-stream", headers=headers)
        self._chunks, self._leave = chunks, leave

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Send it."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._leave()
            await self._chunks.aclose()


async def _gone(request: Request) -> None:
    """Return once the client has gone."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _stream(
    server: Server, request: Request, id: str, jobs: list[Job], reply: replies.Reply
) -> AsyncGenerator[bytes]:
    """Chunks of all replies as they come, until the client has gone."""
    news: asyncio.Queue[tuple[int, Told] | None] = asyncio.Queue()

    async def watch() -> None:
        await _gone(request)
        news.put_nowait(None)

    async def listen(index: int, job: Job) -> None:
        async for told in job.news():
            news.put_nowait((index, told))

    listeners = [asyncio.ensure_future(listen(index, job)) for index, job in enumerate(jobs)]
    listeners.append(asyncio.ensure_future(watch()))
    left = len(jobs)
    ends: list[Told] = [Told()] * len(jobs)
    clock = asyncio.get_running_loop().time
    try:
        for chunk in reply.begin():
            yield chunk
        quiet = clock() + _QUIET
        while left:
            try:
                came = await asyncio.wait_for(news.get(), max(quiet - clock(), 0))
            except TimeoutError:
                yield replies.ALIVE
                quiet = clock() + _QUIET
                continue
            if came is None:
                return
            index, told = came
            if told.last:
                left -= 1
                ends[index] = told
                server.ended(jobs[index], told)
            if told.error is not None:
                yield reply.failed(errors.body(told.error))
                return
            for chunk in reply.chunks(index, told):
                yield chunk
                quiet = clock() + _QUIET  # not all news are sent: of a thought that is not shown, none are
        for chunk in reply.end([told.result for told in ends if told.result is not None]):
            yield chunk
    finally:
        for listener in listeners:
            listener.cancel()


@cache
def thinking_methods() -> list[dict[str, Any]]:
    """Name, summary and knobs of all thinking controllers, from the package's own list of methods."""
    listed = json.loads(resources.files("laconic").joinpath("methods.json").read_text(encoding="utf-8"))
    return [
        {"name": one["name"], "summary": one["summary"], "knobs": one["knobs"], "needs": one["needs"]}
        for one in listed
        if one["family"] == "think"
    ]


def _model(server: Server) -> dict[str, Any]:
    return {
        "id": server.settings.name, "object": "model", "created": int(server.since), "owned_by": "laconic",
        "max_model_len": server.backend.context,
    }  # fmt: skip


def _errs(*statuses: int, of: Mapping[int, dict[str, Any]] = ERRORS) -> dict[int | str, dict[str, Any]]:
    return {status: of[status] for status in statuses}


def _errors(app: FastAPI) -> None:
    """Every error in the shape of the API that was asked."""

    def shaped(request: Request, reply: JSONResponse) -> JSONResponse:
        if request.url.path != messages.PATH:
            return reply
        body = messages.as_error(reply.status_code, json.loads(bytes(reply.body)))
        kept = {name: value for name, value in reply.headers.items() if not name.startswith("content-")}
        return JSONResponse(body, status_code=reply.status_code, headers=kept)

    async def ours(request: Request, error: Exception) -> JSONResponse:
        return shaped(request, errors.of(errors.status(error), error))

    async def invalid(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError | ValidationError)
        return shaped(request, errors.invalid(error.errors()))

    async def http(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        name = "request_too_large" if isinstance(error, TooLarge) else None
        return shaped(request, errors.reply(error.status_code, str(error.detail), name=name, headers=error.headers))

    async def unexpected(request: Request, error: Exception) -> JSONResponse:
        log.exception("a request failed", exc_info=error)
        return shaped(request, errors.reply(500, "the server failed.", name="internal_error"))

    for kind, handler in (
        (LaconicError, ours), (RequestValidationError, invalid), (ValidationError, invalid), (HTTPException, http),
        (Exception, unexpected),
    ):  # fmt: skip
        app.add_exception_handler(kind, handler)
