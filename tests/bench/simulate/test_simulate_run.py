import json
import statistics
from itertools import count

import pytest

from laconic.bench.simulate.arrivals import Load, loads
from laconic.bench.simulate.costs import Line
from laconic.bench.simulate.jobs import Job
from laconic.bench.simulate.outcome import PHASES, quantiles, summary
from laconic.bench.simulate.page import render
from laconic.bench.simulate.recording import Recording
from laconic.bench.simulate.run import Setup, policy, simulate
from laconic.bench.simulate.server import Server
from laconic.bench.simulate.wording import about, seconds
from laconic.errors import MethodError, RequestError, UnmetNeed
from tests.bench.pages import whole
from tests.bench.simulate.by_hand import script

RECORDING = Recording((script("1101" * 5), script("1110" * 4), script("1" * 12)), {"model": "m"})
SETUP = Setup(
    tuple(loads("closed:1,4")),
    Line(1.0, 0.02),
    Line(0.1, 0.005),
    ("none", "constant:3", "marginal"),
    requests=24,
    slo=80.0,
)


def test_a_summary_by_hand():
    job = Job(script("11011", prompt=70))
    history = Server(Line(1.0, 0.1), Line(0.2), policy("constant:2")).run([job, Job(script("0", prompt=2), 100.0)])
    found = summary(history, slo=5.0)
    first = 7.9 + 0.4 + 0.2 + 1.3  # prefills of target and draft model, two draft passes, three nodes
    assert found["latency"]["p95"] == pytest.approx(first + 1.7)
    assert found["first_token"]["p95"] == pytest.approx(first)
    assert found["time_per_token"]["p50"] == pytest.approx(1.7 / 4)
    # The last request comes at 100: its only token is a refused draft's correction.
    last = 0.4 + 1 + 0.1 * 4
    assert found["seconds"] == pytest.approx(100 + last)
    assert found["tokens"] == 6
    assert found["goodput"] == pytest.approx(6 / (100 + last))
    assert found["within"] == pytest.approx(1 / (100 + last))
    assert found["within_share"] == 0.5
    assert found["phases"]["idle"] == pytest.approx(100 - first - 1.7)
    assert sum(found["phases"].values()) == pytest.approx(found["seconds"])
    assert set(found["phases"]) == set(PHASES)
    assert (found["passes"], found["prefills"], found["draft_passes"]) == (3, 1, 6)
    assert (found["drafted"], found["accepted"]) == (6, 4)
    assert found["nodes_per_pass"] == 3
    assert found["tokens_per_request_pass"] == 2
    slices = found["over_time"]
    assert sum(each["goodput"] for each in slices) * found["seconds"] / len(slices) == pytest.approx(6)


def test_quantiles():
    assert quantiles(range(1, 101)) == {"mean": 50.5, "p50": 50, "p95": 95, "p99": 99}
    assert quantiles([3.0])["p99"] == 3.0
    assert quantiles([]) is None


def test_all_policies_serve_the_same_and_the_record_tells():
    record = simulate(RECORDING, SETUP, about={"cost": "line", "draft_cost": "line"})
    assert json.loads(json.dumps(record)) == record
    assert [point["load"] for point in record["loads"]] == ["closed:1", "closed:4"]
    for point in record["loads"]:
        runs = point["policies"]
        assert len({run["tokens"] for run in runs.values()}) == 1
        assert runs["constant:3"]["goodput"] > 1.3 * runs["none"]["goodput"]
        assert runs["none"]["tokens_per_request_pass"] == 1
    one, four = (point["policies"]["none"]["goodput"] for point in record["loads"])
    assert four > 2.5 * one
    said = " ".join(about(record))
    assert "closed:4: most tokens a second with" in said
    page = whole(render(record))
    assert page.tags.count("svg") == 4
    text = " ".join(page.text)
    for words in ("closed:4", "constant:3", "marginal", "How to reproduce", "first (95 %)"):
        assert words in text


def test_a_trace_has_a_page_too(tmp_path):
    path = tmp_path / "t.jsonl"
    lines = [{"timestamp": 3000 * i, "input_length": 9 + i, "output_length": 3 + i % 7} for i in range(30)]
    path.write_text("\n".join(map(json.dumps, lines)) + "\nbroken\n")
    setup = Setup(tuple(loads(str(path))), SETUP.target, SETUP.draft, ("none", "constant:2"))
    record = simulate(RECORDING, setup, about={"cost": "line", "draft_cost": "line"})
    run = record["loads"][0]["policies"]["constant:2"]
    assert (run["requests"], run["tokens"]) == (30, sum(line["output_length"] for line in lines))
    assert "LEFT OUT of the trace 1: line 31: not JSON" in about(record)
    assert whole(render(record)).tags.count("svg") == 2


def test_poisson_waits_grow_with_the_rate():
    waits = []
    for rate in (0.01, 0.2):
        work = [Job(script("0" * 8), at) for at in Load("poisson", rate).times(60, 3)]
        history = Server(Line(1.0)).run(work)
        waits.append(statistics.fmean(served.finished - served.arrived for served in history.served))
    assert waits[0] < waits[1]


def test_interrupted_runs_keep_whole_loads():
    calls = count()

    def stop(load, policy):
        if next(calls) == 3:
            raise KeyboardInterrupt

    record = simulate(RECORDING, SETUP, after=stop, about={"cost": "line", "draft_cost": "line"})
    assert record["interrupted"]
    assert [point["load"] for point in record["loads"]] == ["closed:1"]
    assert any("interrupted" in said for said in about(record))

    def at_once(load, policy):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        simulate(RECORDING, SETUP, after=at_once)


def test_what_is_refused():
    with pytest.raises(MethodError):
        simulate(RECORDING, Setup(SETUP.loads, SETUP.target, SETUP.draft, ("constnt:3",)))
    with pytest.raises(UnmetNeed, match="hidden states"):
        simulate(RECORDING, Setup(SETUP.loads, SETUP.target, SETUP.draft, ("specdec++:head=anywhere",)))
    with pytest.raises(RequestError):
        simulate(RECORDING, Setup((), SETUP.target, SETUP.draft))


def test_times_in_words():
    assert [seconds(x) for x in (0.00234, 0.0234, 0.99, 1.5, 240)] == ["2.3ms", "23ms", "990ms", "1.5s", "240s"]
