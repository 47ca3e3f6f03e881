"""Along a text that is already written: what a model says at each of its places, and how far a draft holds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from laconic.models.base import LanguageModel, Scores, Slot, chain
from laconic.speculation.base import TokenTree

CHUNK = 256
"""Written tokens read in one pass; bounds the memory of its logits."""


def read(
    model: LanguageModel, slot: Slot, prompt: Sequence[int], tokens: Sequence[int], chunk: int = CHUNK
) -> Iterator[Scores]:
    """Passes of ``model`` over ``prompt`` and ``tokens`` in an empty ``slot``; their rows, end to end, are one a token.

    Row t is what the model says before ``tokens[t]``. The last token is not read.
    """
    if len(prompt) > 1:
        model.prefill(slot, prompt[:-1])
    text = [prompt[-1], *tokens][: len(tokens)]
    for start in range(0, len(text), chunk):
        part = text[start : start + chunk]
        yield model.score([chain(part)], [slot])
        slot.commit(range(len(part)))


def follow(tree: TokenTree, written: Sequence[int], at: int) -> list[int]:
    """Ids of the drafted nodes that agree with ``written[at:]``: the path that the verifier ``match`` accepts.

    One look at each node is enough, since a node never comes before its parent.
    """
    path: list[int] = []
    tip, end = -1, len(written)
    for node, (token, parent) in enumerate(zip(tree.tokens, tree.parents, strict=True)):
        if parent == tip and at < end and token == written[at]:
            path.append(node)
            tip = node
            at += 1
    return path
