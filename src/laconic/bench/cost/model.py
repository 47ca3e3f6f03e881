"""The time of a pass as a function of its tokens and of the context they attend to, fitted to measured passes.

    seconds = base(tokens) + per_key * requests * context + per_pair * tokens * context + per_request * (requests - 1)

``tokens`` are the nodes scored in the pass over all requests, ``context`` is how many committed tokens a request has
(the mean, if they differ). ``per_key`` is the reading of keys and values, once a request; ``per_pair`` the attention of
every node to every committed token. ``base`` is the rest: reading the weights, and arithmetic per token. It is never
decreasing and straight between its knots, and takes one of three forms:

* ``line``: a fixed cost and a cost per token;
* ``knee``: flat (or slowly rising) while the weights' way from memory is what takes the time, steeper from some number
  of tokens on, where arithmetic does; the knee is where the data puts it;
* ``steps``: a value of its own at each measured number of tokens, for machines whose matrix kernels change with it.

The form is chosen by what it predicts, not by what it fits: a fifth of the measured kinds of pass is left out in turn
and predicted from the others.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from laconic.bench.cost.nnls import nnls
from laconic.errors import RequestError

Array = NDArray[np.float64]

FORMS = ("line", "knee", "steps")
_PREFER_SIMPLER = 0.9
"""A form with more knots must predict this much better than a simpler one to be chosen."""
_GOOD = 1e-3
"""A form that predicts within a thousandth is good enough; what is left is rounding."""
_FOLDS = 5


@dataclass(frozen=True, slots=True)
class Cell:
    """Passes of one kind: their median time, and half the distance between the quartiles as a share of it."""

    tokens: int
    context: int
    requests: int
    seconds: float
    spread: float = 0.0
    count: int = 1


@dataclass(frozen=True, slots=True)
class CostModel:
    """A fitted cost model. ``knots[i]`` tokens cost ``base[i]`` seconds; beyond the last knot the last slope goes on.

    ``error`` is the root mean square relative residual of the fit, ``held_out`` that of the predictions by which the
    form was chosen (None where too few were measured to leave some out), ``cells`` what was measured.
    """

    form: str
    knots: tuple[float, ...]
    base: tuple[float, ...]
    per_key: float
    per_pair: float
    per_request: float
    error: float
    held_out: float | None
    cells: tuple[Cell, ...] = ()

    def seconds(self, tokens: float, context: float, requests: int = 1) -> float:
        """Time of a pass over ``tokens`` nodes in total, after ``context`` committed tokens in each request."""
        knots, base = self.knots, self.base
        i = bisect_right(knots, tokens, 1, len(knots) - 1)
        left, low = knots[i - 1], base[i - 1]
        return (
            low
            + (base[i] - low) * (tokens - left) / (knots[i] - left)
            + (self.per_key * requests + self.per_pair * tokens) * context
            + self.per_request * (requests - 1)
        )

    def marginal(self, tokens: float, context: float) -> float:
        """What one more token would add to a pass over ``tokens`` nodes, in seconds."""
        return self.seconds(tokens + 1, context) - self.seconds(tokens, context)

    def relative(self, tokens: float, context: float, requests: int = 1) -> float:
        """Time in passes over a single token at the same context."""
        return self.seconds(tokens, context, requests) / self.seconds(1, context)

    @property
    def knee(self) -> float | None:
        """Tokens from which a token costs more than before; None unless the form is ``knee``."""
        return self.knots[1] if self.form == "knee" and len(self.knots) > 2 else None


def fit(cells: Sequence[Cell]) -> CostModel:
    """The form that predicts best, fitted to all cells by least squares of relative errors, no coefficient negative.

    Raises RequestError unless at least two numbers of tokens were measured, and every time is positive.
    """
    counts = sorted({cell.tokens for cell in cells})
    if len(counts) < 2:
        raise RequestError(
            "a cost model needs passes of at least two sizes.", "Measure a model with a longer context, or more sizes."
        )
    if any(not cell.seconds > 0 for cell in cells):
        raise RequestError("a pass took no time at all.", "The clock is too coarse; measure again.")
    best, best_error = "line", _held_out(cells, "line")
    for form in FORMS[1:]:
        if best_error is None or best_error < _GOOD:
            break
        error = _held_out(cells, form)
        if error is not None and error < _PREFER_SIMPLER * best_error:
            best, best_error = form, error
    return fit_form(cells, best, held_out=best_error)


def fit_form(cells: Sequence[Cell], form: str, *, held_out: float | None = None) -> CostModel:
    """Fit one form; see :func:`fit`."""
    counts = sorted({cell.tokens for cell in cells})
    first, last = float(counts[0]), float(counts[-1])
    if form == "line":
        knots: tuple[float, ...] = (first, last)
    elif form == "steps":
        knots = tuple(map(float, counts))
    else:
        knots = (first, _knee(cells, first, last, len(counts)), last)
    coefficients, error = _solve(cells, knots)
    base = np.cumsum(coefficients[: len(knots)])
    per_key, per_pair, per_request = coefficients[len(knots) :]
    return CostModel(
        form, knots, tuple(map(float, base)), float(per_key), float(per_pair), float(per_request), error, held_out,
        tuple(cells),
    )  # fmt: skip


def _knee(cells: Sequence[Cell], first: float, last: float, counts: int) -> float:
    """The knee that fits best. It need not be at a measured size: a geometric grid, and a finer one around its best."""

    def best(places: Array) -> int:
        return min(range(len(places)), key=lambda i: _solve(cells, (first, float(places[i]), last))[1])

    coarse = np.geomspace(first, last, 3 * counts + 1)
    at = best(coarse[1:-1]) + 1
    fine = np.geomspace(coarse[at - 1], coarse[at + 1], 12)[1:-1]
    return float(fine[best(fine)])


def _solve(cells: Sequence[Cell], knots: Sequence[float]) -> tuple[Array, float]:
    """Coefficients of the features below, none negative, and the root mean square relative residual."""
    features, times = _features(cells, knots), np.array([cell.seconds for cell in cells])
    relative = features / times[:, None]
    found = nnls(relative, np.ones(len(cells)))
    return found, float(np.sqrt(np.mean((relative @ found - 1) ** 2)))


def _features(cells: Sequence[Cell], knots: Sequence[float]) -> Array:
    """One row a cell: the base at the first knot, the rise to each further knot, and the three context terms.

    The rise between two knots is 0 before the first, 1 after the second, and straight between; the last one goes on.
    So coefficients that are not negative make a base that never falls.
    """
    tokens = np.array([cell.tokens for cell in cells], dtype=float)
    requests = np.array([cell.requests for cell in cells], dtype=float)
    context = np.array([cell.context for cell in cells], dtype=float)
    columns = [np.ones_like(tokens)]
    for i in range(1, len(knots)):
        rise = (tokens - knots[i - 1]) / (knots[i] - knots[i - 1])
        columns.append(np.maximum(rise, 0) if i == len(knots) - 1 else np.clip(rise, 0, 1))
    return np.stack([*columns, requests * context, tokens * context, requests - 1], axis=1)


def _held_out(cells: Sequence[Cell], form: str) -> float | None:
    """Root mean square relative error on cells that were left out of the fit; None where there are too few of them."""
    if len(cells) < 2 * _FOLDS:
        return None
    errors: list[float] = []
    for fold in range(_FOLDS):
        rest = [cell for i, cell in enumerate(cells) if i % _FOLDS != fold]
        if len({cell.tokens for cell in rest}) < 2:
            return None
        model = fit_form(rest, form)
        errors += [model.seconds(c.tokens, c.context, c.requests) / c.seconds - 1 for c in cells[fold::_FOLDS]]
    return float(np.sqrt(np.mean(np.square(errors))))
