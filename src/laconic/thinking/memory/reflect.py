"""Have a model read a trace and name what in it would help again: behaviours for a handbook."""

from __future__ import annotations

from laconic.errors import HandbookError
from laconic.models.text import Message
from laconic.thinking.memory.base import Generates
from laconic.thinking.memory.handbook import Behavior, parse
from laconic.types import Limits, Sampling

SOURCE = "the model's reflection"
"""What errors call its reply."""
PROMPT = """\
Here are a problem and the reasoning of somebody who solved it.

Problem:
{question}

Reasoning:
{trace}

Name at most {most} behaviours in this reasoning that would make the solution of other problems shorter or surer: \
procedures and facts that hold in general, nothing about these very numbers. Reply in this form and with nothing else:

## short-name-of-the-behaviour
What to do, in one to three sentences."""


def reflect(
    question: str,
    trace: str,
    engine: Generates,
    *,
    most: int = 5,
    sampling: Sampling | None = None,
    limits: Limits | None = None,
    thinking: bool = True,
) -> tuple[Behavior, ...]:
    """Ask ``engine`` for at most ``most`` behaviours in a trace.

    Its answer is held to the form strictly, since a person or a model will trust what is in the file. Raises
    HandbookError for an answer in any other form, one that was cut off, and one with more behaviours than asked for.
    """
    if not trace.strip():
        raise HandbookError("there is no trace to reflect on.", "Give the text of a thought.")
    prompt: tuple[Message, ...] = (
        {"role": "user", "content": PROMPT.format(question=question, trace=trace, most=most)},
    )
    result = engine.generate(prompt, sampling=sampling, limits=limits, thinking=thinking)
    if result.finish_reason != "stop":
        raise HandbookError(f"{SOURCE} was cut off.", "Raise max_new_tokens in its limits.")
    found = parse(result.answer.strip(), SOURCE).behaviors
    if len(found) > most:
        raise HandbookError(f"{SOURCE} names {len(found)} behaviours, not at most {most}.", "Ask again, or for more.")
    return found
