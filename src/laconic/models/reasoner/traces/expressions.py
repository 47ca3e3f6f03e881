"""Traces for expressions of +, -, * and brackets: `basic_arithmetic`, `chain_sum` and `products`."""

import ast
from collections.abc import Callable
from random import Random

from ..problems import Problem
from .arithmetic import add, multiply, multiply_near, multiply_partials, slip, subtract
from .base import Check, Route, Trace, tell

OPEN = (
    "Okay, I need to work out {e}.", "Let me compute {e}.", "I have to find {e}.", "The problem is {e}.",
    "Let me think about {e}.",
)  # fmt: skip
Term = tuple[int, tuple[int, ...]]  # a sign, and the factors
Multiply = Callable[[int, int], list[str]]


def trace(problem: Problem, rng: Random) -> Trace:
    """A teaching trace for an arithmetic expression."""
    text = str(problem.entry["metadata"]["expression"])
    text = text.replace("( ", "(").replace(" )", ")")
    node = ast.parse(text, mode="eval").body
    terms = expand(node)
    sums = all(len(factors) == 1 for _, factors in terms)
    checks: list[Check] = [lambda rng, _: by_signs(terms, rng)]
    proofs: list[Check] = []
    small = len(terms) == 1 and max(terms[0][1]) < 10
    if sums and len(terms) > 1:
        signed = [sign * factors[0] for sign, factors in terms]
        if max(map(abs, signed)) >= 10:
            checks += [lambda rng, _: in_order(signed), lambda rng, _: by_columns(signed)]
        else:
            checks += [lambda rng, _: by_counting(signed)]
        proofs += [lambda rng, value: undo(signed, value)]
    elif small:
        checks = [lambda rng, _: from_the_back(terms[0][1]), lambda rng, _: by_adding(terms[0][1])]
        proofs += [lambda rng, value: last_digit(terms[0][1], value)]
    else:
        checks += [lambda rng, _: by_tables(terms, rng), lambda rng, _: by_round_numbers(terms, rng)]
        if len(terms) == 1 and terms[0][0] > 0:
            proofs += [lambda rng, value: last_digit(terms[0][1], value)]
    return tell(
        rng, problem, rng.choice(OPEN).format(e=text), lambda rng, wrong: quick(node, rng, wrong), checks, proofs
    )


def expand(node: ast.expr, sign: int = 1) -> list[Term]:
    """The expression without brackets, as a sum of signed products."""
    if isinstance(node, ast.Constant):
        return [(sign, (int(str(node.value)),))]
    assert isinstance(node, ast.BinOp)
    if isinstance(node.op, ast.Mult):
        return [
            (sign * one * other, left + right) for one, left in expand(node.left) for other, right in expand(node.right)
        ]
    return expand(node.left, sign) + expand(node.right, sign if isinstance(node.op, ast.Add) else -sign)


