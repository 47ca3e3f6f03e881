"""Token ids in, token ids out, whatever the server takes and tells."""

from __future__ import annotations

import math
import warnings
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol, TypeVar

from laconic.errors import BadReply, BadStatus, RequestError
from laconic.models.remote import RemoteModel
from laconic.models.replies import Completion, Said
from laconic.models.text import Text
from laconic.types import Sampling

T = TypeVar("T")

_TAIL = 16
"""Tokens of what came before with which a server's text is turned into ids: some tokenizers mind what stands there."""

_TELLING = 8
"""Characters of a tag without its special tokens that prose will hardly hold by chance, such as ``assistantfinal``."""
_WITHOUT = "special tokens such as {}: where the thought ends cannot be seen in its text."
_SHOW = (
    "Have it send them or the ids of tokens (vLLM, SGLang: extras; llama.cpp: --special), or take all for the answer "
    "(format none)."
)

_HALF = "\ufffd"
"""How servers show a character whose last tokens are still to come."""
_REST = 3
"""Tokens at most that are missing from the longest character (UTF-8, RFC 3629)."""

_PADDED = 1024
"""Models have rows for more tokens than their tokenizers, up to a multiple of this at most."""

_PIECE = 64
"""Tokens at most that are asked for at once where stop strings are of no use."""


@dataclass(frozen=True, slots=True)
class Asking:
    """How a server is asked. Only ``send`` can change what is written, and only where two tokenizers differ."""

    send: Literal["tokens", "text"] = "tokens"
    """Whether prompts are token ids, so that the server reads what laconic counts, or text, which it reads anew."""
    piece: int = 0
    """Tokens of a thought that are asked for at once; 0 for a step of it."""
    answer: int = 0
    """Tokens of an answer that are asked for at once, so that somebody can read it as it comes; 0 for all of it."""
    logprobs: int = 20
    """How many of the likeliest tokens come with each of a probe's; 0 where a server gives none."""
    ahead: bool = True
    """Whether the thought goes on while a probe is out; where the probe ends it, that piece is broken off."""

    def __post_init__(self) -> None:
        if self.send not in ("tokens", "text"):
            raise RequestError(f"send must be 'tokens' or 'text', not {self.send!r}.", "See laconic run --help.")
        if min(self.piece, self.logprobs, self.answer) < 0:
            raise RequestError("piece, answer and logprobs must be >= 0.")


@dataclass(frozen=True, slots=True)
class Written:
    """What a server wrote: ids, an end token included, and their texts.

    Where the server gives probabilities but no ids, ``pieces`` are its own tokens, and there may be more or fewer of
    them than of ours. ``said`` goes with ``pieces``; an end token that the server does not list has none. ``cut`` says
    that it stopped before it was asked to, because its model can go no further.
    """

    tokens: tuple[int, ...]
    pieces: tuple[str, ...]
    said: tuple[Said, ...] | None
    cut: bool = False
    paid: int = 0
    """Tokens that the server wrote for it, those of replies that were given up included."""

    def chances(self, text: Text) -> list[float] | None:
        """How likely each of ``tokens`` was; None where the server does not say.

        Where its tokens are not ours, one of ours is as likely as the least likely of theirs that it shares a character
        with. A token of which nothing is known, an end token as a rule, counts as certain.
        """
        if self.said is None:
            return None
        theirs = [math.exp(one.logprob) for one in self.said]
        if len(self.pieces) == len(self.tokens):
            return [*theirs, *[1.0] * len(self.tokens)][: len(self.tokens)]
        by_character = [chance for piece, chance in zip(self.pieces, theirs, strict=False) for _ in piece]
        found, start = [], 0
        for token in self.tokens:
            end = start + max(len(text.piece(token)), 1)
            found.append(min(by_character[start:end], default=1.0))
            start = end
        return found


