"""A server under load for a while, with clients of every bad kind: does it stay right, small and quick?

    python scripts/in_serve/soak.py --minutes 30 --json docs/results/serve_soak.json

Clients ask what has been answered before without a server, whole and streamed, with several keys, and every reply is
compared. Among them are some that go in the middle, cut the connection, read slowly, send what is no request or too
much of it. At the end nothing may be under way, no reply be lost, mixed up or without an answer, and the memory be what
it was when the server was warm.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import socket
import statistics
import struct
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from cases import Case, cases
from served import KEYS, Served, bearer, serving

from laconic.bench.provenance import provenance

CHAT = "/v1/chat/completions"
WARM = 0.2
"""Share of the time after which memory should grow no more."""
_TRIES = 200
BODIES: tuple[bytes, ...] = (
    b"", b"{", b"[]", b"null", b'{"messages": []}', b'{"messages": [{"role": "user"}]}', b"\xff\xfe\x00",
    rb'{"messages": [{"role": "user", "content": "\ud800"}]}',
    b'{"messages": [{"role": "user", "content": "x"}], "n": 99}',
    b'{"messages": [{"role": "user", "content": "x"}], "laconic": {"think": "no-such"}}', b"[" * 5000,
    b'{"messages": [{"role": "user", "content": "x"}], "tools": [{"type": "function", "function": {"name": ""}}]}',
)  # fmt: skip
HUGE = {"messages": [{"role": "user", "content": "What is it? " * 2000}]}


@dataclass
class Seen:
    """What clients have seen."""

    done: Counter[str] = field(default_factory=Counter)
    statuses: Counter[int] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    """What should not have been."""
    empty: int = 0
    replies: int = 0
    first: list[float] = field(default_factory=list)
    """Seconds to the first token of streams."""
    memory: list[tuple[float, int]] = field(default_factory=list)


@dataclass
class Client:
    """One client: what it does next is drawn. Its cases come in an order of its own."""

    served: Served
    cases: Sequence[Case]
    seen: Seen
    dice: random.Random
    http: httpx.AsyncClient

    async def go_on(self, until: float) -> None:
        """Ask, until it is time."""
        deeds: dict[Callable[[], Awaitable[None]], int] = {
            self.whole: 30, self.streamed: 34, self.leaves_stream: 8, self.leaves_whole: 5, self.cuts: 5, self.slow: 4,
            self.malformed: 6, self.too_much: 2, self.nosy: 3, self.tools: 2,
        }  # fmt: skip
        while time.monotonic() < until:
            (deed,) = self.dice.choices(list(deeds), list(deeds.values()))
            self.seen.done[deed.__name__] += 1
            try:
                await deed()
            except Exception as error:
                self.seen.wrong.append(f"{deed.__name__}: {type(error).__name__}: {error}")

    def key(self) -> dict[str, str]:
        """Somebody's key."""
        return bearer(self.dice.choice(KEYS))

    async def whole(self) -> None:
        """A whole reply."""
        case = self.dice.choice(self.cases)
        for _ in range(_TRIES):
            reply = await self.http.post(CHAT, json=case.body, headers=self.key())
            self.seen.statuses[reply.status_code] += 1
            if reply.status_code != 429:
                break
            await asyncio.sleep(float(reply.headers["retry-after"]) * self.dice.random())
        if reply.status_code == 429:
            self.seen.done["whole, gave up"] += 1
            return
        reply.raise_for_status()
        told = [(choice["message"], choice["finish_reason"]) for choice in reply.json()["choices"]]
        self.compare(case, [(m["reasoning"] or "", m["content"] or "", finish) for m, finish in told])

    async def streamed(self, slow: bool = False) -> None:
        """A stream, read to its end."""
        case = self.dice.choice(self.cases)
        texts: dict[int, list[str]] = {}
        for _ in range(_TRIES):
            begun, ended = time.monotonic(), False
            async with self.http.stream("POST", CHAT, json=case.body | {"stream": True}, headers=self.key()) as reply:
                self.seen.statuses[reply.status_code] += 1
                if reply.status_code == 429:
                    await asyncio.sleep(float(reply.headers["retry-after"]) * self.dice.random())
                    continue
                reply.raise_for_status()
                async for line in reply.aiter_lines():
                    if slow and self.dice.random() < 0.1:
                        await asyncio.sleep(0.2)
                    ended = ended or line == "data: [DONE]"
                    if not line.startswith("data: {"):
                        continue
                    chunk = json.loads(line[6:])
                    if "error" in chunk:
                        raise RuntimeError(f"an error in a stream: {chunk}")
                    for choice in chunk["choices"]:
                        mine = texts.setdefault(choice["index"], ["", "", ""])
                        new = choice["delta"].get("reasoning", ""), choice["delta"].get("content", "")
                        if any(new) and not any(any(text) for text in texts.values()) and not slow:
                            self.seen.first.append(time.monotonic() - begun)
                        mine[0] += new[0]
                        mine[1] += new[1]
                        mine[2] = choice["finish_reason"] or mine[2]
            break
        else:
            self.seen.done["streamed, gave up"] += 1  # a lottery: those that come again are in no line
            return
        if not ended:
            raise RuntimeError("a stream without an end")
        self.compare(case, [(a, b, c) for _, (a, b, c) in sorted(texts.items())])

    async def slow(self) -> None:
        """A stream that is read slowly."""
        await self.streamed(slow=True)

    def compare(self, case: Case, replies: Sequence[tuple[str, str, str]]) -> None:
        """Is it what the engine writes?"""
        self.seen.replies += len(replies)
        self.seen.empty += sum(finish == "stop" and not answer for _, answer, finish in replies)
        if tuple(replies) != case.replies:
            self.seen.wrong.append(f"another reply: {case.body} gave {replies}, not {case.replies}")

    async def leaves_stream(self) -> None:
        """Goes after a few chunks."""
        body = self.dice.choice(self.cases).body | {"stream": True}
        async with self.http.stream("POST", CHAT, json=body, headers=self.key()) as reply:
            self.seen.statuses[reply.status_code] += 1
            left = self.dice.randrange(12)
            async for _ in reply.aiter_lines():
                left -= 1
                if left < 0:
                    return

    async def leaves_whole(self) -> None:
        """Does not wait for a whole reply."""
        with_limit = self.dice.random() * 0.5
        try:
            await asyncio.wait_for(
                self.http.post(CHAT, json=self.dice.choice(self.cases).body, headers=self.key()), with_limit
            )
        except TimeoutError:
            return

    async def cuts(self) -> None:
        """A process that is killed: half a request, or a whole one, and then a reset."""
        where = httpx.URL(self.served.url)
        body = json.dumps(self.dice.choice(self.cases).body | {"stream": self.dice.random() < 0.5}).encode()
        key = self.key()["authorization"]
        head = f"POST {CHAT} HTTP/1.1\r\nHost: {where.host}\r\nContent-Type: application/json\r\n"
        raw = f"{head}Authorization: {key}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
        _, writer = await asyncio.open_connection(where.host, where.port)
        writer.write(raw[: self.dice.choice((len(raw), len(raw), len(raw) // 2, 40))])
        await writer.drain()
        await asyncio.sleep(self.dice.random() * 0.4)
        made: socket.socket = writer.get_extra_info("socket")
        made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    async def malformed(self) -> None:
        """What is no request."""
        content = self.dice.choice(BODIES)
        reply = await self.http.post(CHAT, content=content, headers=self.key() | {"content-type": "application/json"})
        self.expects(reply, 400)

    async def too_much(self) -> None:
        """A prompt that is too long, or a body that does not end."""
        if self.dice.random() < 0.5:
            self.expects(await self.http.post(CHAT, json=HUGE, headers=self.key()), 400)
            return

        async def pieces() -> Any:
            for _ in range(160):
                yield b"y" * (64 << 10)

        headers = self.key() | {"content-type": "application/json"}
        try:
            self.expects(await self.http.post(CHAT, content=pieces(), headers=headers), 413)
        except (httpx.WriteError, httpx.ReadError, httpx.RemoteProtocolError):
            self.seen.done["too_much, cut off"] += 1

    async def nosy(self) -> None:
        """What is not there, or not for this client."""
        self.expects(await self.http.get("/v1/models"), 401)
        self.expects(await self.http.post("/v1/requests/chatcmpl-0/conclude", headers=self.key()), 404)
        for path in ("/health", "/metrics", "/v1/laconic/status", "/v1/models", "/openapi.json"):
            self.expects(await self.http.get(path, headers=self.key()), 200)

    async def tools(self) -> None:
        """Tools, where the model's template knows them or not."""
        tool = {"type": "function", "function": {"name": "add", "parameters": {"type": "object", "properties": {}}}}
        body = {"messages": [{"role": "user", "content": "What is 2 + 2?"}], "tools": [tool]}
        reply = await self.http.post(CHAT, json=body | {"max_tokens": 60}, headers=self.key())
        self.expects(reply, 200, 400, 429)

    def expects(self, reply: httpx.Response, *statuses: int) -> None:
        """One of these, or it is noted."""
        self.seen.statuses[reply.status_code] += 1
        if reply.status_code not in statuses:
            self.seen.wrong.append(f"{reply.request.url.path}: {reply.status_code} {reply.text[:200]}")


async def watch(served: Served, seen: Seen, until: float) -> None:
    """Note the memory every so often."""
    begun = time.monotonic()
    while time.monotonic() < until:
        seen.memory.append((time.monotonic() - begun, served.resident))
        await asyncio.sleep(2)


async def soak(served: Served, known: Sequence[Case], seen: Seen, clients: int, seconds: float, seed: int) -> None:
    """All clients at once."""
    until = time.monotonic() + seconds
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=clients)
    async with httpx.AsyncClient(base_url=served.url, timeout=120, limits=limits) as http:
        made = [Client(served, known, seen, random.Random(seed + i), http) for i in range(clients)]
        await asyncio.gather(watch(served, seen, until), *(client.go_on(until) for client in made))


def at(values: Sequence[float], share: float) -> float:
    """The value below which this share of them lies."""
    return sorted(values)[min(int(share * len(values)), len(values) - 1)]


def main() -> None:
    """Soak, print, write the record; the exit status says whether anything was wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument("--clients", type=int, default=12)
    parser.add_argument("--cases", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    begun = provenance()
    known = cases(given.cases, given.seed)
    seen = Seen()
    with serving("--batch", "6", "--queue", "4", "--memory", "0.25") as served:
        cold = served.resident
        asyncio.run(soak(served, known, seen, given.clients, 60 * given.minutes, given.seed))
        idle = served.idle()
        status = served.status()
        errors = served.lines("error")
        last = served.resident
    warm = [size for when, size in seen.memory if when >= WARM * 60 * given.minutes]
    third = max(len(warm) // 3, 1)
    early, late = statistics.median(warm[:third]), statistics.median(warm[-third:])
    record = {
        "minutes": given.minutes,
        "clients": given.clients,
        "deeds": dict(sorted(seen.done.items())),
        "statuses": {str(code): count for code, count in sorted(seen.statuses.items())},
        "replies_compared": seen.replies,
        "wrong": len(seen.wrong),
        "wrong_kinds": dict(Counter(wrong[:60] for wrong in seen.wrong)),
        "wrong_first": seen.wrong[:5],
        "stopped_without_an_answer": seen.empty,
        "server_errors_logged": len(errors),
        "idle_at_the_end": idle,
        "load_at_the_end": status["load"],
        "passes": {name: value for name, value in status["pulse"].items() if name != "recent"},
        "first_token_seconds": {"n": len(seen.first), "p50": at(seen.first, 0.5), "p99": at(seen.first, 0.99)},
        "memory_mib": {name: round(size / (1 << 20), 1) for name, size in (
            ("at the start", cold), ("warm", early), ("late", late), ("idle at the end", last)
        )},
        "memory_growth": late / early - 1,
        "settings": {name: value for name, value in vars(given).items() if name != "json"},
        "provenance": begun,
    }  # fmt: skip
    print(json.dumps(record, indent=1))
    if given.json:
        given.json.write_text(json.dumps(record, indent=1) + "\n")
    bad = seen.wrong or seen.empty or errors or not idle
    raise SystemExit(1 if bad else 0)


if __name__ == "__main__":
    main()
