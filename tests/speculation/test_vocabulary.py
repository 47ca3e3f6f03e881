"""Reduced draft heads: what is kept, of which counts, and that drafts with them are exact."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from laconic import Engine, Limits, Methods, Request, Sampling
from laconic.bench.fit.vocabulary import always, in_answers, in_files
from laconic.engine import joined
from laconic.errors import HeadError, RequestError, TaskError, UnmetNeed
from laconic.models.base import LanguageModel
from laconic.models.causal_lm import CausalLM
from laconic.speculation.drafters.draft_model import DraftModel
from laconic.speculation.vocabulary import Kept, kept_tokens
from tests import tiny
from tests.fakes import FakeModel

MODEL = tiny.model(0, bias=tiny.REASONER)


def test_the_most_frequent_are_kept_in_the_order_of_their_ids() -> None:
    assert kept_tokens(torch.tensor([3, 0, 7, 1, 7]), 3).tolist() == [0, 2, 4]


def test_among_equals_the_lower_ids_are_kept() -> None:
    assert kept_tokens(torch.tensor([0, 2, 0, 2, 2, 0]), 2).tolist() == [1, 3]
    assert kept_tokens(torch.zeros(9, dtype=torch.long), 4).tolist() == [0, 1, 2, 3]


def test_some_are_kept_always_and_count_as_part_of_the_size() -> None:
    counts = torch.tensor([9, 8, 7, 0, 0])
    assert kept_tokens(counts, 3, always=[4, 3, 4]).tolist() == [0, 3, 4]
    assert counts.tolist() == [9, 8, 7, 0, 0]


@pytest.mark.parametrize("kind", [torch.int64, torch.int32, torch.float64, torch.float32])
def test_counts_of_any_kind_stay_as_they_are(kind: torch.dtype) -> None:
    counts = torch.tensor([1, 2, 3], dtype=kind)
    assert kept_tokens(counts, 2, always=[0]).tolist() == [0, 2]
    assert counts.tolist() == [1, 2, 3]


@pytest.mark.parametrize(("size", "always"), [(0, []), (4, []), (1, [0, 1]), (2, [3]), (2, [-1])])
def test_what_cannot_be_kept_is_refused(size: int, always: list[int]) -> None:
    with pytest.raises(RequestError):
        kept_tokens(torch.tensor([1, 2, 3]), size, always)


def test_a_choice_is_read_back_and_says_what_it_covers(tmp_path: Path) -> None:
    made = Kept.of(torch.tensor([5, 0, 3, 2]), 2, "corpus", always=[1])
    assert (made.tokens.tolist(), made.counted, made.covered) == ([0, 1], 10, 0.5)
    made.save(tmp_path / "new" / "kept.json")
    read = Kept.load(tmp_path / "new" / "kept.json")
    assert (read.tokens.tolist(), read.vocab_size, read.statistic, read.covered) == ([0, 1], 4, "corpus", 0.5)
    read.check(4)
    with pytest.raises(HeadError, match="vocabulary of 4"):
        read.check(5)


@pytest.mark.parametrize("said", ["", "[]", "{}", '{"format": "x"}', '{"tokens": [9], "vocab_size": 4}', "\xff"])
def test_a_damaged_choice_is_refused(tmp_path: Path, said: str) -> None:
    with pytest.raises(HeadError, match="no choice of tokens"):
        Kept.load(tmp_path / "kept.json")
    (tmp_path / "kept.json").write_bytes(said.encode("latin-1"))
    with pytest.raises(HeadError, match="damaged"):
        Kept.load(tmp_path / "kept.json")


def test_tokens_are_counted_in_text_and_in_every_string_of_jsonl(tmp_path: Path) -> None:
    text = tiny.text()
    (tmp_path / "a.txt").write_text("aab\n\nc", encoding="utf-8")
    (tmp_path / "b.jsonl").write_text('{"turns": ["aa", {"x": "b"}], "n": 3}\n"c"\n', encoding="utf-8")
    counts = in_files(text, 264, [tmp_path / "a.txt", tmp_path / "b.jsonl"])
    a, b, c, blank = (text.encode(said)[0] for said in ("a", "b", "c", "\n\n"))
    assert [int(counts[token]) for token in (a, b, c, blank)] == [4, 2, 2, 1]
    assert counts.sum() == 9
    (tmp_path / "b.jsonl").write_text("{", encoding="utf-8")
    for missing in ("b.jsonl", "c.txt"):
        with pytest.raises(TaskError):
            in_files(text, 264, [tmp_path / missing])
    assert set(always(text, 264)) >= {*text.eos, *text.encode("</think>")}


def test_what_the_target_writes_is_counted() -> None:
    engine = Engine(CausalLM(MODEL), tiny.text(), Methods(drafter="none"))
    results = engine.run(requests(0.0))
    counts = in_answers(engine, requests(0.0), batch=2)
    assert counts.sum() == sum(len(result.tokens) for result in results)
    assert all(counts[token] > 0 for result in results for token in result.tokens)


def requests(temperature: float) -> list[Request]:
    prompts = [f"What is {i}+{i}?<think>\n" for i in range(4)]
    text = tiny.text()
    return [Request(tuple(text.encode(p)), Sampling(temperature, seed=i), Limits(40)) for i, p in enumerate(prompts)]


class TestReducedHeads:
    """Exact with every verifier, and nothing else is drafted."""

    @pytest.fixture
    def file(self, tmp_path: Path) -> Path:
        kept = [*range(40, 120), *always(tiny.text(), 264), *tiny.text().encode("\n\n")]
        counts = torch.zeros(264, dtype=torch.long)
        counts[kept] = 1
        Kept.of(counts, len(set(kept)), "corpus").save(tmp_path / "kept.json")
        return tmp_path / "kept.json"

    @pytest.mark.parametrize("verifier", ["match", "speculative-sampling", "traversal"])
    @pytest.mark.parametrize("shape", ["chain", "best-first", "k-ary"])
    @pytest.mark.parametrize("foreign", [False, True])
    def test_the_text_is_that_of_plain_decoding(self, file: Path, verifier: str, shape: str, *, foreign: bool) -> None:
        target, text = CausalLM(MODEL), tiny.text()
        draft: LanguageModel = CausalLM(tiny.noisy(MODEL, 0.1))
        if foreign:
            theirs = tiny.text(tags_as_tokens=False)
            draft = joined(draft, theirs, target, text)
        kept, drafted = set(Kept.load(file).tokens.tolist()), []
        methods = Methods(f"draft-model:keep={file}", "constant:4", shape, verifier)
        honest = DraftModel.propose

        def watched(*args):
            trees = honest(*args)
            drafted.extend(token for tree in trees for token in tree.tokens)
            return trees

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(DraftModel, "propose", watched)
            mine = Engine(target, text, methods, draft).run(requests(0.0), batch=2)
            Engine(target, text, methods, draft).run(requests(0.8), batch=2)
        plainly = Engine(target, text, Methods(drafter="none")).run(requests(0.0))
        assert [r.tokens for r in mine] == [r.tokens for r in plainly]
        assert drafted
        assert set(drafted) <= kept

    def test_under_match_samples_are_those_of_plain_decoding(self, file: Path) -> None:
        target, draft = CausalLM(MODEL), CausalLM(tiny.noisy(MODEL, 0.1))
        mine = Engine(target, tiny.text(), Methods(f"draft-model:keep={file}", "constant:4"), draft).run(requests(0.8))
        plainly = Engine(target, tiny.text(), Methods(drafter="none")).run(requests(0.8))
        assert [r.tokens for r in mine] == [r.tokens for r in plainly]
        assert sum(r.usage.accepted for r in mine) > 0

    @pytest.mark.parametrize("temperature", [0.0, 0.8])
    @pytest.mark.parametrize("verifier", ["match", "speculative-sampling", "importance"])
    @pytest.mark.parametrize("shape", ["chain", "best-first", "k-ary"])
    def test_rules_that_leave_nothing_to_draft_end_the_draft(
        self, tmp_path: Path, temperature: float, verifier: str, shape: str
    ) -> None:
        """A bias may forbid every token that is kept; the target has others."""
        counts = torch.zeros(264)
        counts[[65, 66]] = 1
        Kept.of(counts.long(), 2, "corpus").save(tmp_path / "two.json")
        target, draft = CausalLM(MODEL), CausalLM(tiny.noisy(MODEL, 0.1))
        never = tuple((token, -math.inf) for token in Kept.load(tmp_path / "two.json").tokens.tolist())
        asked = [replace(r, sampling=replace(r.sampling, logit_bias=never)) for r in requests(temperature)]
        methods = Methods(f"draft-model:keep={tmp_path / 'two.json'}", "constant:4", shape, verifier)
        results = Engine(target, tiny.text(), methods, draft).run(asked)
        assert all(r.usage.drafted == 0 for r in results)

    def test_a_choice_of_another_vocabulary_and_a_model_without_a_head_are_refused(self, tmp_path: Path) -> None:
        Kept.of(torch.ones(8), 2, "corpus").save(tmp_path / "kept.json")
        methods = Methods(f"draft-model:keep={tmp_path / 'kept.json'}", "constant:4")
        with pytest.raises(HeadError, match="vocabulary of 8"):
            Engine(CausalLM(MODEL), tiny.text(), methods, CausalLM(MODEL))
        with pytest.raises(UnmetNeed, match="some tokens only"):
            Engine(FakeModel.random(0, 8), tiny.text(), methods, FakeModel.random(1, 8))
