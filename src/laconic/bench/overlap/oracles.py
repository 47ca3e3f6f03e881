"""Who answers the jobs: chances, for the formulas; or a draft model along a target's real text."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Any

import torch

from laconic.bench.overlap.lanes import Job
from laconic.bench.overlap.state import Guesses, Tail
from laconic.models.base import LanguageModel, Slot, chain
from laconic.models.prefix import common_prefix


class Chances:
    """Texts in which a drafter's favourite is right with ``chance``, and else its next guess with ``second``.

    The token at place t is ``3 t``; ``3 t + 1`` and ``3 t + 2`` are wrong ones. ``named`` is the chance that a signal
    names the token to come.
    """

    def __init__(self, chance: float, second: float = 0.0, named: float = 0.0, seed: int = 0) -> None:
        self._chance, self._second, self._named, self._seed = chance, second, named, seed

    @property
    def work(self) -> dict[str, Callable[[Job, int], Any]]:
        """What workers do."""
        return {"draft": self.draft, "check": self.check, "signal": self.signal}

    def draft(self, job: Job, _: int) -> dict[Tail, Guesses]:
        """The drafter's guesses behind each hypothesis."""
        return {tail: self._guess(len(job.text), tail) for tail in job.hypotheses}

    def check(self, job: Job, _: int) -> dict[Tail, int]:
        """The target's token behind each hypothesis from the job's beginning to its end."""
        (end,) = job.hypotheses
        return {end[:at]: 3 * (len(job.text) + at) for at in range(len(job.begin), len(end) + 1)}

    def signal(self, job: Job, _: int) -> dict[Tail, Sequence[int]]:
        """Tokens that may come behind the end, with its chance the right one among them."""
        (end,) = job.hypotheses
        place = len(job.text) + len(end)
        right = self._draw(place, 2) < self._named
        return {end: [3 * place + (0 if right else 1)]}

    def _guess(self, written: int, tail: Tail) -> Guesses:
        place = written + len(tail)
        right, wrong, other = 3 * place, 3 * place + 1, 3 * place + 2
        if any(token != 3 * at for at, token in enumerate(tail, start=written)):
            return [(wrong, 0.5), (other, 0.2)]
        sure = self._draw(place, 0)
        if sure < self._chance:
            return [(right, 0.9), (other, 0.05)]
        second = self._draw(place, 1) < self._second
        return [(wrong, 0.5), (right if second else other, 0.3)]

    def _draw(self, place: int, salt: int) -> float:
        return random.Random(hash((self._seed, place, salt))).random()


class Along:
    """A target's text and a draft model that really guesses at it, whatever hypotheses it is asked about.

    ``written`` is what the target writes behind ``prompt`` by itself. ``width`` guesses are kept at each place. Guesses
    do not change, so each is made once, whatever policies are compared.
    """

    def __init__(self, draft: LanguageModel, prompt: Sequence[int], written: Sequence[int], width: int = 4) -> None:
        self._draft, self._prompt, self._written, self._width = draft, list(prompt), list(written), width
        self._known: dict[tuple[int, ...], Guesses] = {}
        self._reader = Reader(draft)
        self.named: dict[int, Sequence[int]] = {}
        """By place in the text, the tokens that the target has in mind there in the middle of its pass."""

    @property
    def work(self) -> dict[str, Callable[[Job, int], Any]]:
        """What workers do."""
        return {"draft": self.draft, "check": self.check, "signal": self.signal}

    def draft(self, job: Job, _: int) -> dict[Tail, Guesses]:
        """The draft model's likeliest tokens behind each hypothesis."""
        return {tail: self.guesses(job.text + tail) for tail in job.hypotheses}

    def guesses(self, text: tuple[int, ...]) -> Guesses:
        """Its likeliest tokens behind ``text``, which stands behind the prompt."""
        if text not in self._known:
            self._known[text] = self._reader.likeliest([*self._prompt, *text], self._width)
        return self._known[text]

    def check(self, job: Job, _: int) -> dict[Tail, int]:
        """The target's own text; off it, a token of no meaning."""
        (end,), known = job.hypotheses, len(self._written)
        places = {end[:at]: len(job.text) + at for at in range(len(job.begin), len(end) + 1)}
        return {tail: self._written[place] if place < known else 0 for tail, place in places.items()}

    def signal(self, job: Job, _: int) -> dict[Tail, Sequence[int]]:
        """What the target has in mind behind the end."""
        (end,) = job.hypotheses
        return {end: self.named.get(len(job.text) + len(end), ())}

    def close(self) -> None:
        """Give the draft model's slot back."""
        self._reader.close()


class Reader:
    """A model and a slot of it, read to wherever a row of logits is wanted; what two texts share is read once."""

    def __init__(self, model: LanguageModel) -> None:
        self._model = model
        self._slot: Slot = model.open()
        self._read: list[int] = []

    @torch.inference_mode()
    def rows(self, text: Sequence[int], count: int) -> torch.Tensor:
        """Logits ``[count, vocab]`` behind the last ``count`` tokens of ``text``."""
        same = min(common_prefix(self._read, list(text)), len(text) - count)
        self._slot.rollback(len(self._read) - same)
        del self._read[same:]
        new = list(text[same:])
        if len(new) > count:
            self._model.prefill(self._slot, new[:-count])
        found = self._model.score([chain(new[-count:])], [self._slot]).of(0)
        self._slot.commit(range(count))
        self._read = list(text)
        return found

    def last(self, text: Sequence[int]) -> torch.Tensor:
        """Logits ``[vocab]`` behind a text."""
        return self.rows(text, 1)[-1]

    def likeliest(self, text: Sequence[int], count: int) -> Guesses:
        """So many tokens that may follow a text."""
        top = self.last(text).float().softmax(-1).topk(count)
        return list(zip(top.indices.tolist(), top.values.tolist(), strict=True))

    def close(self) -> None:
        """Give the slot back."""
        self._slot.close()


class Real:
    """Models that make the passes, one copy for each worker: for threads."""

    def __init__(
        self, targets: Sequence[LanguageModel], drafts: Sequence[LanguageModel], prompt: Sequence[int]
    ) -> None:
        self._targets, self._drafts = [Reader(model) for model in targets], [Reader(model) for model in drafts]
        self._prompt = list(prompt)

    @property
    def work(self) -> dict[str, Callable[[Job, int], Any]]:
        """What workers do."""
        return {"draft": self.draft, "check": self.check}

    def draft(self, job: Job, worker: int) -> dict[Tail, Guesses]:
        """The draft model's three likeliest tokens behind each hypothesis."""
        found: dict[Tail, Guesses] = {}
        for tail in job.hypotheses:
            text = [*self._prompt, *job.text, *tail]
            found[tail] = self._drafts[worker].likeliest(text, 3)
        return found

    def check(self, job: Job, worker: int) -> dict[Tail, int]:
        """The target's likeliest token behind each hypothesis from the beginning to the end."""
        (end,) = job.hypotheses
        count = len(end) - len(job.begin) + 1
        best = self._targets[worker].rows([*self._prompt, *job.text, *end], count).argmax(-1).tolist()
        return {end[: len(job.begin) + i]: token for i, token in enumerate(best)}

    def close(self) -> None:
        """Give the slots back."""
        for reader in (*self._targets, *self._drafts):
            reader.close()


def plain_text(target: LanguageModel, prompt: Sequence[int], length: int) -> tuple[int, ...]:
    """What a target writes greedily behind a prompt."""
    with closing(Reader(target)) as reader:
        text: list[int] = []
        while len(text) < length:
            text.append(int(reader.last([*prompt, *text]).argmax()))
    return tuple(text)
