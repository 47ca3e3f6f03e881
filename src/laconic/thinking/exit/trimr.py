"""A heuristic after TrimR: stop thinking once thoughts, parted by reflection, state the same result, or never will."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from typing import Annotated, ClassVar

from pydantic import Field

from laconic.errors import InvalidKnob
from laconic.models.text import Text
from laconic.policy import Card, Needs, knobs
from laconic.thinking.base import Action, Conclude, Continue, Controller, View
from laconic.thinking.exit.repeats import Tally
from laconic.thinking.statements import result, sentences
from laconic.types import Request

_CUES = (
    "wait|hmm|hold on|but|alternatively|actually|another|one more|"
    "let me (?:re|double|check|verify|confirm|also|look at it|make sure|try)"
)


@dataclass(slots=True)
class _Thought:
    """What a stretch between two reflections states: the last conclusion, or, where it has none, the last result."""

    stated: Fraction | str | None = None
    concluded: bool = False


@dataclass(slots=True)
class _State:
    thoughts: list[_Thought] = field(default_factory=lambda: [_Thought()])
    read: int = 0
    """Steps that have been read."""
    tally: Tally = field(default_factory=Tally)


@knobs
class TrimR(Controller):
    """A heuristic after TrimR: stop where the parts between reflections agree, where they never will, or on repetition.

    Sentences that begin with a cue ("Wait", "Hmm", "Let me check" ...) begin a new part. **Overthinking**: the last
    ``agree`` parts that state a result state the same. **Underthinking**: there are ``most`` parts, and they did not
    agree. **Repetition**: one step has come ``repeats`` times. Then a guiding sentence is written and the thought
    closed.

    In the paper a small instruct model judges, beside the running request, whether finished thoughts answer the
    question. Here patterns take its place (``laconic.thinking.statements``): numbers, boxed answers, and what follows
    "the answer is". That costs nothing and is known at once, so the part under way counts too. But patterns do not know
    the question: a step's result that is stated again when it is checked counts as agreement and ends the thought,
    though the question may not be answered yet. Prose and proofs they cannot read, and ``agree`` thoughts never come
    of them. Cues, numbers of parts and the sentence are laconic's own choice.
    """

    card = Card(
        paper="TrimR: Verifier-based Training-Free Thinking Compression for Efficient Test-Time Scaling",
        arxiv="2505.17155",
        catalogue=(67,),
        lossless=False,
    )
    needs = Needs(thinking=True)
    patterns: ClassVar[frozenset[str]] = frozenset({"cues"})

    agree: Annotated[int, Field(ge=2)] = 2
    """Parts in a row that must state the same result; those that state none are passed over."""
    most: Annotated[int, Field(ge=0)] = 24
    """Parts without agreement after which the thought is given up; 0 for never."""
    repeats: Annotated[int, Field(ge=0)] = 3
    """Times that one step may come before the thought is ended; 0 for any number."""
    cues: Annotated[str, Field(min_length=1)] = _CUES
    """What a sentence that begins a new part begins with, as a regular expression; upper and lower case are one."""
    text: str = "That is enough, so I will answer with what I have.\n"
    """The guiding sentence, written before the closing tag."""

    def __post_init__(self) -> None:
        try:
            re.compile(self.cues)
        except re.error as error:
            raise InvalidKnob(f"'trimr', knob 'cues': {error}.", "Give a regular expression.") from None

    @cached_property
    def _cue(self) -> re.Pattern[str]:
        return re.compile(rf"\W*(?:{self.cues})", re.IGNORECASE)

    def start(self, request: Request, text: Text) -> _State:
        """One part, which states nothing yet."""
        return _State()

    def decide(self, state: _State, view: View) -> Action:
        """Read the steps that are new, then compare the parts."""
        new, state.read = view.steps[state.read :], len(view.steps)
        for step in new:
            for sentence in sentences(step):
                self._read(state, sentence)
        times = state.tally.add(new)
        reason = self._agreed(state) if new else None
        if reason is None and self.most and len(state.thoughts) >= self.most:
            reason = f"{len(state.thoughts)} thoughts have not agreed on a result"
        if reason is None and self.repeats and times >= self.repeats:
            reason = f"a step has come {times} times"
        if reason is None:
            return Continue()
        return Conclude(reason, self.text if view.boundary else f"\n\n{self.text}")

    def _read(self, state: _State, sentence: str) -> None:
        if self._cue.match(sentence):
            state.thoughts.append(_Thought())
        found, thought = result(sentence), state.thoughts[-1]
        if found is not None and (found[1] or not thought.concluded):
            thought.stated, thought.concluded = found

    def _agreed(self, state: _State) -> str | None:
        last = [thought.stated for thought in state.thoughts if thought.stated is not None][-self.agree :]
        if len(last) < self.agree or len(set(last)) > 1:
            return None
        return f"{self.agree} thoughts in a row state {last[-1]}"
