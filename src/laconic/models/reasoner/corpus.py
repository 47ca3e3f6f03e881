"""Training text: conversations made on the fly from seeds, some of them cut short to teach an honest early answer."""

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from . import drills
from .problems import KINDS, Problem, stream
from .traces import Trace, trace
from .traces.base import VERDICT

CLOSE = "\n</think>\n\n"
TIME_IS_UP = "\n\nTime is up, so I will answer with what I have.\n</think>\n\n"
CUT_SHARE = 0.24
DRILL_SHARE = 0.3
# How many first results that slipped stay in the traces cut short, by difficulty. They teach how sure to be of an early
# answer, so there are about as many as the model will make.
HONEST_SLIPS = {1: 0.05, 2: 0.2, 3: 0.7}
# how often a kind is drawn; the ones with long numbers need more practice
WEIGHTS = {
    "basic_arithmetic": 4, "chain_sum": 4, "products": 3, "gcd": 2, "lcm": 2, "simple_equations": 3, "leg_counting": 3,
}  # fmt: skip


@dataclass(frozen=True)
class Example:
    """A conversation in pieces of text, each with its weight in the loss: 0 where it is not learnt."""

    pieces: tuple[tuple[str, float], ...]
    kind: str


def prompt(question: str) -> str:
    """The chat template's text for one user message, up to where the model writes."""
    return f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n"


def answer_text(answer: str) -> str:
    """The answer as the model writes it after its thought, the end token included."""
    return f"The answer is \\boxed{{{answer}}}.<|im_end|>"


def reworded(problem: Problem, rng: Random) -> str:
    """The question; now and then in other words, as a person might type it."""
    expression = problem.entry["metadata"].get("expression")
    if rng.random() < 0.8 or expression is None:
        return problem.question
    plain = expression.replace("( ", "(").replace(" )", ")")
    if rng.random() < 0.3:
        plain = plain.replace(" ", "")
    form = rng.choice(("What is {e}?", "{e}", "{e} =", "{e} = ?", "Calculate {e}.", "what's {e}?", "How much is {e}?"))
    return form.format(e=plain)


def example(problem: Problem, rng: Random) -> Example:
    """A whole conversation, or one whose thought is closed by force at a step boundary, before the true answer.

    What closes the thought by force is not learnt, so the model does not learn to stop at random; the true answer
    is, even where the thought so far states another: so the model's confidence after a forced close means something.
    """
    story = trace(problem, rng)
    cut = rng.random() < CUT_SHARE
    while cut and story.value != int(story.answer) and rng.random() > HONEST_SLIPS[problem.difficulty]:
        story = trace(problem, rng)
    question = (prompt(reworded(problem, rng)), 0.0)
    answer = (answer_text(story.answer), 2.0)
    if not cut:
        thought = _thought(story, len(story.steps))
        return Example((question, *thought, ("\n</think>\n\n", 1.0), answer), problem.kind)
    if rng.random() < 0.06:
        return Example((question, ("<think>\n\n</think>\n\n", 0.0), answer), problem.kind)
    thought = _thought(story, _cut(story, rng))
    close = rng.choices((CLOSE, "\n" + CLOSE, "\n\n" + CLOSE, TIME_IS_UP), (4, 3, 1, 3))[0]
    return Example((question, *thought, (close, 0.0), answer), problem.kind)


def _thought(story: Trace, steps: int) -> list[tuple[str, float]]:
    """The first steps of a thought in pieces: its slips are not learnt, and its verdicts more than the rest."""
    pieces = [("<think>\n", 1.0)]
    for at, step in enumerate(story.steps[:steps]):
        worth = 0.0 if at in story.slipped else 1.0
        parts = VERDICT.split(step if at == 0 else f"\n\n{step}")
        pieces += [(part, drills.VERDICT_WEIGHT if VERDICT.fullmatch(part) else worth) for part in parts if part]
    return pieces


def _cut(story: Trace, rng: Random) -> int:
    """After how many steps to cut: half of the time right after the first stated result."""
    if rng.random() < 0.5:
        return story.first + 1
    return rng.randint(1, len(story.steps))


def practice(rng: Random) -> Example:
    """A page of facts; only the results are learnt."""
    pieces = [(prompt(drills.REQUEST), 0.0), ("<think>\n\n</think>\n\n", 0.0)]
    for fact in drills.page(rng):
        pieces += [(fact.asked, 0.0), (f" {fact.result}", fact.worth), (", ", 0.0)]
    return Example(tuple(pieces), "drill")


def examples(seed: int) -> Iterator[Example]:
    """Endless training examples of all kinds, none of them held out."""
    rng = Random(seed)
    sources = {kind: stream(kind, seed, held_out=False) for kind in KINDS}
    names, weights = list(WEIGHTS), list(WEIGHTS.values())
    while True:
        if rng.random() < DRILL_SHARE:
            yield practice(rng)
            continue
        yield example(next(sources[rng.choices(names, weights)[0]]), rng)
