"""A whole replay: variants, the record, words and page."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from laconic.bench.replay.page import render
from laconic.bench.replay.run import Setup, model_free, replay, variants
from laconic.bench.replay.wording import about, notes
from laconic.errors import ModelNotFound, RequestError, TaskError, UnknownMethod, UnmetNeed
from laconic.policy import registry
from tests import tiny

PHRASE = (
    "Thank you. Your flight from New York to Seattle has been booked; is there anything else that I can do for you?"
)


def write(path, *lines):
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines))
    return str(path)


@pytest.fixture
def chats(tmp_path):
    """Eight short conversations whose agent says the same thing; its user never does."""
    lines = [
        {
            "id": f"chat-{i}",
            "messages": [{"role": "user", "content": f"Book {i}"}, {"role": "assistant", "content": PHRASE}],
        }
        for i in range(8)
    ]
    return write(tmp_path / "chats.jsonl", *lines, "{", "")


@pytest.fixture
def thoughts(tmp_path):
    line = {"question": "2+3?", "response": "2 + 3 = 5.\n\nSo it is 5.\n\nWait. Yes.</think>\\boxed{5}", "answer": "5"}
    return write(tmp_path / "thoughts.jsonl", line)


def test_every_drafter_without_a_model_is_a_default():
    specs = model_free()
    for name in registry.names("drafter"):
        cls = registry.get("drafter", name)
        needs = any((cls.needs.draft_model, cls.needs.target_rows, cls.needs.target_parts, cls.needs.target_layers))
        cannot = needs or cls.required() or name == "bandit"
        assert (name in specs) != bool(cannot)
    assert "suffix:shared=false" in specs
    assert len(variants(Setup())) == 2 * len(specs)


@pytest.mark.parametrize(
    ("setup", "error", "message"),
    [
        (Setup(drafters=("sufix",)), UnknownMethod, "Did you mean 'suffix'"),
        (Setup(lengths=("aimed",)), UnknownMethod, "Did you mean 'aimd'"),
        (Setup(drafters=("draft-model",)), UnmetNeed, "needs a draft model"),
        (Setup(drafters=("suffix:fallback=[draft-model]",)), UnmetNeed, "needs a draft model"),
        (Setup(drafters=("suffix:fallback=[token-recycling]",)), UnmetNeed, "learns from logits"),
        (Setup(drafters=("head:nowhere",)), UnmetNeed, "looks at hidden states"),
        (Setup(drafters=("layer-skip:4",)), UnmetNeed, "the target's layers"),
        (Setup(drafters=("pearl:[draft-model]",)), UnmetNeed, "needs a draft model"),
        (Setup(drafters=("bandit",)), UnmetNeed, "goes by what rounds cost"),
        (Setup(lengths=("svip",)), UnmetNeed, "draft distributions"),
        (Setup(lengths=("ada-eagle:head=anywhere",)), UnmetNeed, "hidden states"),
        (Setup(drafters=("prompt-lookup",), shapes=("best-first",)), UnmetNeed, "grows trees"),
        (Setup(limit=0), RequestError, "must be > 0"),
    ],
)
def test_what_cannot_be_is_refused_before_any_file_is_read(setup, error, message):
    with pytest.raises(error, match=message):
        replay(["missing.jsonl"], setup)


def test_bad_files_and_tokenizers(chats, tmp_path):
    for paths, message in (([], "no file"), ([chats, str(tmp_path / "no.jsonl")], "No such file")):
        with pytest.raises(TaskError, match=message):
            replay(paths, Setup())
    with pytest.raises(ModelNotFound):
        replay([chats], Setup(tokenizer=str(tmp_path / "none")))


def test_a_shared_store_warms_up_with_the_file(chats):
    said = []
    record = replay([chats], Setup(lengths=("constant:8",)), said.append)
    (file,) = record["files"]
    rows = {row["drafter"]: row for row in file["drafts"]}
    assert len(said) == len(rows) == len(model_free())
    assert (file["records"], file["turns"], file["empty_lines"]) == (8, 8, 0)
    assert file["left_out"][0]["line"] == 9
    shared, alone = rows["suffix"], rows["suffix:shared=false"]
    assert shared["by_request"][0] < shared["by_request"][1] == pytest.approx(shared["by_request"][3], rel=0.2)
    assert shared["tokens_per_pass"] > 1.5 * alone["tokens_per_pass"]
    assert alone["by_request"][0] == pytest.approx(alone["by_request"][3], rel=0.01)
    for row in file["drafts"]:
        assert row["output_tokens"] == file["output_tokens"]
        # A pass writes what was accepted and one token more, but for a last one cut by the end.
        assert 0 <= row["accepted"] + row["passes"] - row["output_tokens"] <= 8
        assert row["waste_per_token"] == pytest.approx((row["drafted"] - row["accepted"]) / row["output_tokens"])
    assert rows["none"]["tokens_per_pass"] == 1
    assert rows["none"]["acceptance_rate"] is None


def test_files_and_variants_share_nothing(chats):
    alone = replay([chats], Setup(("suffix",), ("constant:8",)))["files"][0]["drafts"][0]
    again = replay([chats, chats], Setup(("none", "suffix"), ("aimd", "constant:8")))["files"]
    for file in again:
        row = file["drafts"][-1]
        assert (row["passes"], row["drafted"]) == (alone["passes"], alone["drafted"])


def test_a_tokenizer_that_cannot_reproduce_a_text(tmp_path):
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    letters = {letter: i for i, letter in enumerate("abc[]user\nit")} | {"?": 99}
    lossy = Tokenizer(models.WordLevel(letters, unk_token="?"))
    lossy.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    lossy.decoder = decoders.Fuse()
    lossy.save(str(tmp_path / "tokenizer.json"))
    setup = Setup(("none",), ("aimd",), tokenizer=str(tmp_path / "tokenizer.json"))
    path = write(tmp_path / "r.jsonl", {"id": "good", "question": "a", "response": "abc"},
                 {"id": "odd", "question": "a", "response": "abz"})  # fmt: skip
    # "[assistant]" needs only letters of the vocabulary as well, apart from n.
    lossy_n = Tokenizer(models.WordLevel(letters | {"n": 98}, unk_token="?"))
    lossy_n.pre_tokenizer, lossy_n.decoder = lossy.pre_tokenizer, lossy.decoder
    lossy_n.save(str(tmp_path / "tokenizer.json"))
    (file,) = replay([path], setup)["files"]
    assert file["records"] == 1
    assert file["left_out"] == [{"line": 2, "reason": file["left_out"][0]["reason"]}]
    assert "does not reproduce 'odd'" in file["left_out"][0]["reason"]
    lossy.save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(TaskError, match="reproduces no record"):
        replay([path], setup)


def test_a_real_tokenizer_counts_exactly(thoughts, tmp_path):
    tiny.text().tokenizer.save_pretrained(tmp_path / "tok")
    record = replay([thoughts], Setup(("prompt-lookup",), ("aimd",), tokenizer=str(tmp_path / "tok")))
    assert not record["setup"]["approximate"]
    assert not any("approximate" in note for note in notes(record))
    assert record["files"][0]["output_tokens"] > 40  # Bytes, nearly.


def test_words_and_page_hold_the_figures(chats, thoughts):
    record = json.loads(json.dumps(replay([chats, thoughts], Setup())))
    said = "\n".join(sentence for file in record["files"] for sentence in (*about(file), *notes(record)))
    for words in ("LEFT OUT 1: line 9: not JSON", "1 of 1 (100%", "approximate", "no record has one", "wait"):
        assert words in said
    page = render(record)
    assert page.count("<table>") == page.count("</table>") == 6
    for words in ("suffix:shared=false", "LEFT OUT 1", "chats.jsonl", "How to reproduce", "approximate"):
        assert words in page
    assert not {"<script", "http:", "https:", "<img", "<link"} & set(page.split())
    escaped = render(record | {"files": [record["files"][0] | {"path": "<b>&.jsonl"}]})
    assert "&lt;b&gt;&amp;.jsonl" in escaped
    assert "<b>&.jsonl" not in escaped


TRACES = next((p / "shared/data/traces" for p in Path(__file__).resolve().parents if (p / "shared").is_dir()), None)


@pytest.mark.skipif(TRACES is None, reason="the recorded traces (shared/data/traces) are not here")
def test_recorded_agents_profit_from_a_shared_store():
    record = replay([str(TRACES / "agent_tau_bench.jsonl")], Setup(lengths=("constant:8",), limit=6))
    rows = {row["drafter"]: row["tokens_per_pass"] for row in record["files"][0]["drafts"]}
    assert rows["suffix"] > rows["prompt-lookup"] > 1.3 * rows["none"]
    assert rows["suffix"] > 1.05 * rows["suffix:shared=false"]
