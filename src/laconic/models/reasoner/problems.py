"""The task kinds of the bundled reasoner: `reasoning-gym` generators, its verifiers, and a hold-out by content."""

import ast
import hashlib
import math
import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

Entry = dict[str, Any]

HELD_OUT_SHARE = 8  # one question in eight, by hash, is never trained on


@dataclass(frozen=True)
class Kind:
    """One task kind: a `reasoning-gym` data set, its settings, and how its entries are chosen and graded.

    `keep` drops entries outside the range that the models are made for, `level` grades the others from 1 (easy) to
    3 (hard) by what can be seen in the numbers, and `key` is the content of a question, without its wording.
    """

    dataset: str
    config: dict[str, Any]
    keep: Callable[[Entry], bool]
    level: Callable[[Entry], int]
    key: Callable[[Entry], str]


@dataclass(frozen=True)
class Problem:
    """A question, its right answer, and the `reasoning-gym` entry that judges answers."""

    kind: str
    question: str
    answer: str
    difficulty: int
    held_out: bool
    entry: Entry = field(repr=False, compare=False)


def _expression(entry: Entry) -> str:
    return str(entry["metadata"]["expression"])


def _numbers(entry: Entry) -> list[int]:
    return [int(number) for number in entry["metadata"]["numbers"]]


def _products(expression: str) -> list[tuple[int, int]]:
    """The two sides, by absolute value, of every multiplication in an expression."""
    pairs = []
    for node in ast.walk(ast.parse(expression.strip(), mode="eval")):
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
            left, right = (abs(int(eval(ast.unparse(side)))) for side in (node.left, node.right))
            pairs.append((min(left, right), max(left, right)))
    return pairs


def _keep_expression(entry: Entry) -> bool:
    expression = _expression(entry)
    if re.search(r"(^|[^\d )] *)-|\(\s*\d+\s*\)", expression):  # a negative literal, or brackets round one number
        return False
    return all(small < 100 and large < 1000 and small * large < 5000 for small, large in _products(expression))


def _level_expression(entry: Entry) -> int:
    pairs = _products(_expression(entry))
    terms = len(re.findall(r"\d+", _expression(entry)))
    if any(small > 12 and small % 10 and large % 10 for small, large in pairs):
        return 3
    return 1 if (int(entry["metadata"]["num_digits"]) == 1 and terms < 3) or (not pairs and terms < 3) else 2


def _work(entry: Entry) -> int:
    """How many digits a sum adds or takes away."""
    return (int(entry["metadata"]["num_terms"]) - 1) * int(entry["metadata"]["num_digits"])


def _level_sum(entry: Entry) -> int:
    return 1 if _work(entry) <= 2 else 2 if _work(entry) <= 4 else 3


def _level_gcd(entry: Entry) -> int:
    rest = [without_small_primes(number) for number in _numbers(entry)]
    return 1 if min(_numbers(entry)) <= 12 else 3 if min(rest) >= 7 else 2


def without_small_primes(number: int) -> int:
    """What is left of a number when all its factors 2, 3 and 5 are taken out."""
    for prime in (2, 3, 5):
        while number % prime == 0:
            number //= prime
    return number


def _level_lcm(entry: Entry) -> int:
    small, large = sorted(_numbers(entry))
    result = math.lcm(small, large)
    return 1 if result <= 60 else 3 if result // large > 10 and large > 12 else 2


_EQUATION = re.compile(r"^(?:(-?\d+) ([+-]) )?(-?\d*)\*?[a-z](?: ([+-]) (\d+))? = (-?\d+)$")


def linear(entry: Entry) -> tuple[int, int, int] | None:
    """`a, b, c` of an equation `a*x + b = c`; None where it has another form."""
    found = _EQUATION.match(entry["metadata"]["equation"])
    if found is None:
        return None
    front, sign, factor, back_sign, back, right = found.groups()
    a = int(factor) if factor not in ("", "-") else int(factor + "1")
    if sign == "-":
        a = -a
    b = int(front) if front else int((back_sign or "+") + (back or "0"))
    return a, b, int(right)


def _keep_equation(entry: Entry) -> bool:
    parts = linear(entry)
    return parts is not None and 0 < abs(parts[0]) <= 20 and abs(parts[1]) <= 60


def _level_equation(entry: Entry) -> int:
    a, b, _ = linear(entry) or (0, 0, 0)
    return 1 if abs(a) == 1 or (b == 0 and abs(a) <= 10) else 3 if abs(a) > 10 else 2


