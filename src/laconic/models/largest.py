"""The largest of each row of logits, faster than PyTorch finds them on a CPU.

PyTorch compares one number at a time where it must say which one was the largest; where it need not, whole vectors at
once. So the largest of each of some groups are found first, and only the groups that hold what is wanted are searched:
four times as fast in float32, six in bfloat16, for 49,152 logits a row. Where the project's kernels are at work, one
reading of the row is enough.
"""

from __future__ import annotations

import torch

from laconic.models.native import bf16

_GROUP = 1024
"""Neighbours in a group where the first of the largest is wanted."""
_STRIDE = 64
"""Numbers in a group, evenly spaced, where several are wanted; the maxima of such groups are element-wise maxima."""


def first_largest(rows: torch.Tensor) -> torch.Tensor:
    """Index of the largest of each row of ``rows [n, width]``; the first one where several are. Rows without NaN."""
    if (kernels := _kernels(rows)) is not None:
        return kernels.largest(rows, 1)[1][:, 0].clamp_min(0)
    count, width = rows.shape
    if not _pays(rows):
        return rows.argmax(-1)
    whole = width - width % _GROUP
    groups = rows[:, :whole].view(count, -1, _GROUP)
    values, group = groups.amax(-1).float().max(-1)
    found = group * _GROUP + groups[torch.arange(count), group].float().argmax(-1)
    if whole < width:
        last, at = rows[:, whole:].float().max(-1)
        found = torch.where(last > values, whole + at, found)
    return found


def tops(rows: torch.Tensor) -> tuple[torch.Tensor, list[int] | None]:
    """The largest of each row of ``rows [n, width]``, NaN where there is any; and its index where that is free."""
    if (kernels := _kernels(rows)) is None:
        return rows.amax(-1), None
    values, places = kernels.largest(rows, 1)
    return values[:, 0], places[:, 0].clamp_min(0).tolist()


def largest(rows: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The ``k`` largest of each row of ``rows [n, width]``, largest first, and their indices; both ``[n, k]``.

    Values are float32. Of equals any may be taken; where there are fewer above minus infinity, any place stands there.
    """
    if (kernels := _kernels(rows)) is not None:
        values, places = kernels.largest(rows, k)
        return values, places.clamp_min(0)
    count, width = rows.shape
    size = width // _STRIDE  # number i of group j is number i * size + j of the row; what is left over is no group's
    if not _pays(rows) or size < k:
        values, indices = rows.topk(k, -1)
        return values.float(), indices
    whole = size * _STRIDE
    groups = rows[:, :whole].view(count, _STRIDE, size)
    best = groups.amax(1).float().topk(k, -1).indices  # the k largest are in the groups of the k largest maxima
    seen = groups.gather(2, best[:, None].expand(-1, _STRIDE, -1)).reshape(count, -1)
    values, at = torch.cat((seen, rows[:, whole:]), 1).float().topk(k, -1)
    inside = at // k * size + best.gather(1, at % k)
    return values, torch.where(at < seen.shape[1], inside, at - seen.shape[1] + whole)


def _kernels(rows: torch.Tensor) -> bf16.Kernels | None:
    """Those that can read these rows."""
    if rows.device.type != "cpu" or not rows.is_contiguous() or rows.dtype not in (torch.bfloat16, torch.float32):
        return None
    return bf16.loaded()


def _pays(rows: torch.Tensor) -> bool:
    return rows.device.type == "cpu" and rows.shape[-1] >= 4 * _GROUP and rows.is_contiguous()
