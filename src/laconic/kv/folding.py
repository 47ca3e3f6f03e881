"""What mergers share: which kept entry is nearest to one that goes, and weighted means of several.

Keys lie in a cache as they were rotated to the place where they were written, and mergers leave them so. A product
with a query is linear in the key: the weighted mean of rotated keys gives every query, wherever it stands, the weighted
mean of the products that it had with each of them at its own place. Turning keys back first and the mean to the kept
entry's place would say that all of them had stood there. But two things follow from the rotation. Keys of one content
are the less alike the further apart they were written, so that neighbours are found first; and a mean of keys turned
apart is shorter than they are. And whatever is done to keys, an entry that stands for several has the weight of one.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from laconic.kv.keeping import coarse

_BLOCK = 1024
"""Entries that are held against all kept ones at a time; bounds the memory of that."""


def cosines(goes: Tensor, stays: Tensor) -> Tensor:
    """Of ``goes [gone, heads, dim]`` with ``stays [kept, heads, dim]``, head by head: ``[heads, gone, kept]``."""
    rows, columns = (F.normalize(x.float(), dim=-1) for x in (goes, stays))
    return rows.transpose(0, 1) @ columns.permute(1, 2, 0)


def nearest(likeness: Tensor) -> tuple[Tensor, Tensor]:
    """The largest of ``likeness [heads, gone, kept]`` for each that goes, and whose it is, ``[gone, heads]`` each.

    The first of equals, to twelve binary digits: passes of other widths round the rest otherwise.
    """
    rough = coarse(likeness)
    places = torch.arange(likeness.shape[-1], device=likeness.device)
    first = torch.where(rough == rough.amax(-1, keepdim=True), places, len(places)).amin(-1, keepdim=True)
    return likeness.gather(-1, first)[..., 0].T, first[..., 0].T


def nearest_keys(goes: Tensor, stays: Tensor) -> tuple[Tensor, Tensor]:
    """:func:`nearest` by the cosines of keys."""
    found = [nearest(cosines(goes[at : at + _BLOCK], stays)) for at in range(0, len(goes), _BLOCK)]
    likeness, places = zip(*found, strict=True)
    return torch.cat(likeness), torch.cat(places)


def gathered(stays: Tensor, goes: Tensor, places: Tensor, weights: Tensor) -> Tensor:
    """To each of ``stays [kept, heads, ...]`` all of ``goes [gone, heads, ...]`` whose place it is, times its weight.

    ``places``, ``weights [gone, heads]``; in float32.
    """
    heads = stays.shape[1]
    flat = (places * heads + torch.arange(heads, device=places.device)).flatten()
    scaled = goes.float() * weights.view(*weights.shape, *[1] * (goes.dim() - 2))
    return stays.float().flatten(0, 1).index_add(0, flat, scaled.flatten(0, 1)).view(stays.shape)


def means(stays: Tensor, goes: Tensor, places: Tensor, weights: Tensor, own: Tensor) -> Tensor:
    """Weighted means of each of ``stays [kept, heads, dim]``, whose weight is ``own [kept, heads]``, with its share.

    Where nothing comes to one it is what it was, bit for bit.
    """
    total = gathered(own, weights, places, torch.ones_like(weights))
    mean = gathered(stays.float() * own[..., None], goes, places, weights) / total[..., None]
    return torch.where((total == own)[..., None], stays, mean.to(stays.dtype))