def _key_equation(entry: Entry) -> str:
    return re.sub("[a-z]", "x", entry["metadata"]["equation"])


def _level_legs(entry: Entry) -> int:
    total = int(entry["answer"])
    return 1 if total <= 40 else 2 if total <= 80 else 3


def _key_animals(entry: Entry) -> str:
    return ",".join(f"{count} {name}" for name, count in sorted(entry["metadata"]["animals"].items()))


KINDS: dict[str, Kind] = {
    "basic_arithmetic": Kind(
        "basic_arithmetic",
        {
            "min_terms": 2, "max_terms": 3, "min_digits": 1, "max_digits": 2, "operators": ("+", "-", "*"),
            "allow_negation": False, "format_style": "natural",
        },
        _keep_expression, _level_expression, _expression,
    ),
    "chain_sum": Kind(
        "chain_sum", {"min_terms": 2, "max_terms": 4, "min_digits": 1, "max_digits": 3},
        lambda entry: _work(entry) <= 6, _level_sum, _expression,
    ),
    "products": Kind(
        "products", {"min_terms": 2, "max_terms": 3, "min_digits": 1, "max_digits": 2},
        _keep_expression, _level_expression, _expression,
    ),
    "gcd": Kind(
        "gcd", {"min_value": 2, "max_value": 60},
        # most pairs have no common factor: a third of those is enough
        lambda entry: int(entry["answer"]) > 1 or sum(_numbers(entry)) % 3 == 0,
        _level_gcd, lambda entry: f"gcd {sorted(_numbers(entry))}",
    ),
    "lcm": Kind(
        "lcm", {"min_value": 2, "max_value": 48},
        lambda entry: int(entry["answer"]) < 400, _level_lcm, lambda entry: f"lcm {sorted(_numbers(entry))}",
    ),
    "simple_equations": Kind(
        "simple_equations", {"min_terms": 2, "max_terms": 3, "min_value": 1, "max_value": 20},
        _keep_equation, _level_equation, _key_equation,
    ),
    "leg_counting": Kind(
        "leg_counting", {"min_animals": 2, "max_animals": 3, "min_instances": 1, "max_instances": 10},
        lambda entry: True, _level_legs, _key_animals,
    ),
}  # fmt: skip


def is_held_out(content: str) -> bool:
    """Whether a question of this content is kept for evaluation: a stable hash, the same in every process."""
    return int.from_bytes(hashlib.sha256(content.encode()).digest()[:8]) % HELD_OUT_SHARE == 0


def _dataset(name: str, config: dict[str, Any], seed: int) -> Any:
    try:
        import reasoning_gym
    except ImportError as error:
        raise ImportError("the bundled problems come from reasoning-gym: pip install reasoning-gym") from error
    return reasoning_gym.create_dataset(name, size=2**30, seed=seed, **config)


def stream(kind: str, seed: int, held_out: bool | None = None) -> Iterator[Problem]:
    """Endless problems of one kind: the held-out ones, the others, or (None) both."""
    if kind not in KINDS:
        raise ValueError(f"unknown task kind {kind!r}; known: {', '.join(KINDS)}")
    rule = KINDS[kind]
    data = _dataset(rule.dataset, rule.config, random.Random(f"{kind} {seed}").randrange(2**30))
    for index in range(2**30):
        entry = data[index]
        if not rule.keep(entry):
            continue
        kept_back = is_held_out(rule.key(entry))
        if held_out is None or kept_back == held_out:
            yield Problem(kind, entry["question"], entry["answer"], rule.level(entry), kept_back, entry)


def problems(kind: str, n: int, seed: int, held_out: bool = True) -> list[Problem]:
    """`n` problems of a kind, all different, from the held-out share or from the share that training may see."""
    found: dict[str, Problem] = {}
    for drawn, problem in enumerate(stream(kind, seed, held_out)):
        found.setdefault(problem.question, problem)
        if len(found) == n:
            break
        if drawn > 1000 + 50 * n:
            raise ValueError(f"there are not {n} different problems of kind {kind!r}: {len(found)} were found")
    return list(found.values())[:n]


def score(problem: Problem, answer: str) -> bool:
    """Whether an answer is right, by `reasoning-gym`'s own verifier."""
    rule = KINDS[problem.kind]
    return bool(_dataset(rule.dataset, rule.config, 0).score_answer(answer, problem.entry) == 1.0)
