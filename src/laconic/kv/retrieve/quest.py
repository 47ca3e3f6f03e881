"""Quest: pages of the cache, of which a query reads those that may hold large products."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field
from torch import Tensor

from laconic.kv.base import Telling
from laconic.kv.retrieve.reader import Retrieval
from laconic.policy import Card, knobs


@knobs
class Quest(Retrieval):
    """Read the pages of the past whose keys can have the largest product with the query, and no others.

    Source: Quest (Tang et al. 2024): of every page of 16 entries the smallest and the largest value of each dimension
    of its keys are kept, and the product that a query can at most have with a key between them says what the page
    promises. The first two layers read everything, as there. Of the query heads that share a key head the largest
    promise counts, so that all of them read the same pages: the paper's models have no shared key heads.
    """

    card = Card(paper="Quest: Query-Aware Sparsity for Efficient Long-Context LLM Inference", lossless=False,
                arxiv="2406.10774")  # fmt: skip

    page: Annotated[int, Field(ge=1)] = 16
    """Entries of a page."""

    @property
    def unit(self) -> int:
        """See the base."""
        return self.page

    def ends(self, told: Telling, begin: int, last: int) -> list[int]:
        """Whole pages."""
        return list(range(begin + self.page, last + 1, self.page))

    def described(self, keys: Tensor, sizes: Sequence[int]) -> tuple[Tensor, Tensor]:
        """The smallest and the largest value of each dimension in each page."""
        pages = keys.view(len(sizes), self.page, *keys.shape[1:])
        return pages.amin(1), pages.amax(1)
