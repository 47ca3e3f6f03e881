"""Conversations that a model has with itself: it writes the questions, too, and no data are needed.

A chat model that is given its template up to where a user's words begin goes on with a question such as those that it
was taught on (Magpie, Xu et al. 2024, arXiv 2406.08464). What a drafter is to guess is the model's own text, so this is
the text to train one on.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from laconic.engine import Engine
from laconic.errors import UnmetNeed
from laconic.models.text import Text
from laconic.types import Limits, Request, Sampling

_MARK = "QZXJ"
"""Stands for a user's words where a template is rendered to see what comes before them."""
_LEAST = 4
"""Tokens of the shortest question."""
_WORTH = 48
"""Tokens of the shortest reply that is worked on further."""
_MARGIN = 160
"""Tokens that are left for the template, the instruction, and another cut of the same text."""
_WORK = (
    "Summarize the following text.\n\n{}",
    "{}\n\nWhat are the main points of this text?",
    "Write one sentence that says what this is about:\n{}",
    "Translate into German: {}",
    "Translate the text below into French.\n\n{}",
    "{}\n\nSay the same in Spanish.",
    "Translate into English: {}",
    "Correct the mistakes in this text and write it out again:\n\n{}",
    "Make this text shorter, and keep its tone.\n\n{}",
    "Which names, places and numbers are in this text? Answer in JSON.\n\n{}",
    "Read the text and answer the question.\n\n{}\n\nQuestion: what follows from it?",
    "Answer from this passage alone: what is most important in it, and why?\n\nPassage: {}",
)
"""What may be asked for. A translation or a summary is a reply, so it is worked on in its turn."""


@dataclass(frozen=True, slots=True)
class Asking:
    """What is written. Temperatures of replies are taken in turn; questions are drawn at ``curiosity``.

    ``question`` and ``reply`` are the most tokens of either; a question that has no end by then is dropped. ``batch``
    are written at once and ``questions`` in one go, so that others take the places of those that end early. To every
    question that is thought up come ``over`` requests to work on one to three earlier replies.
    """

    question: int = 160
    reply: int = 256
    temperatures: tuple[float, ...] = (0.0, 0.7)
    curiosity: float = 1.0
    batch: int = 48
    questions: int = 144
    over: float = 0.3
    seed: int = 0


def opening(text: Text) -> tuple[int, ...]:
    """What the chat template writes before a user's words. Raises UnmetNeed for a model without a chat template."""
    asked = text.decode(text.prompt(_MARK))
    before, mark, _ = asked.partition(_MARK)
    if not mark or not before.strip():
        raise UnmetNeed(
            "a model without a chat template cannot ask itself questions.", "Give it some to answer, with --tasks."
        )
    return tuple(text.encode(before))


def asked(engine: Engine, asking: Asking, batch: int, replies: Sequence[Sequence[int]] = ()) -> list[Request]:
    """The requests of one batch: questions that the model has thought of, and how each is to be answered.

    ``replies`` are tokens that it wrote before, to be worked on; without any, all questions are thought up.
    """
    questions = _questions(engine, asking, batch)
    room = engine.target.context - asking.reply - _MARGIN
    questions += _worked_on(engine.text, replies, round(asking.over * len(questions)), _seed(asking, batch, 0), room)
    limits = Limits(asking.reply, answer_room=0)
    return [
        engine.request(
            question,
            limits=limits,
            sampling=Sampling(asking.temperatures[i % len(asking.temperatures)], seed=_seed(asking, batch, i)),
        )
        for i, question in enumerate(questions)
    ]


def _worked_on(text: Text, replies: Sequence[Sequence[int]], count: int, seed: int, room: int) -> list[str]:
    """Requests to do something with one to three of these replies each, of ``room`` tokens at most."""
    long = [tokens for tokens in replies if _WORTH <= len(tokens) <= room]
    draw = random.Random(seed)
    if not long:
        return []
    found = []
    for _ in range(count):
        chosen = draw.sample(long, min(draw.randint(1, 3), len(long)))
        while sum(map(len, chosen)) > room:
            chosen.pop()
        found.append(draw.choice(_WORK).format("\n\n".join(_plain(text, one) for one in chosen)))
    return found


def _questions(engine: Engine, asking: Asking, batch: int) -> list[str]:
    """What the model asks when it speaks for the user; each text once."""
    start = opening(engine.text)
    limits = Limits(asking.question, answer_room=0)
    requests = [
        Request(start, Sampling(asking.curiosity, seed=_seed(asking, batch, i)), limits)
        for i in range(asking.questions)
    ]
    results = engine.using(think=()).run(requests, batch=asking.batch)
    asked = [
        _plain(engine.text, result.tokens)
        for result in results
        if result.finish_reason == "stop" and len(result.tokens) > _LEAST
    ]
    return list(dict.fromkeys(filter(None, asked)))


def _plain(text: Text, tokens: Sequence[int]) -> str:
    return text.decode([token for token in tokens if token not in text.eos]).strip()


def _seed(asking: Asking, batch: int, i: int) -> int:
    return (asking.seed * 1_000_003 + batch) * asking.questions + i
