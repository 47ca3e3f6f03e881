"""A model with other tokens behind the contract of models with ours: every row, whatever was cached before."""

from __future__ import annotations

import random
from contextlib import closing

import pytest
import torch

from laconic.errors import TokenizerMismatch
from laconic.models.base import LanguageModel, Narrows, ScoreTree, chain
from laconic.models.causal_lm import CausalLM
from laconic.models.foreign import ForeignModel, Spelling
from laconic.models.foreign.back import Back
from laconic.models.foreign.reading import Reader
from laconic.models.text import Text
from tests import tiny
from tests.fakes import FakeModel
from tests.foreign import PROSE, byte_level, letters

OURS, THEIRS = byte_level(), byte_level(300, special=("<|end|>", "<|x|>"))
MINE, OTHER = Spelling(OURS.tokenizer), Spelling(THEIRS.tokenizer)
SIZE, FOREIGN = len(OURS.tokenizer), len(THEIRS.tokenizer)


def real() -> CausalLM:
    return CausalLM(tiny.model(0, vocab=FOREIGN))


class Sees(FakeModel):
    """Its logits tell what it has read: those of the last tokens, whatever they are."""

    def __init__(self, context: int = 4096) -> None:
        super().__init__(torch.zeros(1, 1, FOREIGN), context)

    def after(self, tokens):
        seed = hash(tuple(tokens[-6:])) % 2**31
        return torch.randn(FOREIGN, generator=torch.Generator().manual_seed(seed))


def foreign(model: LanguageModel, ours: Text = OURS, theirs: Text = THEIRS) -> ForeignModel:
    return ForeignModel(model, Spelling(ours.tokenizer), Spelling(theirs.tokenizer), len(ours.tokenizer))


def expected(model: ForeignModel, tokens: list[int]) -> torch.Tensor:
    """The row after a text, by reading all of it at once, in a cache of its own."""
    told = list(Reader(MINE, OTHER).extend(model.reader.begun, tokens).tail)
    with closing(model.model.open()) as slot:
        row = model.model.score([chain(told)], [slot]).of(0)[-1]
    wide = torch.zeros(SIZE, dtype=torch.float64)
    for token, likely in enumerate(row.double().softmax(-1).tolist()):
        word = OTHER.of.get(token)
        first = MINE.controls.get("<|end|>") if token == OTHER.controls["<|end|>"] else None
        if word:
            first = MINE.by_bytes[word] if word in MINE.by_bytes else Back(MINE, OTHER).tokens([], word)[0]
        if first is not None:
            wide[first] += likely
    return wide.log().float()


def same(found: torch.Tensor, row: torch.Tensor) -> bool:
    return torch.allclose(found, row, atol=1e-4)


@pytest.mark.parametrize("make", [real, Sees])
def test_rows_are_what_the_model_thinks_after_the_same_text(make) -> None:
    model, slot, rng = foreign(make()), None, random.Random(0)
    text = OURS.encode(PROSE)
    slot = model.open()
    model.prefill(slot, text[:40])
    told = text[:40]
    for step in range(25):
        start = len(told)
        drafts = text[start : start + 3] + rng.sample(range(SIZE - 1), 4)
        tree = ScoreTree(drafts, [-1, 0, 1, -1, 0, 3, 4])
        rows = model.score([tree], [slot]).of(0)
        for node in range(len(tree)):
            way, at = [], node
            while at >= 0:
                way.insert(0, drafts[at])
                at = tree.parents[at]
            assert torch.allclose(rows[node], expected(model, [*told, *way]), atol=1e-4), (step, node)
        path = [[0, 1, 2], [0], [3, 5], [0, 4, 6], []][step % 5]
        slot.commit(path)
        told += [drafts[node] for node in path]
        assert slot.length == len(told)
        if step % 3 == 2:
            back = rng.randrange(6)
            slot.rollback(back)
            told = told[: len(told) - back]
    assert make is real or slot.inner.tokens == slot.cached


def test_branches_off_an_earlier_point() -> None:
    model = foreign(Sees())
    text = OURS.encode(PROSE)[:30]
    slot = model.open()
    model.prefill(slot, text)
    rows = model.score([ScoreTree([7, 8, 9], [-1, -1, 1], [-1, 25, -1])], [slot]).of(0)
    assert same(rows[0], expected(model, [*text, 7]))
    assert same(rows[2], expected(model, [*text[:25], 8, 9]))
    slot.rollback(5)
    slot.commit([1, 2])
    told = [*text[:25], 8, 9]
    assert same(model.score([chain([4])], [slot]).of(0)[0], expected(model, [*told, 4]))


