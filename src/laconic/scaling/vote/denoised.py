"""CD-CoT: examples whose reasoning may be wrong are rephrased after one that is right, and attempts made with these."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field

from laconic.answers import extract
from laconic.errors import RequestError
from laconic.models.text import Message
from laconic.policy import Card, knobs
from laconic.scaling.base import Acts, Board
from laconic.scaling.groups import alike
from laconic.scaling.vote.base import Vote

_TASK = (
    "Here is a question with an explanation that is right:\n\nQuestion: {clean}\nExplanation: {right}\n\n"
    "The explanation of the next one may hold what is wrong or beside the point. Write it anew in the same manner, and "
    "keep its answer.\n\nQuestion: {question}\nExplanation: {noisy}\n\nExplanation, written anew:"
)


@dataclass(slots=True)
class _State:
    prompts: list[tuple[Message, ...]]
    """Ways to ask the question."""


@knobs
class CDCoT(Vote):
    """Rephrase the examples of a prompt after one that is known to be right, and vote over attempts with each version.

    Source: Can Language Models Perform Robust Reasoning in Chain-of-thought Prompting with Noisy Rationales? (Zhou et
    al. 2024), contrastive denoising. The examples are the turns of the conversation before its last question: pairs of
    a user's and an assistant's message. Each but the ``clean`` one is written anew ``versions`` times by the model
    itself, beside the clean one; versions that come to another answer than the example had are dropped, and of those
    left up to ``chosen`` are used, in prompts that take turns among the attempts. Without examples, or where no version
    is left, the prompt stays as it is.
    """

    card = Card(paper="Noisy rationales (CD-CoT)", lossless=False, catalogue=(174,))
    asks = True

    clean: Annotated[int, Field(ge=0)] = 0
    """Which example is known to be right, from 0."""
    versions: Annotated[int, Field(ge=1)] = 5
    """Times that each of the others is written anew."""
    chosen: Annotated[int, Field(ge=1)] = 2
    """Versions that are used at most."""
    tokens: Annotated[int, Field(ge=1)] = 512
    """Most tokens of a version."""

    def start(self, board: Board) -> _State:
        """Write the examples anew. Raises RequestError where the clean one is not among them."""
        pairs = _examples(board.messages)
        if pairs and self.clean >= len(pairs):
            raise RequestError(
                f"there are {len(pairs)} examples before the question, and clean={self.clean} names none of them.",
                "Count from 0.",
            )
        kept = {at: self._versions(board, pairs, at) for at in range(len(pairs)) if at != self.clean}
        count = min(self.chosen, max(map(len, kept.values()), default=0))
        return _State([self._prompt(board, pairs, kept, version) for version in range(count)] or [board.messages])

    def acts(self, state: _State, board: Board) -> Acts:
        """As every vote; the attempts take the prompts in turn."""
        acts = super().acts(state, board)
        if state.prompts == [board.messages]:
            return acts
        first = len(board.attempts)
        asked = [state.prompts[(first + at) % len(state.prompts)] for at in range(min(acts.start, board.left))]
        return Acts(others=asked, enough=acts.enough)

    def _versions(self, board: Board, pairs: Sequence[tuple[int, int]], at: int) -> list[str]:
        """Versions of an example that keep its answer, each once."""
        (asked, said), (clean, right) = pairs[at], pairs[self.clean]
        text = [str(message["content"]) for message in board.messages]
        task = _TASK.format(clean=text[clean], right=text[right], question=text[asked], noisy=text[said])
        found: list[str] = []
        for number in range(self.versions):
            draw = at * self.versions + number
            version = board.ask(({"role": "user", "content": task},), self.tokens, draw).strip()
            if version and version not in found and alike(extract(version), extract(text[said])):
                found.append(version)
        return found

    @staticmethod
    def _prompt(
        board: Board, pairs: Sequence[tuple[int, int]], kept: dict[int, list[str]], version: int
    ) -> tuple[Message, ...]:
        """The conversation with one version of each example, the example itself where it has none."""
        messages: list[Message] = list(board.messages)
        for at, versions in kept.items():
            if versions:
                said = pairs[at][1]
                messages[said] = {**messages[said], "content": versions[version % len(versions)]}
        return tuple(messages)


def _examples(messages: Sequence[Any]) -> list[tuple[int, int]]:
    """Places of a user's message and of the assistant's reply to it."""
    roles = [message.get("role") if isinstance(message.get("content"), str) else None for message in messages]
    return [(at, at + 1) for at in range(len(roles) - 1) if roles[at : at + 2] == ["user", "assistant"]]
