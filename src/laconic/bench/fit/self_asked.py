"""Conversations that a model has with itself: it writes the questions, too, and no data are needed.

A chat model that is given its template up to where a user's words begin goes on with a question such as those that it
was taught on (Magpie, Xu et al. 2024, arXiv 2406.08464). What a drafter is to guess is the model's own text, so this is
the text to train one on.
"""

from __future__ import annotations

from dataclasses import dataclass

from laconic.engine import Engine
from laconic.errors import UnmetNeed
from laconic.models.text import Text
from laconic.types import Limits, Request, Sampling

_MARK = "QZXJ"
"""Stands for a user's words where a template is rendered to see what comes before them."""
_LEAST = 4
"""Tokens of the shortest question."""


@dataclass(frozen=True, slots=True)
class Asking:
    """What is written. Temperatures of replies are taken in turn; questions are drawn at ``curiosity``.

    ``question`` and ``reply`` are the most tokens of either; a question that has no end by then is dropped. ``batch``
    are written at once and ``questions`` in one go, so that others take the places of those that end early.
    """

    question: int = 160
    reply: int = 256
    temperatures: tuple[float, ...] = (0.0, 0.7)
    curiosity: float = 1.0
    batch: int = 48
    questions: int = 144
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


def asked(engine: Engine, asking: Asking, batch: int) -> list[Request]:
    """The requests of one batch: questions that the model has thought of, and how each is to be answered."""
    questions = _questions(engine, asking, batch)
    limits = Limits(asking.reply, answer_room=0)
    return [
        engine.request(
            question,
            limits=limits,
            sampling=Sampling(asking.temperatures[i % len(asking.temperatures)], seed=_seed(asking, batch, i)),
        )
        for i, question in enumerate(questions)
    ]


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
        engine.text.decode([token for token in result.tokens if token not in engine.text.eos]).strip()
        for result in results
        if result.finish_reason == "stop" and len(result.tokens) > _LEAST
    ]
    return list(dict.fromkeys(filter(None, asked)))


def _seed(asking: Asking, batch: int, i: int) -> int:
    return (asking.seed * 1_000_003 + batch) * asking.questions + i
