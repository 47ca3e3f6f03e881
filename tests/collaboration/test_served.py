"""Models behind servers: the same thought as with models of this process, and no connection left open."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from laconic import Engine, Limits, Methods
from laconic.collaboration import Pair
from laconic.collaboration.base import Collaborated
from laconic.errors import RemoteError, UnmetNeed
from laconic.models.remote import RemoteModel
from laconic.remote import RemoteEngine
from tests import tiny
from tests.fakes import Hashed
from tests.server import Manners, Server, following

TEXT = tiny.text()
BIAS = {**{chr(code): 9.0 for code in range(32, 127)}, "\n\n": 12.5, "}": 13.0, "<|im_end|>": 8.0, "</think>": 9.5}
LARGE, SMALL = Hashed(TEXT, BIAS), Hashed(TEXT, {**BIAS, "\n\n": 13.0})
LIMITS = Limits(120)
POLICIES = [
    "spec-reason",
    "spec-reason:threshold=9",
    "foreal:lead=5",
    "speculative-thinking:first=9",
    "alone:large",
    "long-short",
    "hawkeye:tokens=30",
    "lookahead-reasoning:steps=2,by=words,alike=0.3",
]


@contextmanager
def servers(**manners: object) -> Iterator[tuple[Server, Server, Pair]]:
    with ExitStack() as stack:
        made = [
            stack.enter_context(Server(following(model.after), TEXT, Manners(**manners)))  # type: ignore[arg-type]
            for model in (LARGE, SMALL)
        ]
        engines = [
            stack.enter_context(RemoteEngine(RemoteModel(server.url, "tiny", retries=0), TEXT, context=512))
            for server in made
        ]
        yield made[0], made[1], Pair(*engines)


def answer(pair: Pair, policy: str) -> Collaborated:
    return pair.answer(tiny.begun("hello"), policy, limits=LIMITS)


def quiet(*servers: Server) -> bool:
    until = time.perf_counter() + 5
    while any(server.connections for server in servers) and time.perf_counter() < until:
        time.sleep(0.02)
    return not any(server.connections for server in servers)


@pytest.mark.parametrize("policy", POLICIES)
def test_the_same_thought_as_in_this_process(policy: str) -> None:
    methods = Methods(drafter="none", length="constant")
    here = answer(Pair(Engine(LARGE, TEXT, methods), Engine(SMALL, TEXT, methods)), policy)
    with servers() as (large, small, pair):
        there = answer(pair, policy)
    assert there.result.tokens == here.result.tokens
    assert [(p.side, p.text, p.refused) for p in there.pieces] == [(p.side, p.text, p.refused) for p in here.pieces]
    assert quiet(large, small)


def test_one_here_and_one_there() -> None:
    here = Engine(SMALL, TEXT, Methods(drafter="none", length="constant"))
    with servers() as (large, _, pair):
        mixed = answer(Pair(pair.large, here), "foreal:lead=5")
        both = answer(pair, "foreal:lead=5")
    assert mixed.result.tokens == both.result.tokens
    assert quiet(large)


def test_a_server_says_no_likelihood() -> None:
    with servers() as (large, small, pair), pytest.raises(UnmetNeed, match="how likely a text is"):
        answer(pair, "spec-reason:by=likelihood")
    assert quiet(large, small)


def test_a_server_that_drops_one_of_them() -> None:
    with servers(fault="drop") as (large, small, pair), pytest.raises(RemoteError):
        answer(pair, "foreal:lead=5")
    assert quiet(large, small)
