"""The graph of a thought's steps, parsed from cue words, and the share of its steps that were given up.

The paper (catalogue 9) has a large model draw the graph. These are heuristics on the words alone:

* A step goes on from the step before it in its branch, unless its first sentence says otherwise.
* "Alternatively", "another way", "what if", "let me try" open a **branch** beside the one they leave: its parent is the
  step that branch itself went out from, or the last step of the trunk.
* "Let me check", "one more check", "wait, let me ..." open a **check** of the branch before, below the last step.
* A sentence that gives up ("that's wrong", "doesn't work", "a contradiction", "I made a mistake", "start over", "they
  differ", "cannot be right") fails a branch. In a step's first sentence it speaks of the branch before, and the step
  begins a new one beside it; later in the step it speaks of the step's own branch. Said in a check, it fails the branch
  that was checked as well.
* A branch (not the trunk, not a check) that is left for another one without naming any result is given up silently.

What they cannot see: failures told without such words, and which of two results that differ was the wrong one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from laconic.thinking.scores.cues import first_sentence

Role = Literal["trunk", "branch", "check"]

_BRANCH = re.compile(
    r"^(?:(?:Wait|Hmm+|But|Or|So|Okay|OK|Well|Maybe),? )*"
    r"(?:alternatively\b|(?:is there )?another (?:way|approach|method|idea|thought|possibility)\b|what if\b|instead\b"
    r"|let(?: me|'s) (?:now )?try (?!.*\b(?:check|verify)))",
    re.IGNORECASE,
)
_CHECK = re.compile(
    r"\blet(?: me| us|'s) (?:just |also |go |look )?(?:re-?|double[- ])?"
    r"(?:check|verify|confirm|make sure|try this|try yet|look at it)\b"
    r"|\bone more (?:check|way)\b|\bjust to be (?:safe|sure)\b|\bI should (?:check|make sure|verify)\b"
    r"|^(?:but )?wait,? (?:but )?let me\b",
    re.IGNORECASE,
)
_GIVES_UP = re.compile(
    r"\b(?:is|are|was|were|must be|that's|it's|seems) (?:\w+ )?(?:wrong|incorrect|impossible|mistaken)\b"
    r"|\bnot (?:right|correct|possible|the same)\b|\bcan(?:not|'t) (?:possibly )?be (?:right|correct|true)\b"
    r"|\b(?:doesn't|does not|didn't|won't|will not) (?:work|fit|hold|make sense|match)\b"
    r"|\b(?:a|this|that|which) contradict(?:ion|s)\b"
    r"|\bI (?:have )?(?:made|make) (?:a|an|the) (?:\w+ )?(?:mistake|error)\b"
    r"|\bstart(?:ing)? (?:over|again|from scratch)\b|\bscratch that\b|\bdead end\b|\bthey differ\b"
    r"|^(?:no|nope)[,.] |\bso the answer is not\b",
    re.IGNORECASE,
)
_RESULT = re.compile(r"[=≈]|\\boxed|\b(?:is|equals?|gives?|gets?|makes?|answer|result|total)\b[^.]*\d")
_UNREAL = re.compile(
    r"\b(?:if|unless|whether|in case|make sure|did(?:n't| not)|haven't|any|not sure|might|could|would|maybe|perhaps)\b"
    r"|\?",
    re.IGNORECASE,
)
"""Words that make of a failure something feared or asked, not found."""


@dataclass(frozen=True, slots=True)
class Node:
    """A step in the graph. ``parent`` is the index of the step it goes out from, -1 for the first."""

    parent: int
    role: Role
    branch: int
    failed: bool


def graph(steps: Sequence[str]) -> list[Node]:
    """One node a step, by the heuristics above."""
    parsed = _Parse()
    for at, step in enumerate(steps):
        parsed.take(at, step)
    return [
        Node(parent, parsed.roles[branch], branch, branch in parsed.failed)
        for parent, branch in zip(parsed.parents, parsed.branches, strict=True)
    ]


def failed_step_fraction(steps: Sequence[str]) -> float:
    """Steps in branches that were given up, as a share of all steps; 0 for a thought without steps."""
    nodes = graph(steps)
    return sum(node.failed for node in nodes) / len(nodes) if nodes else 0.0


class _Parse:
    """Branches so far: ``roles``, ``origins`` (the step each went out from), which of them named a result or failed."""

    def __init__(self) -> None:
        self.parents: list[int] = []
        self.branches: list[int] = []
        self.roles: list[Role] = ["trunk"]
        self.origins = [-1]
        self.checked = [-1]
        """Of a check, the branch that it checks; -1 of others."""
        self.concluded: set[int] = set()
        self.failed: set[int] = set()
        self.now = 0

    def take(self, at: int, step: str) -> None:
        """Add a step."""
        first = first_sentence(step)
        rest = step.strip()[len(first) :]
        refuses = at > 0 and _gives_up(first)
        if refuses:
            self._fail(self.now)
        parent = at - 1
        if at > 0 and _BRANCH.search(first):
            if self.roles[self.now] == "branch" and self.now not in self.concluded:
                self.failed.add(self.now)
            parent = self._beside(at)
        elif refuses:
            parent = self._beside(at)
        elif at > 0 and _CHECK.search(first):
            self._open("check", at - 1, checked=self._subject())
        self.parents.append(parent)
        self.branches.append(self.now)
        if _gives_up(rest):
            self._fail(self.now)
        if _RESULT.search(step):
            self.concluded.add(self.now)

    def _beside(self, at: int) -> int:
        """Open a branch beside the present one; the step that it goes out from."""
        subject = self._subject()
        origin = self.origins[subject] if self.roles[subject] == "branch" else at - 1
        self._open("branch", origin)
        return origin

    def _open(self, role: Role, origin: int, checked: int = -1) -> None:
        self.roles.append(role)
        self.origins.append(origin)
        self.checked.append(checked)
        self.now = len(self.roles) - 1

    def _subject(self) -> int:
        """The branch that is being worked on: the present one, or what the present check checks."""
        return self.checked[self.now] if self.roles[self.now] == "check" else self.now

    def _fail(self, branch: int) -> None:
        self.failed.add(branch)
        if self.roles[branch] == "check":
            self.failed.add(self.checked[branch])


def _gives_up(text: str) -> bool:
    sentences = re.split(r"(?<=[.!?])\s|\n", text)
    return any(_GIVES_UP.search(sentence) and not _UNREAL.search(sentence) for sentence in sentences)
