"""Sampled trees for tests, and a pair of models that gives away shared random numbers."""

from __future__ import annotations

import torch

from laconic.policy import Card, knobs
from laconic.speculation.base import Context, Drafting, Expand, Grown, Judge, TokenTree, TreeShape
from laconic.speculation.draws import Draws
from laconic.speculation.verify.residual import without
from tests.fakes import FakeModel


@knobs
class Bushy(TreeShape):
    """Every node gets ``width`` children down to ``depth``, drawn as the verifier wants them.

    ``shared`` is a planted fault: cousins are drawn with the same numbers.
    """

    card = Card(paper="a shape for tests", lossless=True)

    width: int = 2
    depth: int = 2
    shared: bool = False

    def grow(self, nodes: Grown, budget: int, context: Context, judge: Judge | None) -> Expand:
        start, sampled = len(context.tokens), []
        level = [-1]
        for depth in range(self.depth):
            asked, rows, level = level, (yield level), []
            for parent, row in zip(asked, rows, strict=True):
                q = row.probs
                for rank in range(self.width):
                    if len(nodes.tokens) >= budget or float(q.sum()) <= 0:
                        break
                    sub = depth * self.width + rank if self.shared else len(nodes.tokens)
                    token = context.draws.pick(q, start, Draws.DRAFT, sub)
                    sampled.append(row.probs)
                    level.append(nodes.add(token, parent))
                    if context.drafting is not Drafting.REPEAT:
                        q = without(q, token)
            if not level:
                break
        return TokenTree(nodes.tokens, nodes.parents, sampled or None)


def by_last_two(rows: dict[tuple[int | None, int], list[float]]) -> FakeModel:
    """A model of three tokens: what may follow the last two; None stands for any, later entries win over earlier."""
    table = torch.full((3, 3, 3), 1 / 3)
    for (before, last), row in rows.items():
        table[slice(None) if before is None else before, last] = torch.tensor(row)
    return FakeModel(table.log())


Pair = tuple[FakeModel, FakeModel]

SURE, EVEN = [0.9, 0.05, 0.05], [0.48, 0.48, 0.04]


def telling_drafts() -> Pair:
    """Target and draft model under which a refusal says which tokens were drawn further down.

    After 2 the draft is nearly sure of 0 and the target is not. Token 0 then stands only if the next makes up for it,
    which 0 does and 1 does not; so after a refusal the next token was a 1 as a rule, and if the numbers it was drawn
    with are used again, the draft after the refusal is a 1 again, where the target has no such preference.
    """
    target = by_last_two({(None, 0): SURE, (None, 1): [0.3, 0.3, 0.4], (None, 2): EVEN})
    draft = by_last_two({(None, 0): [0.45, 0.45, 0.1], (None, 1): [0.45, 0.45, 0.1], (None, 2): SURE})
    return target, draft


def telling_tests() -> Pair:
    """Target and draft model under which a refusal says how large the number of a later test was.

    After 2 the draft 0 is refused only together with the token after it, for which the models agree: their common test
    fails on a large number. The next round begins after a 1, and there the draft is tested at the same position.
    """
    same, far = [0.45, 0.45, 0.1], [0.05, 0.9, 0.05]
    target = by_last_two({(None, 2): EVEN, (None, 1): EVEN, (2, 0): same, (1, 0): far})
    draft = by_last_two({(None, 2): SURE, (None, 1): SURE, (2, 0): same, (1, 0): SURE})
    return target, draft


def telling_residual() -> Pair:
    """Target and draft model under which a refused draft says which tokens had long waiting times."""
    target = by_last_two({(None, 2): [0.02, 0.7, 0.28]})
    return target, by_last_two({(None, 2): [0.6, 0.38, 0.02]})


def telling_counts() -> Pair:
    """Target and draft model under which it matters for the first sibling whether there is a second."""
    target = by_last_two({(None, 2): [0.34, 0.33, 0.33], (None, 1): [0.4, 0.4, 0.2], (None, 0): [0.2, 0.5, 0.3]})
    draft = by_last_two({(None, 2): [0.6, 0.3, 0.1], (None, 1): [0.7, 0.2, 0.1], (None, 0): [0.6, 0.3, 0.1]})
    return target, draft