class Writes(Protocol):
    """Whoever writes on where a text stands: a server, or an engine in this process."""

    text: Text
    asking: Asking

    async def write(
        self,
        before: Sequence[int],
        *,
        most: int,
        sampling: Sampling,
        stop: Sequence[str] = (),
        logprobs: int | None = None,
        bans: Sequence[int] = (),
        guess: Sequence[int] = (),
    ) -> Written:
        """At most ``most`` tokens after ``before``; if possible none after the first stop string, which is included.

        ``guess`` is what will probably be written, for writers that draft; it changes nothing else.
        """
        ...

    def wait(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine that uses this writer to its end, from code that is not asynchronous."""
        ...


class Writer:
    """Asks a server to write on. Shared by all requests of an engine.

    Ids of what was written are the server's where it tells them (vLLM does), else the local tokenizer's for the same
    text. Text that was cut by length may then end inside a character: that much of it is left off, and written again
    with what comes next.

    A reply that ended by ``stop`` ended at a stop string or with the end token. Many servers do not tell which, or keep
    the stop string's own tokens to themselves; after the first such reply stop strings are given up for good, text that
    was to end at one comes in pieces of 64 tokens, and surplus tokens are dropped by who reads them.
    """

    def __init__(self, model: RemoteModel, text: Text, asking: Asking) -> None:
        self.model = model
        self.text = text
        self.asking = asking
        self.stops = True
        """Whether stop strings are sent."""
        self._end = min(text.eos, default=None)
        self._size = -(-(max(text.tokenizer.get_vocab().values(), default=0) + 1) // _PADDED) * _PADDED
        self._hidden, self._left = hidden(text)
        self._doubted = False

    def wait(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine that uses this writer to its end, from code that is not asynchronous."""
        return self.model.wait(coroutine)

    async def write(
        self,
        before: Sequence[int],
        *,
        most: int,
        sampling: Sampling,
        stop: Sequence[str] = (),
        logprobs: int | None = None,
        bans: Sequence[int] = (),
        guess: Sequence[int] = (),
    ) -> Written:
        """At most ``most`` tokens after ``before``; if possible none after the first stop string, which is included.

        No server takes a ``guess``. Whoever needs an exact end looks for it. Raises RemoteError subclasses.
        """
        prompt = self.text.decode(before) if self.asking.send == "text" else before
        asked = tuple(stop) if self.stops else ()
        most = most if asked or not stop else min(most, _PIECE)

        async def ask(most: int) -> Completion:
            return await self.model.complete(
                prompt, max_tokens=most, sampling=sampling, stop=asked, logprobs=logprobs, bans=bans
            )

        reply = await ask(most)
        spent = 0
        if _halved(reply) and not reply.text.strip(_HALF):
            try:
                spent, reply = self._paid(before, reply), await ask(most + _REST)
            except BadStatus:  # so near to the end of its context, it has no room for the rest
                spent = 0
        tokens = self._tokens(before, reply, asked)
        if tokens is None:
            self.stops = False
            again = await self.write(before, most=most, sampling=sampling, stop=stop, logprobs=logprobs, bans=bans)
            return replace(again, paid=again.paid + self._paid(before, reply) + spent)
        theirs = reply.said is not None and reply.tokens is None
        pieces = _pieces(reply) if theirs else tuple(map(self.text.piece, tokens))
        if theirs and _halved(reply) and reply.text.strip(_HALF):
            pieces = _whole(pieces, len(tokens))
        said = reply.said if reply.said is None or not theirs else reply.said[: len(pieces)]
        cut = reply.finish_reason == "length" and (not tokens or (reply.tokens is not None and len(tokens) < most))
        return Written(tuple(tokens), pieces, said, cut, max(self._paid(before, reply), len(tokens)) + spent)

    def _tokens(self, before: Sequence[int], reply: Completion, stop: Sequence[str]) -> list[int] | None:
        """The ids of a reply; None where stop strings were asked for and it cannot be told what ended it."""
        tokens = None if reply.tokens is None else list(reply.tokens)
        strange = next((token for token in tokens or () if token >= self._size), None)
        if strange is not None:
            raise BadReply(
                f"{self.model.url} wrote token {strange}, which the tokenizer does not have.",
                "Name the model's own tokenizer (--tokenizer).",
            )
        ended = False
        if reply.finish_reason == "stop":
            listed = tokens is not None and bool(tokens) and tokens[-1] in self.text.eos
            ended = listed or not stop or (reply.told and reply.matched is None)
            if not ended and not self._shows(reply, stop):
                return None
        if tokens is None:
            self._look(reply, ended)
            text = reply.text.rstrip(_HALF) if _halved(reply) else ""  # a text of nothing else is what was meant
            tokens = self._continued(before, text or reply.text + (reply.matched or ""))
        if ended and self._end is not None and not (tokens and tokens[-1] in self.text.eos):
            tokens.append(self._end)
        return tokens

    def _look(self, reply: Completion, ended: bool) -> None:
        """Whether text that came without ids shows the tags; servers leave special tokens out unless told otherwise.

        Raises BadReply where the words of a tag are there and its special tokens are not. A text that ends without a
        tag may be one whose tag was left out: that is said once, until one has been seen.
        """
        if not self._hidden or any(tag in reply.text for tag in self._hidden):
            self._doubted |= bool(self._hidden)
            return
        if self._left and self._left in reply.text:
            raise BadReply(f"{self.model.url} leaves out {_WITHOUT.format(self._hidden[0])}", _SHOW)
        if ended and not self._doubted:
            self._doubted = True
            warnings.warn(f"{self.model.url} may leave out {_WITHOUT.format(self._hidden[0])} {_SHOW}", stacklevel=2)

    def _paid(self, before: Sequence[int], reply: Completion) -> int:
        """Tokens that a reply cost: the server's own count, else those that it lists, else those of its text."""
        if reply.written is not None:
            return reply.written
        listed = reply.tokens or reply.said
        return len(listed) if listed is not None else len(self._continued(before, reply.text))

    def _shows(self, reply: Completion, stop: Sequence[str]) -> bool:
        """Whether a stop string is among the tokens of a reply, as far as it lists tokens."""
        if reply.tokens is not None:
            written = self.text.decode(reply.tokens)
        elif reply.said is not None:
            written = "".join(_pieces(reply))
        else:
            return reply.matched in stop
        return any(string in written for string in stop)

    def _continued(self, before: Sequence[int], text: str) -> list[int]:
        """Ids of ``text`` where it comes after ``before``; alone, some tokenizers would put a space before it."""
        tail = self.text.decode(before[-_TAIL:])
        alone, whole = self.text.encode(tail), self.text.encode(tail + text)
        return whole[len(alone) :] if whole[: len(alone)] == alone else self.text.encode(text)


def hidden(text: Text) -> tuple[tuple[str, ...], str]:
    """Special tokens that end a thought, and what is left of the end without them, where that can be told from prose.

    Only what a tokenizer marks as special is left out: ``<think>`` mostly is a token and not marked.
    """
    tokenizer = text.tokenizer
    special = sorted(set(getattr(tokenizer, "all_special_tokens", ())), key=len, reverse=True)
    whole = text.format.ending + next(iter(text.format.headers), "") * (not text.format.bridge.strip())
    found = tuple(token for token in special if token in text.format.closes)
    for token in special:
        whole = whole.replace(token, "")
    left = whole.strip()
    return found, left if found and len(left) >= _TELLING else ""


def _halved(reply: Completion) -> bool:
    """Whether text without ids may end inside a character. Some servers show nothing of one that they have begun."""
    if reply.tokens is not None or reply.finish_reason != "length":
        return False
    return reply.text.endswith(_HALF) or (not reply.text and bool(reply.written))


def _whole(pieces: tuple[str, ...], count: int) -> tuple[str, ...]:
    """Pieces without those of a last character that is not whole; ``count`` are the tokens of ours for the rest."""
    most = next((n for n, piece in enumerate(reversed(pieces)) if piece.strip(_HALF)), len(pieces))
    extra = len(pieces) - count
    return pieces[: len(pieces) - (extra if 0 <= extra <= most else min(most, _REST))]


def _pieces(reply: Completion) -> tuple[str, ...]:
    return tuple(str(one.token) for one in reply.said or ())
