"""A sum as named steps, and three ways to go through them: forwards, by another route, and back from the result."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import dataclass, replace

_SIGNS: dict[type[ast.operator], str] = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*"}
_UNDO = {"+": "-", "-": "+", "*": "/", "/": "*"}


@dataclass(frozen=True, slots=True)
class Step:
    """``left sign right``, with whole numbers, and what the result is called; the name may be empty."""

    name: str
    left: int
    sign: str
    right: int

    @property
    def value(self) -> int:
        """The result; a division leaves no rest."""
        match self.sign:
            case "+":
                return self.left + self.right
            case "-":
                return self.left - self.right
            case "*":
                return self.left * self.right
        return self.left // self.right


Sum = tuple[Step, ...]


def parsed(expression: str) -> Sum:
    """The steps of an expression of ``+``, ``-`` and ``*``, in the order in which they are worked out."""
    steps: list[Step] = []

    def value(node: ast.expr) -> int:
        if isinstance(node, ast.BinOp):
            step = Step("", value(node.left), _SIGNS[type(node.op)], value(node.right))
            steps.append(step)
            return step.value
        return int(ast.unparse(node))

    value(ast.parse(expression.strip(), mode="eval").body)
    return tuple(steps)


def small(steps: Sum) -> bool:
    """Whether the numbers are in the model's range: products up to 36 of factors up to 10, other results up to 45."""
    return all(
        0 <= step.value <= (36 if step.sign == "*" else 45) and (step.sign != "*" or max(step.left, step.right) <= 10)
        for step in steps
    )


def forwards(steps: Sum, values: Sequence[int]) -> str:
    """Step by step, with ``values`` for the results, right or not."""
    return " ".join(
        f"{_named(step)}{step.left}{step.sign}{step.right}={value}." for step, value in _taken(steps, values)
    )


def other_route(steps: Sum) -> str:
    """Every step from its other side, without its name: numbers swapped, or how far or how often one goes into it."""
    return " ".join(f"{turned(step)}." for step in steps)


def backwards(steps: Sum) -> str:
    """From the result back: each step undone, along the left-hand numbers, as far as it can be."""
    undone, at = [], len(steps) - 1
    while at >= 0:
        step = steps[at]
        if step.sign == "*" and step.right == 0:
            break
        undone.append(f"{step.value}{_UNDO[step.sign]}{step.right}={step.left}")
        at = next((k for k in range(at - 1, -1, -1) if steps[k].value == step.left), -1)
    return ", ".join(undone)


def _taken(steps: Sum, values: Sequence[int]) -> list[tuple[Step, int]]:
    """The steps as they read when each has one of ``values`` for its result: later steps use what earlier ones gave."""
    became: dict[int, int] = {}
    read: list[tuple[Step, int]] = []
    for meant, value in zip(steps, values, strict=True):
        step = meant
        if step.left in became:
            step = replace(step, left=became[step.left])
        elif step.right in became:
            step = replace(step, right=became[step.right])
        read.append((step, value))
        if value != meant.value:
            became[meant.value] = value
    return read


def slipped(steps: Sum, at: int, wrong: int) -> tuple[int, ...]:
    """The results where step ``at`` gives ``wrong`` and later ones follow from it; -1 for what is no whole number."""
    values: list[int] = []
    for k in range(len(steps)):
        step = _taken(steps[: k + 1], (*values, steps[k].value))[-1][0]
        if k == at:
            values.append(wrong)
        else:
            values.append(-1 if step.sign == "/" and step.left % step.right else step.value)
    return tuple(values)


def _named(step: Step) -> str:
    return f"{step.name}: " if step.name else ""


def turned(step: Step) -> str:
    """A step from its other side; the result stands at the end, or before the last word."""
    match step.sign:
        case "-":
            return f"from {step.right} up to {step.left} is {step.value}"
        case "/":
            return f"{step.right} goes into {step.left} {step.value} times"
    return f"{step.right}{step.sign}{step.left}={step.value}"
