"""The shortest prefix of a thought that already gives the right answer.

A thought that was written to its end is closed by force at each of its steps, and the model's greedy answer there is
judged. All these endings are branches of one pass over the thought, so that a full scan costs a few passes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from laconic.models.base import LanguageModel, ScoreTree, Slot
from laconic.models.text import Text
from laconic.probe import Ride, opening
from laconic.thinking.base import Belief, Probe
from laconic.transcript import Mark, Transcript
from laconic.types import Request

ASK = Probe("The answer is \\boxed", "}", max_tokens=32)
"""How an ending asks for the answer."""
NODES = 512
"""Most nodes in one pass of a scan."""


@dataclass(frozen=True, slots=True)
class Ending:
    """A place where a thought may end: after ``length`` tokens of text, ``thinking`` of them thought."""

    length: int
    thinking: int


@dataclass(frozen=True, slots=True)
class Scan:
    """Where a thought could have ended: whether the forced answer at each of ``endings`` is right.

    The last ending is the thought's own. ``bisected`` is the ending that a bisection finds, as if no right answer were
    ever lost again by thinking on; None where the last one is wrong.
    """

    endings: tuple[Ending, ...]
    right: tuple[bool, ...]

    @property
    def first(self) -> int | None:
        """The first ending that is right; None if none is."""
        return self.right.index(True) if True in self.right else None

    @property
    def bisected(self) -> int | None:
        """The ending that a bisection finds, asking about log2 of them."""
        return bisect(len(self.right), self.right.__getitem__)

    @property
    def thinking(self) -> int:
        """Thinking tokens up to the first right ending; of the whole thought if there is none."""
        return self.endings[-1 if self.first is None else self.first].thinking


def bisect(count: int, right: Callable[[int], bool]) -> int | None:
    """The smallest right index of ``count``, if right never turns to wrong; None where the last one is wrong."""
    if not count or not right(count - 1):
        return None
    low, high = 0, count - 1
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if right(middle) else (middle + 1, high)
    return high


@dataclass(frozen=True, slots=True)
class Outline:
    """A finished thought. ``ends`` of steps, some perhaps at the very end of the thought, then its ``own`` end.

    ``steps`` is each step's text where they are kept, ``lengths[n]`` counts prompt and text after n thinking tokens.
    """

    ends: list[Ending]
    own: Ending
    steps: list[str]
    lengths: list[int]


def outline(text: Text, request: Request, tokens: Sequence[int], *, keep_steps: bool) -> Outline | None:
    """Where the steps of a thought end; ``tokens`` are those after the prompt. None where it is missing or cut off.

    With ``keep_steps`` blank steps do not count, as where controllers look on.
    """
    transcript = Transcript(text, request, list(request.prompt), keep_steps=keep_steps)
    ends: list[Ending] = []
    lengths = [len(request.prompt)]
    for token in tokens:
        mark = transcript.push(token)
        if transcript.thinking == len(lengths):
            lengths.append(len(transcript.tokens))
        if mark is Mark.STEP:
            ends.append(Ending(len(transcript.tokens), transcript.thinking))
        elif mark is Mark.CLOSED:
            closing = len(text.encode(text.format.closes)) if text.format.thinks else 0
            own = Ending(len(transcript.tokens) - closing, transcript.thinking)
            ends = [end for end in ends if end.length <= own.length]
            return Outline(ends, own, transcript.steps[: len(ends)], lengths)
    return None


def endings(text: Text, request: Request, tokens: Sequence[int]) -> list[Ending]:
    """The ends of the steps of a thought, and its own end. ``tokens`` are those after the prompt.

    Empty where there is no thought, or where it was cut off.
    """
    found = outline(text, request, tokens, keep_steps=False)
    return [] if found is None else [*(end for end in found.ends if end.length < found.own.length), found.own]


def scan(
    model: LanguageModel, text: Text, request: Request, tokens: Sequence[int], judge: Callable[[str], bool]
) -> Scan | None:
    """Force the answer at every ending of a finished thought. None where there is no finished thought."""
    places = endings(text, request, tokens)
    if not places:
        return None
    found = beliefs(model, text, request, tokens, places)
    return Scan(tuple(places), tuple(bool(b.complete and b.answer and judge(b.answer)) for b in found))


def beliefs(
    model: LanguageModel,
    text: Text,
    request: Request,
    tokens: Sequence[int],
    places: Sequence[Ending],
    ask: Probe = ASK,
) -> list[Belief]:
    """What the model would answer, were the thought ended at each of ``places``; ``tokens`` are those after the prompt.

    The guess of ``ask`` is not used: the answer at the place before is the guess that saves passes.
    """
    slot = model.open()
    try:
        written = [*request.prompt, *tokens][: places[-1].length]
        model.prefill(slot, written)
        return list(_beliefs(model, text, slot, written, places, ask))
    finally:
        slot.close()


def _beliefs(
    model: LanguageModel, text: Text, slot: Slot, written: Sequence[int], places: Sequence[Ending], ask: Probe
) -> Iterator[Belief]:
    guess = ""
    for group in _groups(places, text, ask):
        probe = replace(ask, guess=guess, hopeless=None)
        rides = [Ride(probe, text, written[place.length - 1]) for place in group]
        while open_ := [i for i, ride in enumerate(rides) if ride.belief() is None]:
            tree, sizes = _tree([(group[i].length - rides[i].back, rides[i].branch) for i in open_])
            scores = model.score([tree], [slot])
            logits, hidden, start = scores.of(0), scores.hidden_of(0), 0
            for i, size in zip(open_, sizes, strict=True):
                part = slice(start, start + size)
                rides[i].read(logits[part], None if hidden is None else hidden[part])
                start += size
        for ride in rides:
            belief = ride.belief()
            assert belief is not None
            guess = belief.answer or guess
            yield belief


def _groups(places: Sequence[Ending], text: Text, ask: Probe) -> Iterator[Sequence[Ending]]:
    """As many places at a time as fit a pass."""
    each = len(opening(ask, text)) + ask.max_tokens
    size = max(1, NODES // each)
    for start in range(0, len(places), size):
        yield places[start : start + size]


def _tree(branches: Sequence[tuple[int, Sequence[int]]]) -> tuple[ScoreTree, list[int]]:
    """Branches off given lengths of the text as one tree, and their sizes."""
    tokens: list[int] = []
    parents: list[int] = []
    bases: list[int] = []
    for length, branch in branches:
        parents += [-1, *range(len(tokens), len(tokens) + len(branch) - 1)]
        bases += [length] * len(branch)
        tokens += branch
    return ScoreTree(tokens, parents, bases), [len(branch) for _, branch in branches]
