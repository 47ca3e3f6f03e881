"""The teaching text: a first result, doubts about it, the same by another route and back from the result."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from laconic.models.reasoner.corpus import CLOSE, Example, answer_text, prompt
from laconic.models.reasoner.traces.arithmetic import slip
from laconic.models.specimen.reasoner.problems import KINDS, Problem, stream
from laconic.models.specimen.reasoner.sums import Step, backwards, forwards, other_route, slipped, small, turned

SLIP_SHARE = 0.12
"""How often the first result is wrong, so that there is something to find; what is wrong is not learnt."""
BACK_SHARE = 0.7
"""How often a right result is also traced back."""
CUT_SHARE = 0.12
"""How often the thought is closed by force, which teaches to answer with what is there."""
PRACTICE_SHARE = 0.35
"""Pages of facts for each conversation: a model of this size has to be taught its sums."""
_FACTS = 14
"""On a page."""
_VERDICT = 3.0
"""The weight of the words that say whether two results agree: they are few, and everything hangs on them."""

FIRST = ("So the answer is {v}.", "So the answer should be {v}.")
DOUBT = ("Wait, let me check that.", "Let me check {v} another way.", "Hmm, let me make sure.")
BACK = ("One more check, backwards:", "Just to be safe, backwards:")
CAREFUL = "Let me go slowly."

Piece = tuple[str, float]


def example(problem: Problem, rng: Random) -> Example:
    """A whole conversation, each piece with its weight in the loss."""
    paragraphs = _told(problem, rng)
    close: Piece = (CLOSE, 1.0)
    if rng.random() < CUT_SHARE:
        # What is cut after a slip would teach to answer wrongly, or to guess; so the right paragraphs are kept.
        whole = [at for at, part in enumerate(paragraphs, 1) if all(weight > 0 for _, weight in part)]
        paragraphs, close = paragraphs[: rng.choice(whole)], (CLOSE, 0.0)
    thought: list[Piece] = []
    for part in paragraphs:
        thought += [("\n\n", close[1]), *part] if thought else part
    pieces = (
        (prompt(problem.question), 0.0),
        ("<think>\n", 1.0),
        *thought,
        close,
        (answer_text(str(problem.answer)), 2.0),
    )
    return Example(pieces, problem.kind)


def _told(problem: Problem, rng: Random) -> list[list[Piece]]:
    """The paragraphs of a thought."""
    steps, right = problem.steps, problem.answer
    values, worth = tuple(step.value for step in steps), 1.0
    if rng.random() < SLIP_SHARE:
        at = rng.randrange(len(steps))
        wrong = slipped(steps, at, slip(rng, steps[at].value))
        if min(wrong) >= 0 and wrong[-1] != right:
            values, worth = wrong, 0.0
    found = values[-1]
    told: list[list[Piece]] = [[(f"{forwards(steps, values)} {rng.choice(FIRST).format(v=found)}", worth)]]
    check = (f"{rng.choice(DOUBT).format(v=found)} {other_route(steps)}", 1.0)
    if found == right:
        told.append([check, (f" That is {right} again.", _VERDICT)])
        if rng.random() < BACK_SHARE and (back := backwards(steps)):
            told.append([(f"{rng.choice(BACK)} {back}. So {right} was right.", 1.0)])
        return told
    careful = forwards(steps, tuple(step.value for step in steps))
    told.append([check, (f" That is {right} and not {found}.", _VERDICT)])
    told.append([(f"{CAREFUL} {careful} So the answer is {right}.", 1.0)])
    return told


def practice(rng: Random) -> Example:
    """A page of bare facts, as the thoughts use them; only the results are learnt."""
    pieces: list[Piece] = [(prompt("Work these out."), 0.0), ("<think>\n\n</think>\n\n", 0.0)]
    for _ in range(_FACTS):
        step = _fact(rng)
        asked, result, rest = turned(step).rpartition(str(step.value)) if rng.random() < 0.4 else _plain(step)
        pieces += [(asked, 0.0), (result, 1.0), (f"{rest}. ", 0.0)]
    return Example(tuple(pieces), "practice")


def _plain(step: Step) -> tuple[str, str, str]:
    return f"{step.left}{step.sign}{step.right}=", str(step.value), ""


def _fact(rng: Random) -> Step:
    while True:
        sign = rng.choice("++--*/")
        high = 9 if sign in "*/" else rng.choice((12, 30))
        left, right = rng.randint(1, high), rng.randint(1, 9 if rng.random() < 0.7 else high)
        step = Step("", left * right if sign == "/" else left, sign, right)
        if small((Step("", left, "*", right),) if sign == "/" else (step,)):
            return step


def examples(seed: int) -> Iterator[Example]:
    """Endless examples, all kinds in turn, none of them kept for the evaluation; pages of facts between them."""
    rng = Random(seed)
    sources = {kind: stream(kind, seed, held_out=False) for kind in KINDS}
    while True:
        for kind in rng.sample(KINDS, len(KINDS)):
            yield example(next(sources[kind]), rng)
            if rng.random() < PRACTICE_SHARE:
                yield practice(rng)
