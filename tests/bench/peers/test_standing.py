"""Who is compared with whom, and by what; and the page that says so."""

from __future__ import annotations

import json

import pytest

from laconic.bench.measure import Trial
from laconic.bench.peers.page import cells, in_words, render
from laconic.bench.peers.standing import standing
from laconic.bench.peers.together import OURS, PEERS, Meeting
from tests.bench import pages, scripted

SECONDS = {"baseline": 4.0, "speculation": 1.0, "laconic": 0.5, "transformers": 8.0, "vllm": 5.0, "vllm-suffix": 2.0,
           "llama.cpp": 6.0, "transformers-assisted": 3.0}  # fmt: skip


def trials(n: int = 5) -> list[Trial]:
    made = []
    for at, item in enumerate(scripted.items(n)):
        trial = Trial(item, at)
        for name, seconds in SECONDS.items():
            trial.results[name] = scripted.result("85", 50 if name == "laconic" else 200, 60)
            trial.seconds[name] = seconds * (1 + at / 10)
        made.append(trial)
    return made


def test_each_of_ours_meets_the_fastest_of_its_kind() -> None:
    peers = [name for name in SECONDS if name not in OURS]
    found = {(line["ours"], line["among"]): line for line in standing(trials(), peers)}
    plain = found["baseline", "plain decoding"]
    assert (plain["peer"], plain["by"]) == ("vllm", "tokens a second")
    assert plain["ratio"] == pytest.approx(5 / 4)
    assert found["speculation", "speculating"]["peer"] == "vllm-suffix"
    assert found["speculation", "speculating"]["ratio"] == pytest.approx(2.0)
    whole = found["laconic", "plain decoding"]
    assert (whole["by"], whole["ratio"]) == ("time per problem", pytest.approx(10.0)), "tokens spared count here"
    assert found["laconic", "speculating"]["median_ci"] == pytest.approx((4.0, 4.0))


def test_what_is_not_there_is_not_compared() -> None:
    assert [line["ours"] for line in standing(trials(), ["vllm"])] == ["baseline", "laconic"]
    assert standing(trials(), []) == []


def test_a_meeting_becomes_a_page() -> None:
    pytest.importorskip("matplotlib")
    asked = scripted.items(6)
    names = ("baseline", "speculation", "laconic", "vllm", "llama.cpp-prompt-lookup")
    bench = scripted.bench(asked, {name: [scripted.result() for _ in asked] for name in names})
    meeting = Meeting(bench, list(bench.variants), {"llama.cpp": "it is <not> here"}, {"vllm": "1.2"})
    record = json.loads(json.dumps(meeting.run(asked)))
    assert [line["peer"] for line in record["standing"]] == ["vllm", "llama.cpp-prompt-lookup"] * 2
    assert record["setup"]["peers"] == list(names)
    html = render(record)
    text = "".join(pages.whole(html).text)
    assert html.count("<svg") == 2
    assert "it is <not> here" in text
    assert "vllm 1.2" in text
    assert all(len(cells(record, name)) == 7 for name in names)
    assert "against the fastest peer speculating (llama.cpp, lookup)" in in_words(record["standing"][1])
    assert set(PEERS) > {"vllm", "llama.cpp"}
