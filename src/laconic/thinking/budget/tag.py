"""The end of a thought as tokens: the closing tag, and an answer that is not empty after it."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from laconic.models.text import Text
from laconic.thinking.base import Ban, Place
from laconic.types import Request

_WINDOW = 48
"""Tokens that a closing tag is spread over at most."""


class Tag:
    """A model's closing tag, token by token.

    A tag of several tokens is known in the tokens that it has on its own; one that is merged with the words before it
    is not seen until it is whole.
    """

    def __init__(self, text: Text) -> None:
        self.tokens = tuple(text.encode(text.format.closes))

    def __len__(self) -> int:
        return len(self.tokens)

    def begun(self, written: Sequence[int]) -> int:
        """How many tokens of the tag stand at the end of ``written`` (all of them is a tag that is over: 0)."""
        for size in range(min(len(self.tokens) - 1, len(written)), 0, -1):
            if tuple(written[-size:]) == self.tokens[:size]:
                return size
        return 0


def tempered(logits: torch.Tensor, token: int, temperature: float) -> torch.Tensor | None:
    """Logits with the log-probability of ``token`` divided by ``temperature``, the others as they are.

    None where nothing changes: at a temperature of 1, and for a token that another rule has ruled out.
    """
    surprise = logits.float().logsumexp(-1) - logits[token].float()
    if temperature == 1 or not surprise.isfinite():
        return None
    changed = logits.clone()
    changed[token] += (surprise * (1 - 1 / temperature)).to(logits.dtype)
    return changed


def answered(text: Text) -> Ban:
    """A rule without which an answer may be empty: no end token before the answer's first word.

    A model whose thought was closed for it, or early, likes to end its text right there. Who closed the thought cannot
    be seen from a place, so the rule holds after every thought, one that the prompt leaves empty included. Where the
    logits allow nothing but end tokens they stay.
    """
    ends = sorted(text.eos)

    def banned(place: Place) -> Sequence[int]:
        return ends if place.phase == "answer" and _unanswered(text, place.tokens) else ()

    return Ban(banned)


def blank(text: Text, tokens: Sequence[int]) -> bool:
    """Whether ``tokens`` behind a closing tag say nothing: white space, and the header of an answer."""
    if len(tokens) > _WINDOW:
        return False
    written = text.decode(tokens).strip()
    return not written or any(written == header.strip() for header in text.format.headers)


def owed(text: Text, since: int) -> Ban:
    """A rule for one request, whose answer is to begin at token ``since``: no end token before it says something.

    Once it does, the rule has nothing more to say: what is written later, another closing tag say, does not wake it.
    """
    ends = sorted(text.eos)

    def banned(place: Place) -> Sequence[int]:
        behind = place.tokens[since:]
        return ends if place.phase in ("before", "answer") and blank(text, behind) else ()

    return Ban(banned)


def owes_a_reply(request: Request, text: Text) -> bool:
    """Whether a reply must not end before it says anything: a question that was asked of a model that thinks.

    A text that is only written on may well be over.
    """
    return request.question is not None and text.format.thinks and request.limits.answers


def _unanswered(text: Text, tokens: Sequence[int]) -> bool:
    """Whether nothing but white space, or the header of the answer, follows the closing tag."""
    last = len(tokens) - 1
    while last >= 0 and not text.piece(tokens[last]).strip():
        last -= 1
    if last < 0 or tokens[last] == text.close_token:
        return last >= 0
    form = text.format
    heads = [form.ending.rstrip()] if form.bridge.strip() else []
    if text.close_token is None:
        heads.append(form.closes)
    final = text.piece(tokens[last]).rstrip()[-1]
    heads = [head for head in heads if head[-1] == final]  # mostly none, and then nothing is decoded
    written = text.decode(tokens[max(last + 1 - _WINDOW, 0) : last + 1]).rstrip() if heads else ""
    return any(written.endswith(head) for head in heads)
