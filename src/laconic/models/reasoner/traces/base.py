"""What every teaching trace is made of: routes to a result, and the story of trying, doubting and checking them."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from ..problems import Problem
from .arithmetic import slip

RISK = {1: 0.15, 2: 0.2, 3: 0.3}  # how often the quick first route slips, by the difficulty that can be seen
CHECK_RISK = 0.15  # how often the first check of a right result slips


@dataclass(frozen=True)
class Route:
    """One way to a result: its paragraphs, and the value; None where a check only finds that the value is wrong."""

    lines: tuple[str, ...]
    value: int | None


@dataclass(frozen=True)
class Trace:
    """A teaching trace. `first` is the step that first states a result for the whole problem, `value` that result.

    `slipped` are the steps that hold a planted slip. They are there to be noticed and not to be learnt: else a model
    would slip as often as the text does, and if the text seldom slips it never learns to say that a check disagrees.
    """

    steps: tuple[str, ...]
    answer: str
    first: int
    value: int
    slipped: frozenset[int] = frozenset()


Quick = Callable[[Random, bool], Route]  # (rng, whether to slip)
Check = Callable[[Random, int], Route]  # (rng, the value under test)

FIRST = (
    "So the answer is {v}.", "So the answer should be {v}.", "That makes {v}, so the answer is {v}.",
    "So the final result is {v}.", "So I get the answer {v}.",
)  # fmt: skip
DOUBT = (
    "Wait, let me check that by another route.", "Let me verify it another way.", "Hmm, let me check this differently.",
    "Let me check {v} in a different way.", "Wait, I should make sure that {v} is right.", "But let me double-check.",
)  # fmt: skip
# A verdict names both values side by side before it says whether they agree: so a small model has only to compare.
AGREE = (
    "This way it is {w}, and before it was {v}: the same.", "So {w} now and {v} before. They agree.",
    "Compare {w} with {v}: the same, good.",
)  # fmt: skip
CLASH = (
    "This way it is {w}, and before it was {v}: not the same.", "So {w} now and {v} before. They differ.",
    "Compare {w} with {v}: not the same, one must be wrong.",
)  # fmt: skip
REFUTE = ("So {v} cannot be right.", "Hmm, that does not fit, so {v} is wrong.", "Wait, so the answer is not {v}.")
CAREFUL = (
    "Let me work it out once more, step by step.", "I need to do this carefully.",
    "Let me go slowly and do it a third way.", "Hmm, so let me start over with care.",
)  # fmt: skip
MAJORITY = (
    "This way it is {w}, and before it was {v} and {u}. Two of three say {m}, so the answer is {m}.",
    "Compare {w} with {v} and {u}: {m} comes twice, so the answer is {m}.",
)
REPLACE = ("This way it is {w} and not {v}. So the answer is {w}.", "Compare {w} with {v}: so the answer is {w}.")
AGAIN = (
    "Just to be safe, let me try yet another way.", "One more check.", "Let me look at it from another side as well.",
    "Wait, one more way to be sure.", "Hmm, let me also try this.",
)  # fmt: skip
END = (
    "I am sure now, the answer is {v}.", "Everything agrees, so the answer is {v}.", "Good. The final answer is {v}.",
    "All right, the answer is {v}.", "So I can answer with {v}.",
)  # fmt: skip

# the sentences that compare a check with the result before
VERDICT = re.compile(
    "("
    + "|".join(
        re.sub(r"\\\{[vwum]\\\}", r"-?\\d+", re.escape(text)) for text in (*AGREE, *CLASH, *REFUTE, *MAJORITY, *REPLACE)
    )
    + ")"
)


def tell(
    rng: Random, problem: Problem, opening: str, quick: Quick, checks: Sequence[Check], proofs: Sequence[Check] = ()
) -> Trace:
    """The story of a thought.

    A quick route states a first result, which sometimes is a slip. `checks` then derive the result by other routes;
    the first may slip as well, and where one disagrees, a further one settles it. `proofs` are short tests of a value
    (put it back in, look at the last digit) that need not derive it; they come last, when all is settled.
    """
    truth = int(problem.answer)
    steps = [opening]
    attempt = quick(rng, rng.random() < RISK[problem.difficulty])
    assert attempt.value is not None
    value = first_value = attempt.value
    _add(steps, attempt.lines, rng.choice(FIRST).format(v=value))
    first = len(steps) - 1
    slipped = set(range(1, first + 1)) if value != truth else set()
    order = rng.sample(list(checks), len(checks))
    wanted = min(len(order), 1 + (rng.random() < (0.75 if problem.difficulty < 3 else 0.6)))
    cue, settled = rng.choice(DOUBT).format(v=value), True
    other: int | None = None
    while order and (wanted > 0 or not settled):
        route = order.pop()(rng, value)
        wanted -= 1
        if order and len(steps) == first + 1 and value == truth and rng.random() < CHECK_RISK:
            route = _spoil(route, rng)
        if not settled:
            close = rng.choice(REPLACE if other is None else MAJORITY).format(v=value, u=other, w=route.value, m=truth)
            value, settled = truth, True
        elif route.value == value:
            close = rng.choice(AGREE).format(v=value, w=route.value)
        else:
            clash, other = REFUTE if route.value is None else CLASH, route.value
            close, settled = rng.choice(clash).format(v=value, w=route.value), False
        _add(steps, route.lines, close, cue)
        if route.value not in (None, truth):
            slipped.add(len(steps) - 1)
        cue = rng.choice(AGAIN if settled else CAREFUL)
    assert settled, (problem, steps)
    assert value == truth, (problem, steps)
    if proofs and rng.random() < 0.7:
        proof = rng.choice(list(proofs))(rng, value)
        _add(steps, proof.lines, rng.choice(END).format(v=value), rng.choice(AGAIN))
    else:
        steps.append(rng.choice(END).format(v=value))
    return Trace(tuple(steps), problem.answer, first, first_value, frozenset(slipped))


def _spoil(route: Route, rng: Random) -> Route:
    """The same route with a slip in its last number."""
    if route.value is None or not route.lines[-1].endswith(f" {route.value}."):
        return route
    wrong = slip(rng, route.value)
    last = route.lines[-1].removesuffix(f"{route.value}.") + f"{wrong}."
    return Route((*route.lines[:-1], last), wrong)


def _add(steps: list[str], lines: Sequence[str], close: str, cue: str = "") -> None:
    """Append paragraphs: the cue opens the first one, the closing sentence ends the last one."""
    texts = list(lines)
    if cue:
        texts[0] = f"{cue} {texts[0]}"
    texts[-1] = f"{texts[-1]} {close}"
    steps.extend(texts)
