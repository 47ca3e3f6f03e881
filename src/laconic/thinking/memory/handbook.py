"""A handbook of behaviours: short instructions with names, in a Markdown file that a person can read and edit.

    # Anything may stand on a title line

    ## carry-first
    topics: addition, multiplication
    Note the carry of each column before the next one is added.

    ## ...

A heading ``## name`` begins a behaviour; a line of topics may follow, then lines of instruction until the next heading.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from laconic.errors import HandbookError
from laconic.thinking.memory.ranking import Ranking

_HEADING, _TOPICS = "## ", "topics:"
_FORM = "A behaviour is a line '## name' and lines of instruction below it."


@dataclass(frozen=True, slots=True)
class Behavior:
    """A name and what to do. Behaviours without ``topics`` suit every topic."""

    name: str
    instruction: str
    topics: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        name, topics = self.name, ", ".join(self.topics)
        if not name.strip() or name != " ".join(name.split()):
            raise HandbookError(f"{name!r} is no name of a behaviour.", "A name is one line without spaces around it.")
        if not self.instruction.strip():
            raise HandbookError(f"behaviour '{name}' has no instruction.", _FORM)
        if self.instruction != _tidy(self.instruction) or _takes_for_more(self.instruction):
            raise HandbookError(
                f"the instruction of '{name}' could not be read back from a file.",
                "It must not begin with 'topics:', hold a line that begins with '# ' or '## ', or trailing spaces.",
            )
        if [t.strip() for t in topics.split(",") if t.strip()] != list(self.topics):
            raise HandbookError(f"the topics of '{name}' could not be read back from a file.", "Topics have no commas.")

    @property
    def markdown(self) -> str:
        """The behaviour as a section of the file."""
        topics = f"{_TOPICS} {', '.join(self.topics)}\n" if self.topics else ""
        return f"{_HEADING}{self.name}\n{topics}{self.instruction}\n"


class Handbook:
    """Behaviours in their order, each under a name of its own. Not changed in place: ``add`` gives a new one."""

    def __init__(self, behaviors: Iterable[Behavior] = ()) -> None:
        self.behaviors = tuple(behaviors)
        names = [behavior.name for behavior in self.behaviors]
        twice = next((name for i, name in enumerate(names) if name in names[:i]), None)
        if twice is not None:
            raise HandbookError(f"two behaviours are called '{twice}'.", "Give each a name of its own.")

    @staticmethod
    def load(path: str | Path) -> Handbook:
        """Read a file. Raises HandbookError naming the file, the line and what is wrong there."""
        try:
            return parse(Path(path).read_bytes().decode("utf-8-sig"), str(path))
        except OSError as error:
            raise HandbookError(f"cannot read the handbook '{path}': {error.strerror}.", _FORM) from error
        except UnicodeDecodeError as error:
            line = error.object[: error.start].count(b"\n") + 1
            raise HandbookError(f"'{path}', line {line}: not UTF-8 text.", "Save the file as UTF-8.") from error

    def save(self, path: str | Path) -> None:
        """Write the file whole or not at all. Raises HandbookError if it cannot be written."""
        target = Path(path)
        try:
            handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
            try:
                with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
                    file.write("\n".join(behavior.markdown for behavior in self.behaviors))
                os.replace(name, target)
            except BaseException:
                Path(name).unlink(missing_ok=True)
                raise
        except OSError as error:
            raise HandbookError(f"cannot write the handbook '{path}': {error.strerror}.") from error

    def add(self, *behaviors: Behavior) -> Handbook:
        """This handbook and more behaviours. Raises HandbookError for a name that is taken."""
        return Handbook((*self.behaviors, *behaviors))

    def retrieve(self, problem: str, k: int, topics: Sequence[str] = ()) -> list[Behavior]:
        """The ``k`` behaviours most like ``problem``, best first; fewer where fewer share any word with it.

        With ``topics``, only behaviours that have one of these, or none at all, are looked at.
        """
        wanted = {topic.casefold() for topic in topics}
        scores = self._ranking.scores(problem)
        found = [
            (-score, at)
            for at, (score, behavior) in enumerate(zip(scores, self.behaviors, strict=True))
            if score > 0 and (not wanted or not behavior.topics or wanted & {t.casefold() for t in behavior.topics})
        ]
        return [self.behaviors[at] for _, at in sorted(found)[:k]]

    @cached_property
    def _ranking(self) -> Ranking:
        return Ranking([" ".join((b.name, *b.topics, b.instruction)) for b in self.behaviors])


def parse(text: str, source: str) -> Handbook:
    """A handbook from its text; ``source`` names it in errors. Raises HandbookError with the line of what is wrong."""
    lines = text.splitlines()
    starts = [at for at, line in enumerate(lines) if line.startswith(_HEADING) or line.rstrip() == "##"]
    for at, line in enumerate(lines[: starts[0] if starts else None]):
        if line.strip() and not line.startswith("# "):
            raise HandbookError(f"'{source}', line {at + 1}: text before the first heading.", _FORM)
    if not starts:
        raise HandbookError(f"'{source}' holds no behaviour.", _FORM)
    lines_of: dict[str, int] = {}
    behaviors = []
    for start, end in zip(starts, [*starts[1:], len(lines)], strict=True):
        name = " ".join(lines[start].removeprefix("##").split())
        if name in lines_of:
            raise HandbookError(
                f"'{source}', line {start + 1}: '{name}' is already the name of line {lines_of[name]}.",
                "Give each behaviour a name of its own.",
            )
        lines_of[name] = start + 1
        try:
            behaviors.append(_behavior(name, lines[start + 1 : end]))
        except HandbookError as error:
            raise HandbookError(f"'{source}', line {start + 1}: {error.message}", error.hint) from None
    return Handbook(behaviors)


def _behavior(name: str, lines: Sequence[str]) -> Behavior:
    first = next((at for at, line in enumerate(lines) if line.strip()), None)
    topics: tuple[str, ...] = ()
    if first is not None and lines[first].casefold().startswith(_TOPICS):
        topics = tuple(topic.strip() for topic in lines[first][len(_TOPICS) :].split(",") if topic.strip())
        lines = lines[first + 1 :]
    return Behavior(name, _tidy("\n".join(lines)), topics)


def _tidy(text: str) -> str:
    """Without trailing spaces, and without empty lines around it."""
    return "\n".join(line.rstrip() for line in text.splitlines()).strip("\n")


def _takes_for_more(instruction: str) -> bool:
    lines = instruction.splitlines()
    return lines[0].casefold().startswith(_TOPICS) or any(
        line.startswith(("## ", "# ")) or line == "##" for line in lines
    )
