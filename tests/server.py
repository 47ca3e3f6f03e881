"""A small OpenAI-compatible completions server over a model in this process, which can be told to misbehave."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import torch
from transformers import DynamicCache, PreTrainedModel

from laconic.models.text import Text

Rows = Generator[torch.Tensor, int, None]
"""Logits ``[vocab]`` after a prompt, then after each token that is sent in."""


def following(after: Callable[[Sequence[int]], torch.Tensor]) -> Callable[[Sequence[int]], Rows]:
    """Rows of a model that says what follows any text."""

    def rows(prompt: Sequence[int]) -> Rows:
        tokens = list(prompt)
        while True:
            tokens.append((yield after(tokens).float()))

    return rows


def cached(model: PreTrainedModel) -> Callable[[Sequence[int]], Rows]:
    """Rows of a Transformers model."""

    def rows(prompt: Sequence[int]) -> Rows:
        cache, tokens = DynamicCache(), list(prompt)
        while True:
            with torch.inference_mode():
                out = model(torch.tensor([tokens]), past_key_values=cache, use_cache=True)
            tokens = [(yield out.logits[0, -1].float())]

    return rows


@dataclass
class Manners:
    """What a server tells beyond the text, and how it fails."""

    ids: bool = True
    """Whether it knows vLLM's ``return_token_ids`` and ``return_tokens_as_token_ids``."""
    reason: bool = True
    """Whether it says which stop string ended a text, or none."""
    shows_stop: bool = True
    """Whether the tokens of a stop string are listed among those written."""
    shows_end: bool = True
    """Whether the end token is listed among those written."""
    logprobs: bool = True
    fault: str = ""
    """``status`` with code ``status``, ``text`` (no JSON), ``shape`` (other JSON), ``drop`` (no reply), ``abort``."""
    status: int = 500
    message: Any = "out of order"
    faults: int = 1 << 30
    """How many requests fail."""
    delay: float = 0.0


@dataclass
class Server:
    """Serves on a free port of this machine until it is closed. ``seen`` are the bodies of all requests."""

    rows: Callable[[Sequence[int]], Rows]
    text: Text
    manners: Manners = field(default_factory=Manners)
    name: str = "tiny"
    context: int | None = 512
    seen: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)
    connections: int = 0
    """Open ones."""
    opened: int = 0
    """All there have been."""
    busy: int = 0
    most_busy: int = 0

    def __post_init__(self) -> None:
        self.lock = threading.Lock()
        handler = type("Handler", (_Handler,), {"owner": self})
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._http.daemon_threads = True
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_address[1]}/v1"

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def complete(self, body: dict[str, Any]) -> dict[str, Any]:
        """One choice of a reply."""
        prompt = body["prompt"]
        tokens = self.text.encode(prompt) if isinstance(prompt, str) else prompt
        stop, source = body.get("stop", []), torch.Generator().manual_seed(body.get("seed", 0))
        rows = self.rows(tokens)
        row = next(rows)
        written: list[int] = []
        seen: list[torch.Tensor] = []
        finish, matched, text = "length", None, ""
        while len(written) < min(body["max_tokens"], (self.context or 1 << 20) - len(tokens)):
            seen.append(row.log_softmax(-1))
            for banned, bias in body.get("logit_bias", {}).items():
                row = row.index_add(0, torch.tensor([int(banned)]), torch.tensor([float(bias)]))
            token = int(row.argmax()) if body["temperature"] == 0 else drawn(row, body, source)
            written.append(token)
            if token in self.text.eos:
                finish = "stop"
                break
            text = self.text.decode(written)
            matched = next((string for string in stop if string in text), None)
            if matched is not None:
                finish, text = "stop", text[: text.find(matched)]
                break
            row = rows.send(token)
        if finish == "stop" and not (self.manners.shows_end if matched is None else self.manners.shows_stop):
            cut = 1 if matched is None else len(self.text.encode(matched))
            written, seen = written[:-cut], seen[:-cut]
        choice: dict[str, Any] = {"text": text, "finish_reason": finish, "logprobs": None}
        if self.manners.reason:
            choice["stop_reason"] = matched
        if self.manners.ids and body.get("return_token_ids"):
            choice["token_ids"] = written
        if self.manners.logprobs and body.get("logprobs") is not None:
            choice["logprobs"] = self._logprobs(written, seen, body)
        return choice

    def _logprobs(self, written: list[int], seen: list[torch.Tensor], body: dict[str, Any]) -> dict[str, Any]:
        def name(token: int) -> str:
            by_id = self.manners.ids and body.get("return_tokens_as_token_ids")
            return f"token_id:{token}" if by_id else self.text.piece(token)

        tops = []
        for row in seen:
            values, tokens = row.topk(min(body["logprobs"], len(row)))
            named: dict[str, float] = {}
            for value, token in zip(values.tolist(), tokens.tolist(), strict=True):
                named.setdefault(name(token), max(value, -9999.0))
            tops.append(named)
        values = [float(row[token]) for row, token in zip(seen, written, strict=True)]
        return {"tokens": [name(token) for token in written], "token_logprobs": values, "top_logprobs": tops}


def drawn(row: torch.Tensor, body: dict[str, Any], source: torch.Generator) -> int:
    """A token drawn at the request's temperature."""
    return int(torch.multinomial((row / body["temperature"]).softmax(-1), 1, generator=source))


class _Handler(BaseHTTPRequestHandler):
    owner: Server
    protocol_version = "HTTP/1.1"
    timeout = 30
    wbufsize = -1  # a reply in one packet: in two, the second waits for the first to be acknowledged

    def setup(self) -> None:
        with self.owner.lock:
            self.owner.connections += 1
            self.owner.opened += 1
        super().setup()

    def finish(self) -> None:
        try:
            super().finish()
        finally:
            with self.owner.lock:
                self.owner.connections -= 1

    def do_GET(self) -> None:
        if self.path.endswith("/models") and self.owner.name:
            self._say(200, {"data": [{"id": self.owner.name, "max_model_len": self.owner.context}]})
        else:
            self._say(404, {"error": {"message": "not here"}})

    def do_POST(self) -> None:
        owner = self.owner
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with owner.lock:
            owner.seen.append(body)
            owner.keys.append(self.headers.get("Authorization"))
            owner.busy += 1
            owner.most_busy = max(owner.most_busy, owner.busy)
            failing = bool(owner.manners.fault) and owner.manners.faults > 0
            owner.manners.faults -= failing
        try:
            time.sleep(owner.manners.delay)
            self._fail(owner.manners) if failing else self._say(200, {"choices": [owner.complete(body)]})
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True
        finally:
            with owner.lock:
                owner.busy -= 1

    def _fail(self, manners: Manners) -> None:
        if manners.fault == "drop":
            self.close_connection = True
        elif manners.fault == "status":
            self._say(manners.status, manners.message)
        elif manners.fault == "text":
            self._write(200, b"<html>hello</html>")
        else:
            shapes = {"abort": {"choices": [{"text": "", "finish_reason": "abort"}]}, "shape": {"choices": []}}
            self._say(200, shapes[manners.fault])

    def _say(self, status: int, content: Any) -> None:
        self._write(status, json.dumps(content).encode())

    def _write(self, status: int, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        pass
