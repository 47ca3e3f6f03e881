"""EMS: the middle class of entries into the centres of classes, the rest into none."""

from __future__ import annotations

from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from laconic.kv.base import Merger, Parting
from laconic.kv.folding import cosines, means, nearest
from laconic.kv.keeping import coarse
from laconic.policy import Card, knobs

_BLOCK = 1024
"""Entries that are held against all kept ones at a time; bounds the memory of that."""


@knobs
class EMS(Merger):
    """Fold the better ones of what goes into the kept entries most like them, and drop the others.

    Source: EMS (Li et al. 2024), its evict-then-merge step. Kept entries are the centres of classes; of the goers those
    with the lowest scores are dropped, and so are those that are like no centre (the paper's zero class). Likeness is
    the cosine of keys times that of values, a negative one counting as 0: two of them would make a positive product.
    Members weigh as the last ``window`` queries attend to them. Keys are averaged in direction and in length apart, so
    that merging shortens none; they are merged as they are rotated (laconic.kv.folding). Neither the paper's measures
    of who is in the middle class and what is alike, nor its weights, could be confirmed: ``band``, ``alike`` and the
    attention of the last queries stand for them. Its score is the method ``global-local``; any evictor's will do.
    """

    card = Card(
        paper="EMS: Adaptive Evict-then-Merge Strategy for Head-wise KV Cache Compression Based on Global-Local "
        "Importance",
        lossless=False,
        catalogue=(221,),
        arxiv="2412.08521",
    )

    band: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Share of what goes that may be folded, by its scores."""
    alike: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """Likeness from which on an entry belongs to a class."""
    window: Annotated[int, Field(ge=1)] = 32
    """Last tokens whose queries count; no more than were written since the last reduction."""

    @property
    def looks(self) -> int:
        """The window's queries."""
        return self.window

    def merged(self, parting: Parting) -> tuple[Tensor, Tensor]:
        """Means of what stays with the members of its class."""
        stays, goes = parting.stays, parting.goes
        keys, values = parting.keys(stays), parting.values(stays)
        gone, lost = parting.keys(goes), parting.values(goes)
        rank = coarse(parting.scores.gather(0, goes)).sort(dim=0, descending=True, stable=True).indices.argsort(0)
        parts = [slice(at, at + _BLOCK) for at in range(0, len(goes), _BLOCK)]
        found = [nearest(cosines(gone[p], keys).clamp_min(0) * cosines(lost[p], values).clamp_min(0)) for p in parts]
        likeness, places = (torch.cat(some) for some in zip(*found, strict=True))
        member = (rank < int(self.band * len(goes))) & (coarse(likeness) >= coarse(likeness.new_tensor(self.alike)))
        attended = parting.layer.weights[:, :, -self.window :].mean((1, 2)).T
        weights = torch.where(member, attended.gather(0, goes), 0.0)
        folds = places, weights, attended.gather(0, stays)
        mine, theirs = (x.float().norm(dim=-1, keepdim=True) for x in (keys, gone))
        ways = means(F.normalize(keys.float(), dim=-1), F.normalize(gone.float(), dim=-1), *folds)
        made = F.normalize(ways, dim=-1) * means(mine, theirs, *folds)
        touched = _touched(stays, places, weights > 0)
        return torch.where(touched, made.to(keys.dtype), keys), means(values, lost, *folds)


def _touched(stays: Tensor, places: Tensor, member: Tensor) -> Tensor:
    """Whether anything is folded into each of what stays, ``[kept, kv_heads, 1]``."""
    count = torch.zeros(stays.shape, device=stays.device).scatter_add_(0, places, member.float())
    return (count > 0)[..., None]
