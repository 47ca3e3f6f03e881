import json
from dataclasses import asdict

import pytest

from laconic import Engine, Methods, Request
from laconic.bench.cost import Cell, fit
from laconic.bench.cost.hardware import hardware
from laconic.bench.cost.roofline import pass_time
from laconic.bench.simulate import calibration
from laconic.bench.simulate.calibrate import Calibrator, calibrate
from laconic.bench.simulate.costs import Measured, of_file, of_roofline
from laconic.bench.simulate.host import HostCost, Seen
from laconic.bench.simulate.host import fit as fit_host
from laconic.errors import LaconicError, RequestError
from laconic.models.causal_lm import CausalLM
from laconic.speculation.length.uniform import Uniform
from tests import tiny


def seconds(tokens: int, context: int, requests: int) -> float:
    return 0.01 + 0.0005 * tokens + 2e-6 * requests * context + 1e-6 * tokens * context + 1e-4 * (requests - 1)


CELLS = [
    Cell(n * r, c, r, seconds(n * r, c, r)) for n in (1, 2, 4, 8) for r in (1, 4, 16) for c in (32, 256)
]  # fmt: skip


def test_measured_passes_work_on_a_rectangle():
    cost = Measured(fit(CELLS))
    assert cost.seconds([4, 4], [100, 100]) == pytest.approx(seconds(8, 100, 2), rel=1e-3)
    ragged = seconds(5, 0, 2) + (2e-6 * 2 + 1e-6 * 8) * 200
    assert cost.seconds([1, 4], [100, 200]) == pytest.approx(ragged, rel=1e-3)
    assert cost.prefill(512 + 10) == pytest.approx(
        seconds(512, 0, 1) + seconds(10, 512, 1), rel=1e-3
    ), "chunks of 512"  # fmt: skip
    assert cost.prefill(0) == 0


def test_files_of_laconic_cost(tmp_path):
    path = tmp_path / "cost.json"
    model = fit(CELLS)
    path.write_text(json.dumps({"cost": asdict(model) | {"knee": None}}))
    assert of_file(path).model == model
    falling = json.dumps({"cost": asdict(model) | {"base": model.base[::-1]}})
    for text in ("", "{}", '{"cost": {"knots": [1]}}', '{"cost": 3}', falling):
        path.write_text(text)
        with pytest.raises(RequestError, match="no cost model"):
            of_file(path)
    with pytest.raises(RequestError, match="cannot read"):
        of_file(tmp_path / "nowhere")


def test_rooflines():
    cost = of_roofline("h100:bundled")
    there = pass_time(cost.anatomy, hardware("h100"), 6, 150, 2).seconds
    assert cost.seconds([2, 4], [100, 200]) == there
    assert 0 < cost.prefill(100) < cost.prefill(2000)
    for spec in ("h100", "h999:bundled", "h100:/nowhere"):
        with pytest.raises(LaconicError):
            of_roofline(spec)


def test_the_engines_own_work_is_found_again():
    planted = HostCost(2e-4, 3e-5, 1e-6, 5e-6, 4e-5, 2e-5, 7e-6)

    def seen(n: int, k: int, asks: int) -> Seen:
        drafting = planted.drafting(n, k, n * k, n * k * asks)
        return Seen(n, n * (k + 1), k, n * k, n * k * asks, drafting, planted.rest(n, n * (k + 1)))

    grid = [(n, k, asks) for n in (1, 2, 8, 32) for k in (0, 1, 4, 9) for asks in (0, 1)]
    found = fit_host([seen(*each) for each in grid for _ in range(3)], [0.1, 0.2, 9.0])
    for name in ("round", "request", "node", "ask", "draft_pass", "guess", "question"):
        assert getattr(found, name) == pytest.approx(getattr(planted, name), rel=1e-3)
    assert found.join == 0.2
    assert fit_host([]) == HostCost()


@pytest.fixture(scope="module")
def engine() -> Engine:
    model = tiny.model(1)
    return Engine(CausalLM(model), tiny.text(), Methods(drafter="none"), CausalLM(tiny.noisy(model, 0.05)))


@pytest.fixture
def requests() -> list[Request]:
    return [Request(tuple(tiny.text().encode(f"Hello, number {i}!"))) for i in range(3)]


@pytest.mark.parametrize(("length", "asks"), [("svip", True), ("marginal", False)])
def test_questions_are_those_that_the_loop_asks(engine, requests, monkeypatch, length, asks):
    monkeypatch.setattr(Uniform, "length", lambda *_: 2)  # whatever rounds cost here
    found = Calibrator(engine)
    found.sweep(requests, batches=(3,), lengths=(length,), tokens=12)
    second = found.seen[0]
    assert second.requests == 3
    assert second.guesses >= 3
    assert second.questions == (second.guesses if asks else 0)


def test_a_calibration_is_made_and_kept(engine, requests, tmp_path):
    calls = []

    def make():
        calls.append(1)
        return calibrate(engine, requests, batches=(1, 2, 4), lengths=("none", "constant:1", "constant:3"), tokens=6)

    found = calibration.kept(engine, make, folder=tmp_path)
    assert found.target.seconds([1], [20]) > 0
    assert found.draft.seconds([1, 1], [20, 20], later=True) > 0
    assert found.draft.prefill(100) > 0
    assert found.host.round + found.host.request > 0
    assert calibration.kept(engine, make, folder=tmp_path) == found
    assert len(calls) == 1
    (file,) = tmp_path.iterdir()
    file.write_text("{}")
    said = []
    calibration.kept(engine, make, folder=tmp_path, say=said.append)
    assert len(calls) == 2
    assert "cannot be used" in said[0]
    calibration.kept(engine, make, folder=tmp_path, fresh=True)
    assert len(calls) == 3
    with pytest.raises(RequestError):
        calibrate(engine, [])
