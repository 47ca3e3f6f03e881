"""Which tokens are worth drafting: output heads of drafts that know a part of the vocabulary only.

Sources: FR-Spec (arXiv 2502.14856: the most frequent tokens of a corpus), VocabTrim (arXiv 2506.22694: those that the
target itself writes most); EAGLE-3's reduced output vocabulary is a third case. They differ in what is counted.
"""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor

from laconic.errors import RequestError


def kept_tokens(counts: Tensor, size: int, always: Collection[int] = ()) -> Tensor:
    """The ``size`` tokens that a reduced head keeps, ``[size]`` int64, in ascending order of their ids.

    ``counts [vocab]`` says how often each was seen. Those of ``always`` (end tokens, tags) are kept first, then the
    most frequent; among equals, also among those never seen, the lower id, which in a vocabulary made by merging pairs
    was merged earlier. Raises RequestError for a size that is too small for ``always`` or larger than the vocabulary.

    >>> kept_tokens(torch.tensor([0, 5, 1, 5, 9]), 3, always=[0])
    tensor([0, 1, 4])
    """
    first = sorted(set(always))
    if first and not 0 <= first[0] <= first[-1] < len(counts):
        raise RequestError(f"token {first[0] if first[0] < 0 else first[-1]} is none of the {len(counts)}.")
    if not max(1, len(first)) <= size <= len(counts):
        raise RequestError(
            f"cannot keep {size} of {len(counts)} tokens.", f"Keep between {max(1, len(first))} and all of them."
        )
    ranked = counts.to("cpu", torch.float64, copy=True)
    ranked[first] = torch.inf
    order = torch.argsort(ranked, descending=True, stable=True)
    return order[:size].sort().values
