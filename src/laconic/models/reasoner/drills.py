"""Bare arithmetic to practise: facts in the very syntax of the traces, many to a page.

In a trace only a few tokens in a hundred are results that must be computed; on a page of facts a third are. A small
model on a small budget learns to compute from these, and to reason from the traces.
"""

from collections.abc import Callable
from random import Random

from .problems import is_held_out

Fact = tuple[str, str]  # what is asked, and its result
REQUEST = "Work these out."


def _number(rng: Random) -> int:
    return rng.randint(0, rng.choice((9, 20, 99, 99, 300, 999)))


def _sum(rng: Random) -> Fact:
    a, b = _number(rng), _number(rng)
    return f"{a} + {b}", str(a + b)


def _round_sum(rng: Random) -> Fact:
    a, b = _number(rng), rng.randint(1, 9) * rng.choice((1, 10, 100))
    return (f"{a} + {b}", str(a + b)) if rng.random() < 0.5 else (f"{a} - {b}", str(a - b))


def _difference(rng: Random) -> Fact:
    a, b = sorted((_number(rng), _number(rng)), reverse=rng.random() < 0.8)
    return f"{a} - {b}", str(a - b)


def _negative_start(rng: Random) -> Fact:
    a, b = -_number(rng), _number(rng)
    return (f"{a} + {b}", str(a + b)) if rng.random() < 0.6 else (f"{a} - {b}", str(a - b))


def _chain(rng: Random) -> Fact:
    total = rng.randint(1, rng.choice((9, 99)))
    text = str(total)
    for _ in range(rng.randint(2, 3)):
        term, sign = rng.randint(1, rng.choice((9, 99))), rng.choice("+-")
        total += term if sign == "+" else -term
        text += f" {sign} {term}"
    return text, str(total)


def _product(rng: Random) -> Fact:
    a, b = rng.randint(0, 12), rng.randint(0, 12)
    return f"{a} * {b}", str(a * b)


def _tens(rng: Random) -> Fact:
    a, b = rng.randint(1, 9) * 10, rng.randint(1, 9) * rng.choice((1, 10))
    return (f"{a} * {b}", str(a * b)) if rng.random() < 0.5 else (f"{b} * {a}", str(a * b))


def _long_product(rng: Random) -> Fact:
    a, b = rng.randint(10, 99), rng.choice((rng.randint(2, 9), rng.randint(10, 99)))
    return (f"{a} * {b}", str(a * b)) if rng.random() < 0.7 else (f"{b} * {a}", str(a * b))


def _quotient(rng: Random) -> Fact:
    a, b = rng.randint(1, 20), rng.randint(1, 20)
    return f"{a * b} / {b}", str(a)


def _remainder(rng: Random) -> Fact:
    a, b = rng.randint(2, 60), rng.randint(2, 60)
    a, b = max(a, b), min(a, b)
    return f"{a}", f"{a // b} * {b} + {a % b}"


KINDS: tuple[tuple[Callable[[Random], Fact], float], ...] = (
    (_sum, 4), (_round_sum, 3), (_difference, 4), (_negative_start, 1), (_chain, 2), (_product, 3), (_tens, 1.5),
    (_long_product, 2.5), (_quotient, 1.5), (_remainder, 1.5),
)  # fmt: skip


def page(rng: Random) -> list[Fact]:
    """A page of independent facts, none of which is a held-out question."""
    kinds, weights = [kind for kind, _ in KINDS], [weight for _, weight in KINDS]
    facts = (kind(rng) for kind in rng.choices(kinds, weights, k=rng.randint(14, 28)))
    return [(asked, result) for asked, result in facts if not is_held_out(asked)]
