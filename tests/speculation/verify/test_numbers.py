"""Which random number decides what: every decision has one of its own."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from laconic.policy import Card, knobs
from laconic.speculation.base import Refused, Relaxation, TokenTree
from laconic.speculation.draws import Draws
from laconic.speculation.verify.match import Match
from laconic.types import Sampling
from tests.fakes import FakeModel
from tests.speculation.exact import integrate
from tests.speculation.rounds import build, context_of, rows_of


class Noting(Draws):
    """Remembers the keys of all draws."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.keys: list[tuple[int, int]] = []

    def pick(self, probs: torch.Tensor, position: int, stream: int = Draws.TOKEN, sub: int = 0) -> int:
        self.keys.append((position, stream))
        return super().pick(probs, position, stream, sub)


@pytest.mark.parametrize("verifier", ["block", "traversal", "speculative-sampling", "specinfer", "k-seq", "importance"])
def test_the_token_after_the_draft_is_drawn_with_the_number_of_its_own_place(verifier: str) -> None:
    """So its draw is the one that plain decoding makes there, whatever stood before it."""
    target = FakeModel.random(3, sharpness=1.0)
    draft, accepted = target.noisy(4, 0.7), set()
    for seed in range(30):
        context = context_of([1, 2], Sampling(1.0, seed=seed))
        tokens: list[int] = []
        rows = []
        for at in range(3):
            rows.append(draft.after([1, 2, *tokens]).softmax(-1))
            tokens.append(context.draws.pick(rows[-1], 2, Draws.DRAFT, at))
        draws = Noting(seed)
        tree = TokenTree.of_chain(tokens, draft_probs=rows)
        verdict = build("verifier", verifier).verify(rows_of(target, context, tree), tree, draws)
        assert draws.keys == [(2 + verdict.accepted, Draws.TOKEN)]
        accepted.add(verdict.accepted)
    assert {0, 1, 3} <= accepted


@knobs
class Coin(Relaxation):
    """Every second refused token stands."""

    card = Card(paper="a test", lossless=False)

    def chance(self, refused: Refused) -> float:
        return 0.5


def test_every_sibling_is_pardoned_or_not_by_itself() -> None:
    target, context = FakeModel.random(3), context_of([1, 2])
    right = int(target.after([1, 2]).argmax())
    tree = TokenTree([token for token in range(8) if token != right][:3], [-1, -1, -1])
    rows: Any = rows_of(target, context, tree)
    law = integrate(lambda draws: tuple(Match(relax=Coin()).verify(rows, tree, draws).path))
    assert law == pytest.approx({(0,): 0.5, (1,): 0.25, (2,): 0.125, (): 0.125})
