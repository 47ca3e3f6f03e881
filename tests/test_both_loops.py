"""The fast loop against the slow one over a model that costs nothing, so that much can be tried in a second or two."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch

from laconic import Limits, Request, Sampling, reference
from laconic.loop import Loop, Plan
from laconic.policy import knobs, registry
from laconic.speculation.base import Context, TokenTree
from laconic.speculation.pace import Pace
from laconic.thinking.base import Controller
from tests.fakes import FakeModel
from tests.speculation.rounds import build
from tests.thinking.test_actions import CONTROLLERS
from tests.told import TEXT, Drafted, Unmeasured

LETTERS = [TEXT.encode(chr(code))[0] for code in range(97, 123)]


class Wild(FakeModel):
    """What follows hangs on the last tokens and the place: words, short steps, answers, sometimes the end."""

    def __init__(self, ends: float) -> None:
        rows = 1.5 * torch.randn(997, 264, generator=torch.Generator().manual_seed(5))
        rows[:, LETTERS] += 5.0
        for piece, bias in (("\n\n", 7.0), ("}", 7.0), ("<|im_end|>", ends), ("</think>", 5.5)):
            rows[:, TEXT.encode(piece)] += bias
        super().__init__(rows, context=400)

    def after(self, tokens: Sequence[int]) -> torch.Tensor:
        return self.table[(sum(31**i * token for i, token in enumerate(tokens[-4:])) + 7 * len(tokens)) % 997]


@knobs
class Guesses(Drafted):
    """Drafts what the model would write, every fifth token wrong; with ``wide`` a tree, a wrong twin beside each."""

    wide: bool = False

    def _draft(self, context: Context, budget: int) -> TokenTree:
        text = self.complete(context, len(context.tokens), [], budget, lambda token: False)
        if not self.wide:
            return TokenTree.of_chain(text)
        tokens = [token for right in text for token in (right ^ 1, right)][:budget]
        return TokenTree(tokens, [-1 if i < 2 else 2 * (i // 2) - 1 for i in range(len(tokens))])

    def complete(
        self, state: Context, base: int, tokens: Sequence[int], most: int, ends: Callable[[int], bool]
    ) -> list[int]:
        text, found = [*state.tokens[:base], *tokens], list[int]()
        while len(found) < most:
            found.append(int(self.drafts.after(text).argmax()) ^ (len(text) % 5 == 0))
            text.append(found[-1])
            if ends(found[-1]):
                break
        return found


def built(*specs: str) -> tuple[Controller, ...]:
    return tuple(registry.build("think", spec) for spec in specs)  # type: ignore[misc]


THINK: dict[str, tuple[Controller, ...]] = {
    "free": (),
    **CONTROLLERS,
    "exits": built("answer-confidence:threshold=0.3"),
    "exits early": built("answer-confidence:0.0001"),
    "never exits": built("answer-confidence:threshold=1.0,aggregate=min"),
    "two ask": built("budget:25", "answer-confidence:threshold=0.2,patience=2", "closing-rank:3,2"),
    "counts": built("settled:0.06", "answer-agreement:2"),
}
MODELS = {"ends": Wild(4.5), "goes on": Wild(-9.0)}


def requests() -> list[Request]:
    prompts = [TEXT.encode(f"What is {i}+{i}?" + "<think>\n" * (i % 3 > 0)) for i in range(5)]
    kept = (None, 0, 12, None, 0)
    return [
        Request(
            tuple(prompt),
            Sampling(0.9 * (i % 2), seed=i, repetition_penalty=1.5 if i == 2 else 1.0),
            Limits(60 + i, ("jk", "a\n\nb")[: i % 3], kept[i]),
        )
        for i, prompt in enumerate(prompts)
    ]


def served(loop: Loop, asked: Sequence[Request], batch: int) -> list[tuple[list[int], str | None]]:
    """Every request's tokens and end. Streams are checked on the way: what was shown is what there is."""
    waiting, running, shown = list(asked), [], {}
    for _ in range(500):
        if not waiting and not loop.active:
            break
        while waiting and len(loop.active) < batch:
            running.append(loop.add(waiting.pop(0)))
        loop.step()
        for s in running:
            shown.setdefault(id(s), []).extend(token for step in s.drain() for token in step.tokens)
    for s in running:
        result = s.result()
        assert list(result.tokens) == shown[id(s)]
        usage = result.usage
        assert usage.thinking + usage.answer + usage.injected == len(result.tokens)
        assert 0 <= usage.accepted <= usage.drafted
    return [(s.tokens[s.context.prompt_length :], s.finish) for s in running]


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("think", THINK)
def test_both_write_the_same(think: str, name: str) -> None:
    model, asked = MODELS[name], requests()
    expected = [reference.decode(model.after, TEXT, r, THINK[think], model.context) for r in asked]
    for wide, batch, probes, pace in (
        (False, 1, "branch", Unmeasured()),
        (True, 3, "branch", Unmeasured()),
        (False, 3, "separate", Pace()),
    ):
        parts = Guesses(model, wide=wide), build("length", "constant:6"), build("shape", "chain")
        plan = Plan(*parts, build("verifier", "match"), THINK[think], probes)  # type: ignore[arg-type]
        assert served(Loop(model, TEXT, plan, pace=pace), asked, batch) == expected, (wide, batch, probes)
    assert all(slot.closed for slot in model.slots)
