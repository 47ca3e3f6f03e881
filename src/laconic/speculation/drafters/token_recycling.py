"""Token recycling: what the target last thought might follow each token, rejected drafts included."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from laconic.policy import Card, Needs, knobs
from laconic.speculation.base import EMPTY, Context, Drafter, Grown, Judge, Row, TokenTree, Tools, TreeShape, Verdict
from laconic.speculation.drafters.few import Floats, Ints, few_rows
from laconic.speculation.drafters.growing import grow
from laconic.speculation.drafters.heard import NOTHING, candidates, taken, windows

_PRIOR = 8.0
"""Tokens that the first guess at acceptance by rank counts for."""
_MEMORY = 0.999
"""Weight that what was seen of it keeps with each further token; about a thousand count."""


class Matrix:
    """The paper's adjacency matrix: of every token, those that the target thought likeliest to follow, best first."""

    def __init__(self, vocab_size: int, k: int) -> None:
        self.tokens: NDArray[np.int32] = np.full((vocab_size, k), NOTHING, dtype=np.int32)
        self._seen = _PRIOR
        self._held: Floats = _PRIOR * 0.5 ** np.arange(2.0, k + 2.0)

    @property
    def shares(self) -> Floats:
        """How often the token of each rank is the one that the target takes, lately; ``[k]``."""
        return self._held / self._seen

    def judge(self, above: Ints, taken: Ints) -> None:
        """Learn which ranks the tokens ``taken [n]`` had in the rows of those ``above [n]`` them."""
        rows = self.tokens[above]
        known = rows[:, 0] != NOTHING
        faded = _MEMORY ** int(known.sum())
        self._seen = faded * self._seen + int(known.sum())
        self._held = faded * self._held + (rows[known] == taken[known, None]).sum(0)

    def follow(self, above: Ints, taken: Ints) -> None:
        """Put tokens ``taken [n]`` first in the rows of those ``above [n]`` them; of several, the last."""
        last = dict(zip(above.tolist(), taken.tolist(), strict=True))
        tokens, first = (np.fromiter(part, dtype=np.int64) for part in (last.keys(), last.values()))
        old = self.tokens[tokens]
        same = old == first[:, None]
        gap = np.where(same.any(1), same.argmax(1), old.shape[1] - 1)[:, None]
        at = np.arange(old.shape[1] - 1)
        rest = np.take_along_axis(old, at + (at >= gap), 1)
        self.tokens[tokens] = np.concatenate((first[:, None], rest), 1)


@dataclass(slots=True)
class Recycling:
    """State of one request."""

    context: Context
    shape: TreeShape
    matrix: Matrix


@knobs
class TokenRecycling(Drafter):
    """Draft from the candidates that the target had for each token the last time that it scored it.

    Source: Token Recycling (Luo et al. 2024). A matrix holds for every token of the vocabulary the ``k`` likeliest next
    tokens by the target's latest logits after it, whether that token stood in the text or in a refused draft. A draft
    grows from the last token by looking up row after row. The matrix starts out empty, serves all requests, and takes
    four ``k`` bytes a token of the vocabulary. The pairs of a prompt are put first too, which the authors do not do.

    The authors grow one tree of fixed form; here the run's shape grows it, of chances that are learned while decoding:
    how often lately the token of each rank was the one that the target took. ``sequoia`` with these as its
    ``acceptance`` (see :meth:`report`) is such a tree; ``best-first`` grows much the same one with none given. Where
    the target samples and its draw can be foreseen, candidates are ranked by the chance to be that draw. Drafts are not
    drawn from a distribution, so they are exact at any temperature.
    """

    card = Card(
        paper="Turning Trash into Treasure: Accelerating Inference of Large Language Models with Token Recycling",
        lossless=True,
        catalogue=(39,),
    )
    needs = Needs(target_rows=True)

    k: Annotated[int, Field(ge=1, le=64)] = 8
    """Candidates kept for each token."""
    shared: bool = True
    """Whether the matrix serves all requests of this policy object, as in the paper; else each begins with its own."""

    @property
    def expands(self) -> bool:
        """True: any token can be looked up."""
        return True

    @cached_property
    def _everyone(self) -> dict[int, Matrix]:
        """The shared matrix by size of the vocabulary; made when first needed."""
        return {}

    def report(self) -> dict[str, Any] | None:
        """How often the candidate of each rank was taken lately."""
        if not self._everyone:
            return None
        shares = [round(float(share), 4) for share in next(iter(self._everyone.values())).shares]
        return {"acceptance": shares, "says": f"acceptance by rank {'/'.join(map(str, shares))}"}

    def start(self, context: Context, tools: Tools) -> Recycling:
        """Count the pairs of the prompt."""
        size = tools.vocab_size
        if not self.shared:
            matrix = Matrix(size, self.k)
        elif (found := self._everyone.get(size)) is None:
            matrix = self._everyone[size] = Matrix(size, self.k)
        else:
            matrix = found
        prompt = np.array(context.tokens)
        matrix.follow(prompt[:-1], prompt[1:])
        return Recycling(context, tools.shape, matrix)

    def propose(
        self, states: Sequence[Recycling], budgets: Sequence[int], judges: Sequence[Judge | None]
    ) -> list[TokenTree]:
        """A tree for each request whose last token has been scored before."""
        return [self._draft(*request) for request in zip(states, budgets, judges, strict=True)]

    def observe(self, states: Sequence[Recycling], verdicts: Sequence[Verdict]) -> None:
        """See which ranks were right, then keep what the target thinks now, of every node that it scored."""
        for state, verdict in zip(states, verdicts, strict=True):
            assert verdict.rows is not None
            matrix, above = state.matrix, windows(verdict, 1)[:, 0]
            path, tokens = taken(verdict)
            matrix.judge(above[path], tokens)
            matrix.tokens[above] = candidates(verdict.rows, self.k)[0]

    def _draft(self, state: Recycling, budget: int, judge: Judge | None) -> TokenTree:
        matrix, context = state.matrix, state.context
        if budget <= 0 or matrix.tokens[context.tokens[-1], 0] == NOTHING:
            return EMPTY
        nodes, shares, length = Grown(), matrix.shares, len(context.tokens)

        def rows(wanted: list[int]) -> list[Row]:
            above = [context.tokens[-1] if node < 0 else nodes.tokens[node] for node in wanted]
            found = matrix.tokens[above].astype(np.int64)
            places = np.array([length + nodes.below(node) for node in wanted])
            return few_rows(found, np.where(found == NOTHING, 0.0, shares), context, places)

        return grow(state.shape, nodes, budget, context, judge, rows, self.name)
