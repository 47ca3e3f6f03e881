"""Drafting with a head from a folder."""

from __future__ import annotations

from laconic.policy import Card, knobs
from laconic.speculation.drafters.head.folder import FolderHead


@knobs
class Head(FolderHead):
    """Draft with a head that was trained on the target: ``laconic fit head KIND OUT``, then ``head:OUT``.

    ``OUT`` says what kind it is: EAGLE-3, Medusa, Hydra and so on share this drafter. What it can say may be part of
    the vocabulary (FR-Spec, VocabTrim). The folder may also be an EAGLE-3 checkpoint in the ``speculators`` format.
    """

    card = Card(
        paper="EAGLE-3: Scaling up Inference Acceleration of Large Language Models via Training-Time Test",
        lossless=True,
        arxiv="2503.01840",
    )
    path: str
    """Folder of the head."""
