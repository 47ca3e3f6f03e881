"""Every error that laconic raises on purpose.

    LaconicError
    ├── MethodError           a method spec cannot be used
    │   ├── UnknownMethod     no such method in that family
    │   ├── UnknownKnob       the method has no such knob
    │   ├── InvalidKnob       a knob's value is refused
    │   ├── HeadError         a trained head is missing, damaged or of other models
    │   ├── HandbookError     a handbook of behaviours is missing or not in its form
    │   ├── DirectionError    a steering direction is missing, damaged or of another model
    │   └── UnmetNeed         the method needs what this run cannot give it
    ├── ModelError            a model cannot be used
    │   ├── ModelNotFound     no checkpoint under that name or path
    │   ├── UnsupportedModel  its architecture cannot be decoded by this engine
    │   ├── TokenizerMismatch the tokens of draft and target, or of models to merge, cannot be joined
    │   ├── MergeError        models to merge differ in architecture or tensors, or merge to no numbers
    │   └── BrokenLogits      a pass returned NaN or no finite logit at all
    ├── RequestError          a request is refused before any work
    ├── RemoteError           a server did not do what it was asked for
    │   ├── Unreachable       no connection to it, or no answer in time
    │   ├── BadStatus         it answered with an HTTP error
    │   ├── BadReply          its answer is not what the API says
    │   └── NoLogprobs        its answer has no probabilities, and they are needed
    ├── TrainingError         a training step cannot be made
    │   ├── GroupError        rollouts are missing, do not belong together, or lack what is read
    │   ├── RewardError       a reward is no finite number
    │   ├── RecipeError       a recipe cannot be read, or not be followed
    │   ├── Collapsed         a run was stopped since the model had become worse
    │   └── TraceError        recorded traces hold nothing that data could be made of
    ├── JudgeError            a judge's score is no number from 0 to 1
    ├── TaskError             a task or its data cannot be used
    └── MissingExtra          an optional dependency is not installed

Each carries a ``hint``: one sentence that says what the reader can do about it.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from laconic.types import Result


class LaconicError(Exception):
    """Base of all errors raised on purpose. ``hint`` says what to do about it."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".rstrip()


class MethodError(LaconicError):
    """A method spec cannot be used."""


class UnknownMethod(MethodError):
    """No method of that name in the family."""


class UnknownKnob(MethodError):
    """The method has no knob of that name."""


class InvalidKnob(MethodError):
    """A knob was given a value that it refuses."""


class HeadError(MethodError):
    """A trained head cannot be used: it is not there, is damaged, or was trained for another method or model."""


class StoreError(MethodError):
    """A datastore cannot be used: it is not there, is damaged, or holds other tokens than the model's."""


class DirectionError(MethodError):
    """A steering direction cannot be used: it is not there, is damaged, or was fitted on another model."""


class HandbookError(MethodError):
    """A handbook of behaviours cannot be used: it is not there, or not in the form of one."""


class UnmetNeed(MethodError):
    """A method declares a need (a draft model, a thinking phase ...) that this run cannot meet."""


class ModelError(LaconicError):
    """A model cannot be used."""


class ModelNotFound(ModelError):
    """No checkpoint under that name or path."""


class UnsupportedModel(ModelError):
    """The architecture cannot be decoded by this engine; the message names what stands in the way."""


class TokenizerMismatch(ModelError):
    """Draft and target model, or models to merge, do not share one vocabulary."""


class MergeError(ModelError):
    """Models to merge differ in architecture, tensors or shapes, or what they merge to is not finite."""


class BrokenLogits(ModelError):
    """A pass returned NaN, or a row without a single finite logit."""


class RequestError(LaconicError):
    """A request is refused before any work is done for it."""


class RemoteError(LaconicError):
    """A server did not do what it was asked for.

    ``results`` are those of a run's requests that were done by then, by their place among the requests.
    """

    results: Mapping[int, Result] = {}  # replaced, never written to


class Unreachable(RemoteError):
    """There is no connection to the server, or it did not answer in time."""


class BadStatus(RemoteError):
    """The server answered with an HTTP error; ``status`` is its code."""

    def __init__(self, message: str, hint: str = "", *, status: int) -> None:
        super().__init__(message, hint)
        self.status = status


class BadReply(RemoteError):
    """What the server answered is not what the API says."""


class NoLogprobs(RemoteError):
    """The server gives no probabilities, and a method needs them."""


class JudgeError(LaconicError):
    """A judge gave a score that is no number from 0 to 1."""


class TrainingError(LaconicError):
    """A training step cannot be made."""


class GroupError(TrainingError):
    """A group of rollouts is empty or incomplete, holds impossible numbers, or lacks what a reward reads."""


class RewardError(TrainingError):
    """A reward is missing, or no finite number."""


class RecipeError(TrainingError):
    """A recipe cannot be read, or not be followed."""


class Collapsed(TrainingError):
    """A training run was stopped since the model had become worse."""


class TraceError(TrainingError):
    """Recorded traces lack what a transform reads, contradict one another, or nothing came of them."""


class TaskError(LaconicError):
    """A task name or a task file cannot be used."""


class MissingExtra(LaconicError):
    """An optional dependency is not installed."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"{package} is not installed.", f"Install it with: pip install 'laconic[{extra}]'.")


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """A hint for a misspelt ``word``: the nearest of ``choices``, and the whole list."""
    known = sorted(choices)
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    guess = f"Did you mean '{near[0]}'? " if near else ""
    return f"{guess}Known: {', '.join(known)}."
