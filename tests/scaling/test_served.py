"""Attempts behind a server: those that it drops, those that are stopped, and what the same seeds write."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from laconic import Limits, Sampling
from laconic.errors import RemoteError, UnmetNeed
from laconic.models.remote import RemoteModel
from laconic.remote import RemoteEngine
from tests import tiny
from tests.fakes import Hashed
from tests.server import Manners, Server, following

TEXT = tiny.text()
BIAS = {**{chr(code): 9.0 for code in range(32, 127)}, "\n\n": 12.5, "}": 13.0, "<|im_end|>": 8.0, "</think>": 9.5}
MODEL = Hashed(TEXT, BIAS)
SAMPLING = Sampling(0.9, seed=4)
LIMITS = Limits(60)


@contextmanager
def serving(**manners: Any) -> Iterator[tuple[Server, RemoteEngine]]:
    with (
        Server(following(MODEL.after), TEXT, Manners(**manners)) as server,
        RemoteEngine(RemoteModel(server.url, "tiny", retries=0), TEXT, context=512) as engine,
    ):
        yield server, engine


def quiet(server: Server) -> bool:
    """Whether every connection is closed soon."""
    until = time.perf_counter() + 5
    while server.connections and time.perf_counter() < until:
        time.sleep(0.02)
    return not server.connections


@pytest.mark.parametrize("scaling", ["self-consistency", "enough", "adaptive-consistency:abreast=2", "short-m:m=1"])
def test_a_question_is_answered(scaling: str) -> None:
    with serving() as (server, engine):
        found = engine.answer("hello", scaling=scaling, n=3, sampling=SAMPLING, limits=LIMITS)
        assert 1 <= len(found.attempts) <= 3
        assert found.passes == 0
        assert found.usage.generated > 0
        assert {body["prompt"][:3] == server.seen[0]["prompt"][:3] for body in server.seen} == {True}
    assert quiet(server)


def test_they_are_what_the_same_seeds_write_alone() -> None:
    with serving() as (_, engine):
        found = engine.answer("hello", scaling="self-consistency", n=3, sampling=SAMPLING, limits=LIMITS)
        again = engine.answer("hello", scaling="self-consistency:abreast=1", n=3, sampling=SAMPLING, limits=LIMITS)
    assert [t.result.tokens for t in found.attempts] == [t.result.tokens for t in again.attempts]
    assert len({t.result.tokens for t in found.attempts}) == 3


def test_one_that_is_dropped_fails_alone() -> None:
    with serving(fault="drop", faults=1) as (server, engine):
        found = engine.answer("hello", scaling="self-consistency", n=3, sampling=SAMPLING, limits=LIMITS)
    assert sorted(tried.state for tried in found.attempts) == ["done", "done", "failed"]
    failed = next(tried for tried in found.attempts if tried.state == "failed")
    assert failed.reason
    assert any(event.action == "failed" for event in found.events)
    assert quiet(server)


def test_when_all_are_dropped_it_is_an_error() -> None:
    with serving(fault="drop") as (server, engine), pytest.raises(RemoteError):
        engine.answer("hello", scaling="self-consistency", n=3, sampling=SAMPLING, limits=LIMITS)
    assert quiet(server)


def test_leaving_early_closes_every_connection() -> None:
    with serving(delay=0.02) as (server, engine):
        for _ in engine.answering("hello", scaling="self-consistency", n=4, sampling=SAMPLING, limits=Limits(200)):
            break
    assert quiet(server)


def test_alternatives_are_not_asked_of_a_server() -> None:
    with serving() as (_, engine):
        with pytest.raises(UnmetNeed, match="likeliest tokens"):
            engine.answer("hello", scaling="deepconf", n=2, sampling=SAMPLING)
        assert engine.answer("hello", scaling="deepconf:top=0", n=2, sampling=SAMPLING, limits=LIMITS).attempts
