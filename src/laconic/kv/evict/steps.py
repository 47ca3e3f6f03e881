"""laconic's own for reasoning: the question, what each step came to, and the step that is being written."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from laconic.kv.base import Layer, Telling
from laconic.kv.observed import Observing, observed
from laconic.policy import Card, knobs

_AT_MOST = 0.5
"""Share of what is kept that a question, or an unfinished step, may take for certain."""


@knobs
class Steps(Observing):
    """Keep the question, the last words of every step and the step under way; the rest by what the last queries want.

    A thought refers back to what it was asked and to what its steps came to, and hardly to how they got there. Steps
    are parted by blank lines, and what a step came to is said in its last ``result`` tokens. Question and unfinished
    step stay as long as each takes no more than half of what is kept; results come before anything else, those of
    later steps first; what is left goes to the entries that SnapKV would keep.
    """

    card = Card(paper="laconic", lossless=False)

    result: Annotated[int, Field(ge=0)] = 8
    """Last tokens of a step that are taken for its result."""
    window: Annotated[int, Field(ge=1)] = 16
    """Last tokens whose queries count."""
    kernel: Annotated[int, Field(ge=1)] = 5
    """Entries over which their weights are averaged; odd."""

    def score(self, layer: Layer) -> Tensor:
        """Weights of the last queries, with 1 to 2 more for results and 3 more for question and unfinished step."""
        made = observed(layer, self.kernel).clone()
        if "ends" not in layer.shared:
            layer.shared["ends"] = step_ends(layer.told, layer.length)
        ends: list[int] = layer.shared["ends"]
        rank = torch.zeros(layer.length)
        for end in ends:
            rank[max(end - self.result, 0) : end] = 1 + end / layer.length
        most = int(_AT_MOST * len(layer) / 2)
        open_ = ends[-1] if ends else layer.told.prompt
        if layer.told.prompt <= most:
            rank[: layer.told.prompt] = 3
        if layer.length - open_ <= most:
            rank[open_:] = 3
        return made + rank.to(made.device)[layer.positions.long()]


def step_ends(told: Telling, length: int) -> list[int]:
    """Where steps of the thought end in the first ``length`` tokens: positions right behind their blank lines."""
    text = told.text
    if text is None:
        return []
    ends, before = [], ""
    for position in range(told.prompt, length):
        said = text.decode([told.tokens[position]])
        if "\n\n" in before[-1:] + said:
            ends.append(position + 1)
        before = said
    return ends
