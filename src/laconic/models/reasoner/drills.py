"""Bare facts to practise, in the very syntax of the traces, many to a page: sums, divisors, and what a check says.

In a trace only a few tokens in a hundred are results that must be computed; on a page of facts a third are. A small
model on a small budget learns to compute from these, and to reason from the traces. Verdicts are practised as well:
in a trace nearly all say that two values agree, so a model learns to say so without looking.
"""

import math
from collections.abc import Callable
from random import Random
from typing import NamedTuple

from .problems import is_held_out
from .traces.arithmetic import slip
from .traces.base import AGREE, CLASH, MAJORITY
from .traces.divisors import primes


class Fact(NamedTuple):
    """What is asked, and its result. `content` is what may not be held out: by default what is asked."""

    asked: str
    result: str
    worth: float = 1.0
    content: str = ""


REQUEST = "Work these out."
VERDICT_WEIGHT = 4.0  # in the loss, where digits have 1


def _sum_of(expression: str, value: int) -> Fact:
    return Fact(f"{expression} =", str(value))


def _number(rng: Random) -> int:
    return rng.randint(0, rng.choice((9, 20, 99, 99, 300, 999)))


def _sum(rng: Random) -> Fact:
    a, b = _number(rng), _number(rng)
    return _sum_of(f"{a} + {b}", a + b)


def _round_sum(rng: Random) -> Fact:
    a, b = _number(rng), rng.randint(1, 9) * rng.choice((1, 10, 100))
    return _sum_of(f"{a} + {b}", a + b) if rng.random() < 0.5 else _sum_of(f"{a} - {b}", a - b)


def _difference(rng: Random) -> Fact:
    a, b = sorted((_number(rng), _number(rng)), reverse=rng.random() < 0.8)
    return _sum_of(f"{a} - {b}", a - b)


def _negative_start(rng: Random) -> Fact:
    a, b = -_number(rng), _number(rng)
    return _sum_of(f"{a} + {b}", a + b) if rng.random() < 0.6 else _sum_of(f"{a} - {b}", a - b)


def _chain(rng: Random) -> Fact:
    total = rng.randint(1, rng.choice((9, 99)))
    text = str(total)
    for _ in range(rng.randint(2, 3)):
        term, sign = rng.randint(1, rng.choice((9, 99))), rng.choice("+-")
        total += term if sign == "+" else -term
        text += f" {sign} {term}"
    return _sum_of(text, total)


def _product(rng: Random) -> Fact:
    a, b = rng.randint(0, 12), rng.randint(0, 12)
    return _sum_of(f"{a} * {b}", a * b)


def _tens(rng: Random) -> Fact:
    a, b = rng.randint(1, 9) * 10, rng.randint(1, 9) * rng.choice((1, 10))
    return _sum_of(f"{a} * {b}", a * b) if rng.random() < 0.5 else _sum_of(f"{b} * {a}", a * b)


def _long_product(rng: Random) -> Fact:
    a, b = rng.randint(10, 99), rng.choice((rng.randint(2, 9), rng.randint(10, 99)))
    return _sum_of(f"{a} * {b}", a * b) if rng.random() < 0.7 else _sum_of(f"{b} * {a}", a * b)


def _quotient(rng: Random) -> Fact:
    a, b = rng.randint(1, 20), rng.randint(1, 20)
    return _sum_of(f"{a * b} / {b}", a)


def _remainder(rng: Random) -> Fact:
    b = rng.randint(2, rng.choice((9, 20, 60)))
    a = b * rng.randint(1, min(20, 400 // b)) + rng.randint(1, b - 1)
    return Fact(f"{a} / {b} =", f"{a // b} rest {a % b}")


def _factors(rng: Random) -> Fact:
    number = rng.randint(2, 60)
    return Fact(f"{number} =", " * ".join(map(str, primes(number))))


def _shared(rng: Random) -> Fact:
    factor = rng.choice((1, 1, 2, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 15))
    a, b = (factor * rng.randint(1, 60 // factor) for _ in range(2))
    return Fact(f"{a} and {b} share", str(math.gcd(a, b)), content=f"gcd {sorted((a, b))}")


def _divisors(rng: Random) -> Fact:
    number = rng.randint(2, 60)
    found = [str(divisor) for divisor in range(number, 0, -1) if number % divisor == 0]
    return Fact(f"Divisors of {number} from the top:", " ".join(found))


def _compare(rng: Random) -> Fact:
    value = _number(rng) * rng.choice((1, 1, 1, -1))
    if rng.random() < 0.5:
        other, templates = value, AGREE
    else:
        other, templates = slip(rng, value) if rng.random() < 0.6 else _number(rng), CLASH
        if other == value:
            other += 1
    return _halved(rng.choice(templates).format(v=value, w=other))


def _majority(rng: Random) -> Fact:
    value = _number(rng)
    other = slip(rng, value)
    now, before, first = rng.choice(((value, value, other), (value, other, value), (other, value, value)))
    return _halved(rng.choice(MAJORITY).format(w=now, v=before, u=first, m=value))


def _halved(verdict: str) -> Fact:
    """A verdict, parted after the last value that it compares."""
    for mark in (": ", ". They", ". Two"):
        head, found, tail = verdict.partition(mark)
        if found:
            return Fact(head + mark[0], mark[2:] + tail, VERDICT_WEIGHT)
    raise ValueError(f"no verdict: {verdict!r}")


KINDS: tuple[tuple[Callable[[Random], Fact], float], ...] = (
    (_sum, 4), (_round_sum, 3), (_difference, 4), (_negative_start, 1), (_chain, 2), (_product, 3), (_tens, 1.5),
    (_long_product, 2.5), (_quotient, 1.5), (_remainder, 2), (_factors, 0.7), (_shared, 1.5), (_divisors, 0.7),
    (_compare, 3), (_majority, 1),
)  # fmt: skip


def page(rng: Random) -> list[Fact]:
    """A page of independent facts, none of which is a held-out question."""
    kinds, weights = [kind for kind, _ in KINDS], [weight for _, weight in KINDS]
    facts = (kind(rng) for kind in rng.choices(kinds, weights, k=rng.randint(14, 28)))
    return [fact for fact in facts if not is_held_out(fact.content or fact.asked.removesuffix(" ="))]