def test_many_slots_in_one_pass_and_forks() -> None:
    model, text = foreign(Sees()), OURS.encode(PROSE)
    slots = [model.open() for _ in range(3)]
    for i, slot in enumerate(slots):
        model.prefill(slot, text[: 10 + 17 * i])
    passes = model.passes
    scores = model.score([chain(text[50 : 51 + i]) for i in range(3)], slots)
    assert model.passes == passes + 1
    for i in range(3):
        for node in range(i + 1):
            assert same(scores.of(i)[node], expected(model, [*text[: 10 + 17 * i], *text[50 : 51 + node]]))
    other = slots[2].fork()
    slots[2].commit([0, 1])
    assert same(model.score([chain([3])], [other]).of(0)[0], expected(model, [*text[:44], 3]))
    assert same(model.score([chain([3])], [slots[2]]).of(0)[0], expected(model, [*text[:44], *text[50:52], 3]))
    for slot in [*slots, other]:
        slot.close()
    assert all(slot.closed for slot in model.model.slots if slot is not other.inner)


def test_taking_back_more_than_is_remembered_reads_the_text_again() -> None:
    model, text = foreign(Sees()), OURS.encode(PROSE * 3)
    slot = model.open()
    model.prefill(slot, text)
    slot.rollback(len(text) - 20)
    assert same(model.score([chain([3])], [slot]).of(0)[0], expected(model, [*text[:20], 3]))


def test_nothing_is_read_twice_along_a_chain() -> None:
    model, text = foreign(Sees()), OURS.encode(PROSE)
    told = THEIRS.encode(PROSE)
    slot = model.open()
    model.prefill(slot, text[:1])
    for token in text[1:]:
        model.score([chain([token])], [slot])
        slot.commit([0])
    # A token that grows is read anew: no more than a few of them at a time.
    assert model.model.scored < 2 * len(told)


def test_of_a_long_text_the_end_is_read() -> None:
    model, whole, text = foreign(Sees(64)), foreign(Sees()), OURS.encode(PROSE * 4)
    slot = model.open()
    model.prefill(slot, text[:200])
    for at in range(200, len(text)):
        row = model.score([chain([text[at]])], [slot]).of(0)[0]  # a FakeModel refuses to read more than it can
        assert same(row, expected(whole, text[: at + 1]))
        slot.commit([0])
    assert slot.length == len(text)


def test_tokens_without_text_and_an_empty_beginning() -> None:
    ours = letters(["a", "b", "ab", "c"])
    theirs = letters(["a", "b"])
    model = ForeignModel(FakeModel.random(0, 2), Spelling(ours), Spelling(theirs), 6)
    slot = model.open()
    rows = model.score([chain([3, 0, 2, 5])], [slot]).of(0)  # "c" cannot be said in theirs, 5 is padding
    assert same(rows[0][:2], model.model.after([0]).log_softmax(-1))
    assert same(rows[2][:2], model.model.after([0, 0, 1]).log_softmax(-1))
    assert same(rows[3], rows[2])
    assert rows[:, 2:].eq(-torch.inf).all()
    slot.commit([0, 1, 2, 3])
    assert same(model.score([chain([1])], [slot]).of(0)[0][:2], model.model.after([1, 1]).log_softmax(-1))


def test_vocabularies_without_a_common_token_are_refused() -> None:
    with pytest.raises(TokenizerMismatch, match="no token in common"):
        ForeignModel(FakeModel.random(0, 2), Spelling(letters(["a", "b"])), Spelling(letters(["c", "d"])), 2)
    with pytest.raises(TokenizerMismatch, match="cannot be taken as bytes"):
        Spelling(object())


def test_hidden_states_come_along() -> None:
    model = foreign(real())
    model.keep_hidden = True
    slot = model.open()
    tree = ScoreTree([*OURS.encode("The answer")[:2], 40], [-1, 0, 0])
    scores = model.score([tree], [slot])
    hidden = scores.hidden_of(0)
    assert hidden is not None
    rows = hidden @ model.model.model.lm_head.weight.T
    assert same(model.shared.row(rows), scores.of(0))


def test_what_is_no_token_of_ours_counts_for_its_first_one() -> None:
    ours, theirs = letters(["a", "b", "c", "ca"]), letters(["a", "b", "ab", "c", "cab"])
    model = ForeignModel(FakeModel.random(0, 5), Spelling(ours), Spelling(theirs), 4)
    assert model.shared.same == 3
    row = model.score([chain([1])], [model.open()]).of(0)[0].exp()
    a, b, ab, c, cab = model.model.after([1]).softmax(-1).tolist()
    assert row.tolist() == pytest.approx([a + ab, b, c, cab])
    assert float(row.sum()) == pytest.approx(1)
    assert not isinstance(model, Narrows)  # a FakeModel has no head to narrow


def test_only_what_is_kept_is_asked_about() -> None:
    model = foreign(real())
    kept = torch.tensor(OURS.encode("The answer is 46"))
    whole = model.score([chain([40])], [model.open()]).of(0)[0].softmax(-1)
    with model.narrowed(kept):
        few = model.score([chain([40])], [model.open()]).of(0)[0].exp()
    assert set(few.nonzero()[:, 0].tolist()) <= set(kept.tolist())
    said = torch.tensor([token for token in kept.tolist() if whole[token] > 0])
    assert torch.allclose(few[said], whole[said] / whole[said].sum(), atol=1e-4)
    with pytest.raises(TokenizerMismatch, match="none of the tokens"), model.narrowed(torch.tensor([SIZE + 1])):
        pass
