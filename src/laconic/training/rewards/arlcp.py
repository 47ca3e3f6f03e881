"""ARLCP: words of reflection and length, weighed against each other by how much is reflected."""

from __future__ import annotations

import re

from laconic.policy import Card, knobs
from laconic.training.base import Reward
from laconic.training.group import Group
from laconic.training.rewards.shared import present, rights, sigmoid, standardised

CUES = ("wait", "alternatively", "hold on", "another thought", "verify", "think again", "but", "however", "alternative",
        "check", "double-check", "oh", "hmm")  # fmt: skip
"""Words that the authors count as reflection."""
_CUE = re.compile(rf"\b(?:{'|'.join(map(re.escape, CUES))})\b", re.IGNORECASE)
_TOTAL = 0.2
"""What both penalties weigh together."""


@knobs
class ARLCP(Reward):
    """Right rollouts get ``1 - w1 * sigmoid(z(reflections)) - w2 * sigmoid(z(L))``, wrong ones 0.

    Source: Stop Unnecessary Reflection (ARLCP); numbers and words are those of the authors' code. ``z`` standardises
    over the right rollouts. ``w1`` is 0.05 for up to 40 words of reflection in a rollout, 0.10 for up to 80, else 0.15,
    and ``w2 = 0.2 - w1``. Reads ``text``.
    Traps: the words are English, and "but" and "check" among them are often no reflection. The steps of ``w1`` are not
    smooth: one word more can raise a reward, since the weight moves from length to reflection.
    """

    card = Card(paper="Stop Unnecessary Reflection (ARLCP)", lossless=False, catalogue=(208,))
    reads = ("text",)

    def rewards(self, group: Group) -> list[float]:
        """See the class."""
        right = rights(group)
        counts = [reflections(present(rollout.text, "text")) for rollout in group.rollouts]
        known = [(n, r.tokens) for n, r, ok in zip(counts, group.rollouts, right, strict=True) if ok]
        return [
            1 - _penalty(count, rollout.tokens, known) if ok else 0.0
            for count, rollout, ok in zip(counts, group.rollouts, right, strict=True)
        ]


def reflections(text: str) -> int:
    """Words of reflection in a text.

    >>> reflections("Wait, 3 + 4 is 7. Let me double-check: butter is no word of it.")
    2
    """
    return len(_CUE.findall(text))


def _penalty(count: int, length: int, known: list[tuple[int, int]]) -> float:
    """What a right rollout loses, given reflections and lengths of all right ones."""
    weight = 0.05 if count <= 40 else 0.10 if count <= 80 else 0.15
    reflection = sigmoid(standardised(count, [n for n, _ in known]))
    return weight * reflection + (_TOTAL - weight) * sigmoid(standardised(length, [n for _, n in known]))
