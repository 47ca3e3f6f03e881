"""What a listener makes of a verdict: the text above each scored node, and what the target thought comes next."""

from __future__ import annotations

import numpy as np

from laconic.models.largest import largest
from laconic.speculation.base import TargetRows, Verdict
from laconic.speculation.drafters.few import NOTHING, Floats, Ints


def windows(verdict: Verdict, size: int) -> Ints:
    """The last ``size`` tokens down to each scored node, itself included, ``[nodes + 1, size]``: row 0 is the text's.

    ``NOTHING`` before the beginning of a text; ``size`` is at most ``HEARD``.
    """
    before = list(verdict.before)[-size:]
    found = [(*(NOTHING,) * (size - len(before)), *before)]
    for token, parent in zip(verdict.tree.tokens, verdict.tree.parents, strict=True):
        found.append((*found[parent + 1][1:], token))
    return np.array(found, dtype=np.int64)


def taken(verdict: Verdict) -> tuple[Ints, Ints]:
    """Rows of :func:`windows` that the text went through, and the token that it took after each."""
    return np.array([0, *(node + 1 for node in verdict.path)]), np.array(verdict.tokens)


def candidates(rows: TargetRows, k: int) -> tuple[Ints, Floats]:
    """The ``k`` likeliest tokens after each scored node, best first, and their logits less the best one's.

    Both ``[rows, k]``; in place of what the request's rules forbid, and where the vocabulary is smaller, ``NOTHING``
    and minus infinity.
    """
    count, width = rows.logits.shape
    values, tokens = largest(rows.logits, min(k, width))
    logits = np.full((count, k), -np.inf)
    found = np.full((count, k), NOTHING, dtype=np.int64)
    logits[:, :width] = values.cpu().numpy()
    logits -= logits[:, :1].copy()
    found[:, :width] = tokens.cpu().numpy()
    found[np.isneginf(logits)] = NOTHING
    return found, logits
