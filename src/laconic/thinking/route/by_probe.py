"""Let a small trained probe on the question's hidden state say how hard it is."""

from __future__ import annotations

from functools import cached_property
from typing import Annotated, Any

from pydantic import Field

from laconic.policy import Card, Needs, knobs
from laconic.thinking.base import Reader
from laconic.thinking.route.base import BRACKETS, Choice, Mode, Router, quick
from laconic.thinking.route.difficulty import CLASSES, TRAIN, Trained, load
from laconic.types import Question


@knobs
class ByProbe(Router):
    """A probe on the target's last hidden state at the end of the prompt tells easy, normal and hard questions apart.

    Source: DiffAdapt, which maps the three classes to strategies of prompt, temperature and most tokens; the strategies
    here are modes, made of controllers. ``laconic fit difficulty`` trains the probe on the model's own successes and
    thoughts (see ``bench.fit.difficulty`` for what its labels mean and how they differ from the paper's). It costs one
    pass over the prompt.
    """

    card = Card(
        paper="DiffAdapt: Difficulty-Adaptive Reasoning for Token-Efficient LLM Inference",
        lossless=False,
        catalogue=(224,),
    )
    needs = Needs(thinking=True, target_hidden=True)
    hints = {"probe": TRAIN, **dict.fromkeys(CLASSES, BRACKETS)}  # noqa: RUF012

    files = frozenset({"probe"})

    probe: str
    """Folder that ``laconic fit difficulty`` wrote."""
    easy: Mode = quick()
    """Controllers of the mode for easy questions."""
    normal: Mode = ()
    """Controllers of the mode for the others."""
    hard: Mode = ()
    """Controllers of the mode for hard ones."""
    sure: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Least probability with which a question is called easy or hard; it is normal otherwise."""

    @cached_property
    def _trained(self) -> Trained:
        return load(self.probe)

    def suits(self, target: Any, draft_model: Any) -> None:
        """Raise HeadError unless the probe was trained on this target."""
        self._trained.suits(target)

    def choose(self, question: Question, reader: Reader) -> Choice:
        """The likeliest class."""
        found = self._trained(reader.hidden(question))
        best = max(range(len(CLASSES)), key=found.__getitem__)
        said = " ".join(f"{name} {chance:.2f}" for name, chance in zip(CLASSES, found, strict=True))
        return Choice(CLASSES[best] if found[best] >= self.sure else "normal", said)
