"""What an operator sees: metrics, status, and what ending thoughts early costs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from laconic import Result, Usage
from laconic.serve.audit import Audit
from laconic.serve.job import Seen
from laconic.serve.settings import Settings
from tests.serve.live import Live, bundled, offline, ok, own, serving, until

ASKED: dict[str, Any] = {"max_tokens": 300}
THINK = ("settled:0.05",)


@pytest.fixture(scope="module")
def acting() -> Iterator[Live]:
    with serving(own(bundled().using(think=THINK)), Settings(name='a "model"')) as made:
        yield made


def metrics(live: Live) -> dict[str, float]:
    """Values by name and labels, the model's name aside."""
    page = live.http.get("/metrics")
    assert page.headers["content-type"].startswith("text/plain; version=0.0.4")
    found = {}
    for line in page.text.splitlines():
        if not line.startswith("#"):
            name, value = line.rsplit(" ", 1)
            found[re.sub(r'model_name="a \\"model\\"",?', "", name).replace(",}", "}").replace("{}", "")] = float(value)
    return found


def test_metrics_are_the_sums_of_what_was_replied(acting: Live) -> None:
    before = metrics(acting)
    said = [acting.chat(ASKED), acting.chat(ASKED | {"n": 2, "temperature": 0.9, "seed": 3})]
    acting.error(ASKED | {"messages": []}, 400)
    until(acting.idle)
    after = metrics(acting)
    more = {name: value - before.get(name, 0.0) for name, value in after.items()}
    usages = [choice["laconic"]["usage"] for one in said for choice in one["choices"]]
    ends = [choice["finish_reason"] for one in said for choice in one["choices"]]
    assert more['vllm:request_success_total{finished_reason="stop"}'] == ends.count("stop") == 3
    assert more["vllm:generation_tokens_total"] == sum(one["usage"]["completion_tokens"] for one in said)
    assert more["vllm:prompt_tokens_total"] == 3 * said[0]["usage"]["prompt_tokens"]
    for kind in ("thinking", "answer", "injected"):
        assert more[f'laconic:tokens_total{{kind="{kind}"}}'] == sum(used[kind] for used in usages)
    assert more["laconic:conclusions_total" + '{method="settled"}'] >= 1
    assert more["laconic:empty_answers_total"] == 0
    assert more["vllm:time_to_first_token_seconds_count"] == more["vllm:e2e_request_latency_seconds_count"] == 3
    assert more["vllm:spec_decode_num_draft_tokens_total"] >= sum(used["drafted"] for used in usages)
    first, whole = (more[f"vllm:{name}_seconds_sum"] for name in ("time_to_first_token", "e2e_request_latency"))
    assert first < 0.7 * whole  # though nobody was told before the end
    assert more["laconic:passes_total"] > 0
    assert after["vllm:num_requests_running"] == after["vllm:num_requests_waiting"] == 0
    assert 0 <= after["vllm:kv_cache_usage_perc"] <= 1


def test_clients_make_up_no_labels(acting: Live) -> None:
    for think in ("budget:20", "answer-agreement:1"):
        acting.chat(ASKED | {"laconic": {"think": think}})
    labels = [name for name in metrics(acting) if name.startswith("laconic:conclusions_total")]
    assert all(re.search(r'method="(settled|loop|client|budget|effort|other)"', name) for name in labels)
    assert any('method="other"' in name for name in labels)


def test_status_and_methods(acting: Live) -> None:
    acting.chat(ASKED)
    status = ok(acting.http.get("/v1/laconic/status"))
    assert status["think"] == ["settled:price=0.05"]
    assert status["server"]["backend"] == "own"
    assert status["audit"]["mode"] == "acting"
    assert len(status["pulse"]["recent"]) > 1
    names = {method["name"] for method in acting.http.get("/v1/laconic/methods").json()}
    assert {"settled", "budget", "loop-break"} <= names


def test_a_shadow_decides_and_does_nothing() -> None:
    engine = bundled().using(think=THINK)
    with serving(own(engine), Settings(shadow=True)) as live:
        choice = live.chat(ASKED)["choices"][0]
        free = offline(ASKED | {"laconic": {"think": "none"}})
        assert (choice["message"]["content"], choice["message"]["reasoning"]) == (free.answer, free.thinking)
        acted = offline(ASKED, engine)
        seen = choice["laconic"]["shadow"]
        assert seen["tokens"] == acted.usage.thinking < free.usage.thinking
        assert seen["answer"] in acted.answer
        named = live.chat(ASKED | {"laconic": {"think": "budget:20"}})["choices"][0]
        assert "shadow" not in named["laconic"]  # what a client asks for itself is done
        assert named["laconic"]["usage"]["thinking"] <= 20
        audit = ok(live.http.get("/v1/laconic/status"))["audit"]
        assert (audit["mode"], audit["watched"], audit["ended"], audit["compared"]) == ("shadow", 1, 1, 1)
        assert audit["changed"] == (0 if seen["answer"] in free.answer else 1)
        assert 0 < audit["saved"] < 1


def result(answer: str, thinking: int = 100) -> Result:
    return Result("", "", f"The answer is \\boxed{{{answer}}}.", (1,), "stop", Usage(thinking=thinking))


def test_the_server_stops_ending_thoughts_that_it_should_not() -> None:
    audit = Audit(share=0.0, harm=0.05)
    assert not any(audit.watches() for _ in range(20))
    for _ in range(29):
        assert audit.heard(Seen(40, "enough", "8"), result("7"))
    assert not audit.stopped  # too few to tell
    assert audit.heard(Seen(40, "enough", "8"), result("7"))
    assert audit.stopped
    assert audit.watches()
    assert audit.describe()["mode"] == "stopped"
    assert audit.interval[0] > 0.05
    for _ in range(2000):
        assert audit.heard(Seen(40, "enough", "7.0"), result("7")) is False
    assert not audit.stopped
    assert not audit.watches()
    assert audit.saved == pytest.approx(0.6)


def test_what_cannot_be_compared_is_not_counted() -> None:
    audit = Audit(share=1.0)
    assert audit.watches()
    assert audit.heard(None, result("7")) is None
    assert audit.heard(Seen(40, "enough", ""), result("7")) is None
    cut = Result("", "", "", (1,), "length", Usage(thinking=9))
    assert audit.heard(Seen(4, "enough", "7"), cut) is None
    assert (audit.watched, audit.ended, audit.compared, audit.changed) == (2, 1, 0, 0)


def test_an_audited_server_that_harms_goes_over_to_watching(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(own(bundled().using(think=THINK)), Settings(audit=0.0, harm=0.05)) as live:
        assert "shadow" not in live.chat(ASKED)["choices"][0]["laconic"]
        live.state.audit.stopped = True
        choice = live.chat(ASKED)["choices"][0]
        assert choice["laconic"]["shadow"]["tokens"] > 0
        assert choice["message"]["content"] == offline(ASKED | {"laconic": {"think": "none"}}).answer
