"""What laconic meets in vLLM's workers, made small: sampling parameters, a configuration, and passes over a batch."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from laconic import Engine, Limits, Methods, Result, Sampling
from laconic.models.text import Text
from laconic.policy import Card, knobs, registry
from laconic.thinking.base import Action, Continue, Controller, LogitRule, Place, View
from laconic.types import Request
from laconic.vllm.host import Host, Settings
from tests import tiny
from tests.fakes import Hashed

TEXT = tiny.text()
BIASES = {**{chr(code): 9.0 for code in range(32, 127)}, "\n\n": 12.5, "<|im_end|>": 10.5, "</think>": 10.5}
MODEL = Hashed(TEXT, BIASES)
(END,) = TEXT.eos


class Kind(Enum):
    """How much of a reply comes with each output, as vLLM numbers it."""

    CUMULATIVE, DELTA, FINAL_ONLY = range(3)


class Direction(Enum):
    """How a row moves."""

    UNIDIRECTIONAL, SWAP = range(2)


@dataclass(frozen=True)
class Update:
    """What has changed in a batch: rows that are empty, requests in rows, rows that moved."""

    batch_size: int
    removed: Sequence[int] = ()
    added: Sequence[tuple[int, Any, list[int] | None, list[int]]] = ()
    moved: Sequence[tuple[int, int, Direction]] = ()


@dataclass
class Params:
    """vLLM's sampling parameters, as far as laconic reads them; greedy unless told otherwise."""

    max_tokens: int | None = 128
    extra_args: dict[str, Any] | None = None
    thinking_token_budget: int | None = None
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    seed: int | None = None
    n: int = 1
    min_tokens: int = 0
    stop: Any = None
    stop_token_ids: list[int] | None = None
    include_stop_str_in_output: bool = False
    detokenize: bool = True
    output_kind: Kind = Kind.DELTA
    logprobs: int | None = None
    prompt_logprobs: int | None = None
    allowed_token_ids: list[int] | None = None
    structured_outputs: Any = None
    ignore_eos: bool = False
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repetition_penalty: float = 1.0
    logit_bias: dict[int, float] | None = None
    eos_token_id: int | None = END
    skip_clone: bool = False

    def clone(self) -> Params:
        """A copy; a shallow one of parameters that nobody else has, as those of chats."""
        return copy.copy(self) if self.skip_clone else copy.deepcopy(self)


def think(methods: str, room: int | None = None, **others: Any) -> Params:
    """Parameters that name controllers."""
    fields = {"laconic.think": methods, **({} if room is None else {"laconic.answer_room": room})}
    return Params(extra_args=fields, **others)


def configuration(drafts: int = 8, context: int = 512, v2: bool = False, **settings: Any) -> Any:
    """A vLLM configuration. No tokenizer is behind its name."""
    model = SimpleNamespace(tokenizer="tiny", max_model_len=context, get_vocab_size=lambda: 264)
    return SimpleNamespace(
        model_config=model,
        speculative_config=SimpleNamespace(num_speculative_tokens=drafts),
        additional_config={"laconic": settings} if settings else None,
        use_v2_model_runner=v2,
    )


def host(text: Text = TEXT, rows: int = 264, context: int = 512, follows: bool = True, **settings: str) -> Host:
    """A host whose tokenizer is there already."""
    made = Host("tiny", context, rows, Settings(**settings), follows)
    made.text = text  # type: ignore[misc]
    return made


def prompts(count: int) -> list[list[int]]:
    return [TEXT.encode(f"{n} * 7?<think>" + "!" * n) for n in range(count)]


def own(think: Sequence[str], prompt: Sequence[int], limits: Limits, sampling: Sampling | None = None) -> Result:
    """What laconic's own engine makes of a prompt."""
    engine = Engine(MODEL, TEXT, Methods(drafter="none", length="constant", think=tuple(think)))
    return engine.run([Request(tuple(prompt), sampling or Sampling(), limits, phase="thinking")])[0]


def plain(prompt: Sequence[int], most: int) -> list[int]:
    """What the model writes by itself, greedily."""
    tokens = list(prompt)
    while len(tokens) < len(prompt) + most and (len(tokens) == len(prompt) or tokens[-1] != END):
        tokens.append(int(MODEL.after(tokens).argmax()))
    return tokens[len(prompt) :]


@knobs
class Faulty(Controller):
    """Raises after twelve tokens of the thought where it decides or, with ``ruling``, where its rule is asked."""

    card = Card("none", lossless=False)
    ruling: bool = False

    def start(self, request: Request, text: Text) -> None:
        """No state."""

    def rule(self, state: None) -> LogitRule | None:
        return self._rule if self.ruling else None

    def _rule(self, logits: torch.Tensor, place: Place) -> None:
        if place.thinking >= 12:
            raise ValueError("no rule")

    def limit(self, state: None) -> int:
        return 12

    def decide(self, state: None, view: View) -> Action:
        if view.thinking >= 12 and not self.ruling:
            raise ValueError("no decision")
        return Continue()


def fakes_of_methods(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the registry know ``faulty``."""
    monkeypatch.setitem(registry._targets["think"], "faulty", "vllm_fakes:Faulty")
    monkeypatch.setitem(registry._classes, ("think", "faulty"), Faulty)
    monkeypatch.setattr(Faulty, "name", "faulty")