def quick(node: ast.expr, rng: Random, wrong: bool) -> Route:
    """In the order of evaluation, each step in one go; sums of single numbers two steps at a time."""
    steps: list[tuple[str, int]] = []
    slipping = _count(node) - 1 if wrong else -1

    def value_of(node: ast.expr) -> int:
        if isinstance(node, ast.Constant):
            return int(str(node.value))
        assert isinstance(node, ast.BinOp)
        first, middle = node.left, 0
        paired = _adds_number(node) and _adds_number(first)
        if paired:
            assert isinstance(first, ast.BinOp)
            middle = value_of(first.right) * (1 if isinstance(first.op, ast.Add) else -1)
            first = first.left
        left, right = value_of(first), value_of(node.right)
        mark = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*"}[type(node.op)]
        start = left + middle
        result = {"+": start + right, "-": start - right, "*": start * right}[mark]
        if len(steps) == slipping:
            result = slip(rng, result)
        between = f" {'-' if middle < 0 else '+'} {abs(middle)}" if paired else ""
        text = f"{left}{between} {mark} {_bracket(right)} = {result}"
        tens = left * (right // 10 * 10)
        if mark == "*" and min(left, right) > 10 and right % 10 and result >= tens:
            text = f"{left} * {right} = {tens} + {result - tens} = {result}"
        steps.append((text, result))
        return result

    value = value_of(node)
    if wrong and eval(ast.unparse(node)) == value:  # the steps were fewer than the operations: slip in the last one
        text, _ = steps[-1]
        value = slip(rng, value)
        steps[-1] = (f"{text.rsplit(' ', 1)[0]} {value}", value)
    texts = [text for text, _ in steps]
    if len(texts) == 1:
        return Route((f"{texts[0]}.",), value)
    return Route((f"First {texts[0]}.", *(f"Then {text}." for text in texts[1:])), value)


def by_counting(signed: list[int]) -> Route:
    """Small numbers counted up or down one by one."""
    total, lines = signed[0], []
    for number in signed[1:]:
        step = 1 if number >= 0 else -1
        path = [str(total + step * one) for one in range(abs(number) + 1)]
        lines.append(f"Count {'up' if number >= 0 else 'down'}: {', '.join(path)}." if number else f"{total} stays.")
        total += number
    return Route(tuple(lines), total)


def from_the_back(factors: tuple[int, ...]) -> Route:
    """A small product, last factor first."""
    total, steps = factors[-1], []
    for factor in factors[-2::-1]:
        steps.append(f"{total} * {factor} = {total * factor}")
        total *= factor
    return Route((f"From the back: {', '.join(steps)}.",), total)


def by_adding(factors: tuple[int, ...]) -> Route:
    """A small product as repeated addition."""
    total, lines = factors[0], []
    for factor in factors[1:]:
        path = [str(total * times) for times in range(1, factor + 1)] or ["0"]
        lines.append(f"{factor} times {total}: {', '.join(path)}.")
        total *= factor
    return Route(tuple(lines), total)


def by_signs(terms: list[Term], rng: Random, times: Multiply = multiply) -> Route:
    """Brackets opened; products worked out by `times`; what is added and what is taken away summed up apart."""
    lines, amounts = [], []
    for sign, factors in terms:
        amount = factors[0]
        for factor in factors[1:]:
            one, other = (amount, factor) if amount >= factor else (factor, amount)
            lines += [" ".join(times(one, other))]
            amount *= factor
        amounts.append(sign * amount)
    plus, minus = [a for a in amounts if a >= 0], [-a for a in amounts if a < 0]
    if len(amounts) == 1:
        return Route(tuple(lines), amounts[0])
    if minus:
        lines.append(
            f"Added: {_sum_up(plus)}. Taken away: {_sum_up(minus)}." if plus else f"All taken away: {_sum_up(minus)}."
        )
        lines.append(f"And {subtract(sum(plus), sum(minus))}.")
    else:
        lines.append(f"From the back: {_sum_up(plus[::-1])}.")
    return Route(tuple(lines), sum(amounts))


def by_tables(terms: list[Term], rng: Random) -> Route:
    """As `by_signs`, but each product from the table of partial products."""
    return by_signs(terms, rng, multiply_partials)


def by_round_numbers(terms: list[Term], rng: Random) -> Route:
    """As `by_signs`, but each product from a round number near one side."""
    return by_signs(terms, rng, lambda left, right: multiply_near(right, left))


def in_order(signed: list[int]) -> Route:
    """Left to right, each number place by place."""
    total, lines = signed[0], []
    for number in signed[1:]:
        below = total < 0
        if number >= 0:
            step = subtract(number, -total) if below else add(total, number)
        else:
            step = f"{add(-total, -number)}, so {total + number}" if below else subtract(total, -number)
        lines.append(f"{step}.")
        total += number
    return Route(tuple(lines), total)


def by_columns(signed: list[int]) -> Route:
    """Hundreds, tens and ones apart, then put together."""
    lines, columns = [], []
    for unit, name in ((100, "Hundreds"), (10, "Tens"), (1, "Ones")):
        digits = [(abs(number) // unit % 10) * (1 if number >= 0 else -1) for number in signed]
        if unit > max(map(abs, signed)):
            continue
        shown = str(digits[0]) if digits[0] >= 0 else f"0 - {-digits[0]}"
        for number, digit in zip(signed[1:], digits[1:], strict=True):
            shown += f" + {digit}" if number >= 0 else f" - {-digit}"
        lines.append(f"{name}: {shown} = {sum(digits)}.")
        columns.append(sum(digits) * unit)
    plus, minus = sum(c for c in columns if c > 0), -sum(c for c in columns if c < 0)
    shown = " ".join(f"{'-' if c < 0 else '+'} {abs(c)}" for c in columns).removeprefix("+ ")
    lines.append(f"So {shown}: {subtract(plus, minus) if minus else _sum_up([c for c in columns if c] or [0])}.")
    return Route(tuple(lines), sum(signed))


def undo(signed: list[int], value: int) -> Route:
    """From the result back to the first number."""
    total, steps = value, []
    for number in signed[:0:-1]:
        steps.append(f"{total} {'-' if number >= 0 else '+'} {abs(number)} = {total - number}")
        total -= number
    ok = total == signed[0]
    return Route(
        (f"Backwards: {', '.join(steps)}, and that is {'' if ok else 'not '}the {signed[0]} of the start.",),
        value if ok else None,
    )


def last_digit(factors: tuple[int, ...], value: int) -> Route:
    """The last digit of a product follows from the last digits."""
    digit, steps = factors[0] % 10, []
    for factor in factors[1:]:
        steps.append(f"{digit} * {factor % 10} = {digit * (factor % 10)}")
        digit = digit * (factor % 10) % 10
    ok = value % 10 == digit
    verdict = f"it must end in {digit}, and {value} {'does' if ok else 'does not'}"
    return Route((f"The last digits: {', '.join(steps)}, so {verdict}.",), value if ok else None)


def _sum_up(numbers: list[int]) -> str:
    if len(numbers) == 1:
        return str(numbers[0])
    total, steps = numbers[0], []
    for number in numbers[1:]:
        steps.append(add(total, number))
        total += number
    return ", ".join(steps)


def _bracket(number: int) -> str:
    return f"({number})" if number < 0 else str(number)


def _adds_number(node: ast.expr) -> bool:
    """Whether a node adds or takes away one single number."""
    return isinstance(node, ast.BinOp) and not isinstance(node.op, ast.Mult) and isinstance(node.right, ast.Constant)


def _count(node: ast.expr) -> int:
    return len(expand(node)) - 1 or 1
