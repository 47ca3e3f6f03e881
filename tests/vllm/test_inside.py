"""What another engine writes under laconic's rows is what laconic's own loop writes, whatever that engine drafts."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
import torch

from laconic import Engine, Format, Limits, Methods, Result, Sampling
from laconic.errors import UnmetNeed
from laconic.models.text import Text
from laconic.speculation.draws import warp
from laconic.types import Request
from laconic.vllm.inside import Following, Inside, OutOfStep
from tests import tiny
from tests.fakes import Hashed

TEXTS = {"one token": tiny.text(), "several": Text(tiny.tokenizer(tags_as_tokens=False), format=Format("<a", "/>"))}
BIASES = {
    "one token": {**{chr(code): 9.0 for code in range(32, 127)}, "\n\n": 12.5, "<|im_end|>": 10.5, "</think>": 10.5},
    "several": {**{chr(code): 9.0 for code in range(32, 127)}, "\n\n": 12.5, "<|im_end|>": 9.5, "/": 11.0},
}
THINK: dict[str, tuple[str, ...]] = {
    "nothing": (),
    "budget": ("budget:24",),
    "budget, landing": ("budget:40,landing=0.5", "loop-break:every=16"),
    "soft-landing": ("soft-landing:32",),
    "hint": ("concise-hint:first=8",),
    "answer": ("budget:16,answer=12",),
    "no-wait": ("no-wait:words=a/b/c",),
    "trimr": ("trimr:2",),
}
QUIET = ("no-wait", "trimr", "soft-landing")
"""Methods that act by rules, or hardly ever on texts like these."""
MINIMUM = ("budget:60,minimum=24,waits=2", "loop-break:every=16")
LIMITS = {"room": Limits(128), "little room": Limits(80), "none": Limits(96, answer_room=0)}


MODELS = {tags: Hashed(TEXTS[tags], BIASES[tags]) for tags in BIASES}


class Other:
    """An engine of its own, which drafts badly: it accepts what its rows choose and takes nothing back."""

    def __init__(self, tags: str, think: Sequence[str], seed: int, most: int = 7) -> None:
        self.model, self.text, self.dice, self.most = MODELS[tags], TEXTS[tags], random.Random(seed), most
        self.inside = Inside(self.text, tuple(think), vocab_size=264, context=512)
        self.passes = 0

    def run(self, request: Request) -> list[int]:
        following, tokens = self.inside.follow(request), list(request.prompt)
        self.followed = following
        draws = torch.Generator().manual_seed(request.sampling.seed)
        while True:
            self.passes += 1
            new = self.step(following, request, tokens, draws)
            left = len(request.prompt) + request.limits.max_new_tokens - len(tokens)
            ended = next((at for at, token in enumerate(new) if token in self.text.eos), None)
            new = new[: min(left, len(new) if ended is None else ended + 1)]
            tokens += new
            if (ended is not None and ended < left) or len(tokens) == len(
                request.prompt
            ) + request.limits.max_new_tokens:
                return tokens[len(request.prompt) :]
            following.arrived(new)
            assert following.written == len(tokens)

    def step(self, f: Following, request: Request, tokens: list[int], draws: torch.Generator) -> list[int]:
        draft = self.draft(f, tokens)
        rows = [self.model.after([*tokens, *draft[:at]]).float() for at in range(len(draft) + 1)]
        order = range(f.plan(draft))
        last = len(draft) in order and self.dice.random() < 0.7  # vLLM begins with the row after a whole draft
        for at in [len(draft), *order[:-1]] if last else order:
            if at < len(f.rows):
                shaped = f.shaped(at, rows[at].clone())
                rows[at] = rows[at] if shaped is None else shaped
        new: list[int] = []
        for at in range(len(draft) + 1):
            if request.sampling.greedy:
                new.append(int(rows[at].argmax()))
            else:
                new.append(int(torch.multinomial(warp(rows[at], request.sampling), 1, generator=draws)))
            if at == len(draft) or new[-1] != draft[at]:
                break
        return new

    def draft(self, f: Following, tokens: list[int]) -> list[int]:
        """What is owed, then what the model would write, with an error here and there."""
        draft = f.owed[: self.most] if self.dice.random() < 0.5 else []
        for _ in range(self.dice.randrange(self.most + 1) - len(draft)):
            right = int(self.model.after([*tokens, *draft]).argmax())
            draft.append(right if self.dice.random() < 0.8 else self.dice.randrange(264))
        return draft


def requests(tags: str, limits: Limits, sampling: Sampling | None = None) -> list[Request]:
    text = TEXTS[tags]
    return [
        Request(
            tuple(text.encode(f"{n} * 7?{text.format.opens}" + "!" * n)),
            sampling or Sampling(),
            limits,
            phase="thinking",
        )
        for n in range(6)
    ]


def own(tags: str, think: Sequence[str], limits: Limits, sampling: Sampling | None = None) -> list[Result]:
    engine = Engine(MODELS[tags], TEXTS[tags], Methods(drafter="none", length="constant", think=tuple(think)))
    return engine.run(requests(tags, limits, sampling))


@pytest.mark.parametrize("limits", LIMITS)
@pytest.mark.parametrize("name", THINK)
@pytest.mark.parametrize("tags", TEXTS)
def test_texts_are_those_of_the_loop(tags: str, name: str, limits: str) -> None:
    right, acted = own(tags, THINK[name], LIMITS[limits]), 0
    for seed, (request, result) in enumerate(zip(requests(tags, LIMITS[limits]), right, strict=True)):
        other, expected = Other(tags, THINK[name], seed), list(result.tokens)
        found = other.run(request)
        if result.finish_reason == "length" and len(expected) < request.limits.max_new_tokens:
            assert found.pop() in other.text.eos  # how an engine is told that the answer has been long enough
        assert found == expected
        assert other.followed.sequence.events == list(result.events)
        acted += bool(result.events)
    assert acted > 0 or name in QUIET or LIMITS[limits].answer_room == 0


def test_a_thought_is_kept_open() -> None:
    right = own("one token", MINIMUM, LIMITS["room"])
    assert sum(event.action == "inject" for result in right for event in result.events) > 3
    for seed, (request, result) in enumerate(zip(requests("one token", LIMITS["room"]), right, strict=True)):
        assert Other("one token", MINIMUM, seed).run(request) == list(result.tokens)


def test_drawn_texts_end_within_their_limits_and_are_answered() -> None:
    think = ("budget:24", "loop-break:every=16")
    for seed in range(12):
        sampling = Sampling(0.9, top_p=0.95, seed=seed)
        request = requests("one token", LIMITS["room"], sampling)[seed % 6]
        other = Other("one token", think, seed)
        other.run(request)
        transcript = other.followed.sequence.transcript
        assert transcript.thinking <= 24
        assert transcript.parts().answer


def test_the_dice_end_a_thought_as_often_as_the_model_would() -> None:
    text, logits = TEXTS["one token"], torch.full((264,), -20.0)
    (end,) = text.eos
    logits[[5, 6, end]] = torch.tensor([0.3, 0.3, 0.4]).log() * 0.7
    inside, prompt = Inside(text, (), vocab_size=264, context=512), tuple(text.encode("?<think>"))
    ended = 0
    for seed in range(2000):
        following = inside.follow(Request(prompt, Sampling(0.7, seed=seed), Limits(128), phase="thinking"))
        assert following.plan([]) == 1
        (row,), shaped = following.rows, following.shaped(0, logits)
        assert shaped is not None
        if row.chosen is None:
            assert shaped.softmax(-1)[[5, 6, end]].tolist() == pytest.approx([0.5, 0.5, 0], abs=1e-3)
        else:
            ended += 1
            assert int(shaped.argmax()) == text.close_token
            assert int(shaped.isfinite().sum()) == 1
    assert abs(ended / 2000 - 0.4) < 4 * (0.4 * 0.6 / 2000) ** 0.5


def test_what_is_owed_is_drafted_and_accepted_whole() -> None:
    request = requests("one token", LIMITS["room"])[3]
    other = Other("one token", ("budget:4",), 0, most=64)
    other.draft = lambda f, tokens: list(f.owed)  # type: ignore[method-assign]
    written = other.run(request)
    said = len(other.text.encode("Time is up, so I will answer with what I have.\n"))
    assert other.passes <= len(written) - said


def test_an_engine_that_does_not_keep_to_its_rows_is_found_out() -> None:
    following = Inside(TEXTS["one token"], ("budget:2",), vocab_size=264, context=512).follow(
        requests("one token", LIMITS["room"])[0]
    )
    following.plan([])
    following.arrived([70])
    following.plan([])
    following.arrived([70])
    assert following.owed
    following.plan([])
    with pytest.raises(OutOfStep):
        following.arrived([following.owed[0] + 1])


@pytest.mark.parametrize(
    ("spec", "tags", "why"),
    [
        ("settled", "one token", "looks into the model"),
        ("answer-agreement:2", "one token", "asks the model"),
        ("chain-of-draft", "one token", "before the request begins"),
        ("route-by-length:2", "one token", "before the request begins"),
        ("budget:24,minimum=8", "several", "several tokens"),
    ],
)
def test_controllers_that_cannot_work_so_are_refused(spec: str, tags: str, why: str) -> None:
    with pytest.raises(UnmetNeed, match=why):
        Inside(TEXTS[tags], (spec,), vocab_size=264, context=512)


def test_an_end_token_right_behind_the_models_own_tag_is_ruled_out() -> None:
    text, logits = TEXTS["one token"], torch.zeros(264)
    (end,) = text.eos
    for room, allowed in ((None, False), (0, True)):
        following = Inside(text, (), vocab_size=264, context=512).follow(
            Request(tuple(text.encode("?<think>")), limits=Limits(128, answer_room=room), phase="thinking")
        )
        for token in text.encode("a</think>"):  # written in passes of their own, as they are without drafts
            following.plan([])
            following.arrived([token])
        following.plan([])
        shaped = following.shaped(0, logits)
        assert bool((logits if shaped is None else shaped)[end].isfinite()) == allowed
