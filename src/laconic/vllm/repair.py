"""A fault of vLLM's that spoils what laconic promises: on CPUs, temperatures of drafted tokens are never filled in.

vLLM 0.32 for CPUs spreads each request's temperature, top-k and top-p over the rows of its draft by a kernel that is
given a copy, in whole numbers, of where to write. The rows keep what memory held, so a sampled request writes noise
wherever anything is drafted, whoever drafts. That is tried out at start-up, and done in PyTorch where it is wrong.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from laconic.vllm.host import log

Expand = Callable[..., torch.Tensor]


def expanding(expand: Expand) -> Expand:
    """vLLM's ``expand_batch_to_tokens``, or what it should be where a trial on this device shows that it is not."""

    def expanded(x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        broken = x.device.type == "cpu" and wrong(expand)
        return (spread if broken else expand)(x, *args, **kwargs)

    return expanded


_FOUND: dict[int, bool] = {}


def wrong(expand: Expand) -> bool:
    """Whether the kernel does not write where it should; tried once."""
    if id(expand) not in _FOUND:
        values, ends = torch.tensor([0.25, 0.75]), torch.tensor([2, 3], dtype=torch.int32)
        _FOUND[id(expand)] = expand(values, ends, 3).tolist() != [0.25, 0.25, 0.75]
        if _FOUND[id(expand)]:
            log.warning("this vLLM does not spread temperatures over drafts on CPUs; laconic does it in PyTorch")
    return _FOUND[id(expand)]


def spread(
    x: torch.Tensor, cu_num_tokens: torch.Tensor, num_tokens: int, replace_from: float = 0, replace_to: float = 0
) -> torch.Tensor:
    """Each of ``x [requests]`` for every token of its draft, ``[tokens]``; ``cu_num_tokens`` are running sums.

    >>> spread(torch.tensor([0.0, 0.5]), torch.tensor([1, 3]), 3, replace_from=0, replace_to=1)
    tensor([1.0000, 0.5000, 0.5000])
    """
    values = x.masked_fill(x == replace_from, replace_to)
    counts = torch.diff(cu_num_tokens, prepend=cu_num_tokens.new_zeros(1)).to(x.device)
    return values.repeat_interleave(counts, output_size=num_tokens)
