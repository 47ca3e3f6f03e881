import json
from dataclasses import replace

import pytest

from laconic.errors import TaskError
from laconic.types import Sampling
from tests.bench import scripted

SUMMARY = {
    "n", "accuracy", "accuracy_ci", "thinking_tokens", "answer_tokens", "target_passes", "tokens_per_pass",
    "acceptance_rate", "seconds",
}  # fmt: skip


def scripts(n, **changed):
    same = [scripted.result() for _ in range(n)]
    short = [scripted.result(thinking=40, passes=30, tokens=(1, 3)) for _ in range(n)]
    return {"baseline": same, "speculation": same, "control": short, "laconic": short} | changed


def test_record_holds_what_was_promised_and_is_json():
    asked = scripted.items(6, ("sums", "other"))
    record = scripted.bench(asked, scripts(6)).run(asked)
    assert json.loads(json.dumps(record)).keys() == record.keys()
    for name in ("baseline", "laconic", "speculation", "control"):
        assert record[name].keys() >= SUMMARY
    assert record["transformers"] is None
    assert record["ratio"].keys() >= {"seconds", "thinking_tokens", "target_passes"}
    assert record["ratio"]["thinking_tokens"] == pytest.approx(0.4)
    assert record["ratios"].keys() == {"baseline", "speculation", "control"}
    assert (record["exact"]["prompts"], record["exact"]["identical"]) == (6, 6)
    assert set(record["by_kind"]) == {"sums", "other"}
    assert record["by_kind"]["sums"]["laconic"]["n"] == 3
    assert record["paired"] == {"both": 6, "lost": 0, "won": 0, "neither": 0}
    assert record["provenance"]["machine"]["threads"] >= 1
    assert not record["interrupted"]


def test_where_nobody_can_judge_there_is_no_accuracy(tmp_path):
    from laconic.bench.report import render
    from laconic.cli.table import sentences

    asked = [replace(item, grade=None) for item in scripted.items(4)] + scripted.items(5)[4:]
    record = scripted.bench(asked, scripts(5)).run(asked)
    assert (record["laconic"]["n"], record["laconic"]["graded"], record["laconic"]["accuracy"]) == (5, 1, 1.0)
    assert sum(record["paired"].values()) == 1
    alone = [replace(item, grade=None) for item in scripted.items(4)]
    record = scripted.bench(alone, scripts(4)).run(alone)
    assert (record["laconic"]["accuracy"], record["laconic"]["accuracy_ci"]) == (None, None)
    assert not any("right under" in sentence for sentence in sentences(record))
    assert "Accuracy by task" not in render(json.loads(json.dumps(record)))


def test_one_changed_token_is_found():
    asked = scripted.items(4)
    speculation = [scripted.result() for _ in range(3)] + [scripted.result(tokens=(1, 2, 4))]
    record = scripted.bench(asked, scripts(4, speculation=speculation)).run(asked)
    assert record["exact"]["identical"] == 3
    drafting, control = record["exact"]["checks"]
    assert (drafting["of"], drafting["identical"], drafting["differing"]) == (["speculation", "baseline"], 3, ["q/3"])
    assert control["identical"] == 4


def test_lost_answers_are_counted():
    asked = scripted.items(3)
    wrong = [scripted.result("84", 40, 30), scripted.result("85", 40, 30), scripted.result("85", 40, 30)]
    record = scripted.bench(asked, scripts(3, laconic=wrong, control=wrong)).run(asked)
    assert record["paired"] == {"both": 2, "lost": 1, "won": 0, "neither": 0}
    assert record["laconic"]["accuracy"] == pytest.approx(2 / 3)


def test_sampled_outputs_claim_no_exactness():
    asked = scripted.items(2)
    other = [scripted.result(tokens=(9,)) for _ in range(2)]
    record = scripted.bench(asked, scripts(2, speculation=other), sampling=Sampling(1.0)).run(asked)
    assert record["exact"] is None
    assert record["sampled"]["identical"] == 0
    assert "same distribution" in record["sampled"]["note"]


def test_the_example_parts_the_thought():
    asked = scripted.items(3)
    shown = scripted.bench(asked, scripts(3)).run(asked)["example"]
    assert shown["kept"] + shown["dropped"] == "".join(scripted.STEPS).strip()
    assert shown["dropped"].lstrip().startswith("Wait")
    assert shown["added"] == ""
    assert shown["thinking_tokens"] == {"laconic": 40, "baseline": 100}


def test_nothing_answered_is_an_error():
    asked = scripted.items(2)
    bench = scripted.bench(asked, scripts(2))

    def refuse(requests, batch):
        raise RuntimeError("boom")

    runs = iter([bench.variants[0].run])
    first = bench.variants[0]
    usual = next(runs)
    # the warm-up passes, every measured run fails
    first.run = lambda requests, batch: usual(requests, batch) if len(requests) == 2 else refuse(requests, batch)
    with pytest.raises(TaskError, match="'baseline' says: RuntimeError: boom"):
        bench.run(asked)


def test_identical_samples_are_exact_too():
    asked = scripted.items(2)
    record = scripted.bench(asked, scripts(2), sampling=Sampling(1.0)).run(asked)
    assert record["exact"]["identical"] == 2
    assert record["sampled"] is None
    assert record["agreement"] is None
