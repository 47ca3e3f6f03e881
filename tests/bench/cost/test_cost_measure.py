"""Measuring: what is timed, in which order, and that it leaves the model as it was."""

from __future__ import annotations

import pytest

from laconic.bench.cost import fit, measure
from laconic.errors import RequestError
from laconic.models.causal_lm import CausalLM
from tests import tiny
from tests.bench.cost.planted import Planted


def seconds(n: int, c: int, r: int) -> float:
    return 1e-3 + 2e-5 * n + 1e-6 * r * c + 1e-8 * n * c + 1e-4 * (r - 1)


def test_medians_are_the_models_and_the_fit_is_exact() -> None:
    model = Planted(seconds)
    cells = measure(model, clock=model.clock, rounds=(3, 3))
    assert {(c.tokens, c.context, c.requests) for c in cells} == {
        (n, c, r) for n in (1, 2, 4, 8, 16, 32, 64) for c in (32, 256, 1024) for r in (1, 4) if n % r == 0
    }
    for cell in cells:
        assert cell.seconds == pytest.approx(seconds(cell.tokens, cell.context, cell.requests))
        assert cell.spread == pytest.approx(0, abs=1e-9)
        assert cell.count == 3
    assert fit(cells).seconds(10, 77, 2) == pytest.approx(seconds(10, 77, 2))
    assert model.open_slots == 0


def test_one_slow_pass_does_not_move_the_median() -> None:
    model = Planted(lambda n, c, r: 1.0 if len(model.log) % 7 == 3 else seconds(n, c, r))
    cells = measure(model, tokens=(1, 4), contexts=(32,), requests=(1,), clock=model.clock, rounds=(25, 25))
    assert [cell.seconds for cell in cells] == pytest.approx([seconds(1, 32, 1), seconds(4, 32, 1)])


def test_kinds_of_pass_take_turns() -> None:
    model = Planted(seconds)
    measure(model, tokens=(1, 2, 4), contexts=(8,), requests=(1,), clock=model.clock, rounds=(3, 3))
    warm, *rounds = [model.log[i : i + 3] for i in range(0, 12, 3)]
    assert all(sorted(kinds) == sorted(warm) for kinds in rounds)
    assert len({tuple(kinds) for kinds in rounds}) == 3, "each round begins elsewhere"


def test_what_exceeds_the_context_is_left_out() -> None:
    model = Planted(seconds, context=64)
    cells = measure(model, clock=model.clock, rounds=(1, 1))
    assert {cell.context for cell in cells} == {32}
    assert max(cell.tokens for cell in cells if cell.requests == 1) == 32
    with pytest.raises(RequestError, match="context of 16"):
        measure(Planted(seconds, context=16))
    with pytest.raises(RequestError, match="at least one token"):
        measure(model, tokens=(0,))


def test_slots_are_closed_when_a_pass_fails() -> None:
    def broken(n: int, c: int, r: int) -> float:
        raise ZeroDivisionError

    model = Planted(broken)
    with pytest.raises(ZeroDivisionError):
        measure(model)
    assert model.open_slots == 0


def test_a_real_model_is_left_as_it_was() -> None:
    lm = CausalLM(tiny.model())
    cells = measure(lm, tokens=(1, 4), contexts=(8, 40), requests=(1, 2), rounds=(2, 2))
    assert all(cell.seconds > 0 for cell in cells)
    assert len(cells) == 6
    assert not lm.slots
    assert fit(cells).seconds(4, 20) > 0
