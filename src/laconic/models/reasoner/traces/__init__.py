"""Teaching traces: thoughts with the habits of long reasoning, whose final answer is always right."""

from collections.abc import Callable
from random import Random

from ..problems import Problem
from . import divisors, equations, expressions, legs
from .base import Route, Trace

__all__ = ["Route", "Trace", "trace"]

WRITERS: dict[str, Callable[[Problem, Random], Trace]] = {
    "basic_arithmetic": expressions.trace,
    "chain_sum": expressions.trace,
    "products": expressions.trace,
    "gcd": divisors.trace_gcd,
    "lcm": divisors.trace_lcm,
    "simple_equations": equations.trace,
    "leg_counting": legs.trace,
}


def trace(problem: Problem, rng: Random) -> Trace:
    """Write a teaching trace for a problem: steps to be parted by blank lines, and the answer."""
    return WRITERS[problem.kind](problem, rng)
