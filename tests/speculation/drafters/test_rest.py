"""REST: what a datastore finds, against a plain scan; what is drafted of it; and files that are none."""

from __future__ import annotations

import random
from collections import Counter

import numpy as np
import pytest

from laconic.errors import StoreError, TaskError
from laconic.speculation.base import Tools
from laconic.speculation.drafters.datastore import DEPTH, Datastore
from tests.fakes import FakeModel
from tests.speculation.rounds import build, context_of, decode, plain

TOOLS = Tools(None, build("shape", "chain"), 8)


def scan(texts, ending):
    """Continuations behind the longest known end of a text, the slow way."""
    for length in range(min(len(ending), DEPTH), 0, -1):
        key = ending[-length:]
        found = [t[i] for t in texts for i in range(length, len(t)) if t[i - length : i] == key]
        if found:
            return Counter(found), length
    return Counter(), 0


def test_finds_what_a_scan_finds(tmp_path):
    rng = random.Random(0)
    texts = [[rng.randrange(4) for _ in range(rng.randint(1, 60))] for _ in range(20)]
    Datastore.of(texts).save(tmp_path)
    store = Datastore.load(tmp_path)
    assert isinstance(store.tokens, np.memmap)
    for _ in range(300):
        source = rng.choice(texts)
        at = rng.randint(0, len(source))
        ending = [rng.randrange(5) for _ in range(rng.randint(0, 3))] + source[max(0, at - rng.randint(0, 25)) : at]
        if not ending:
            continue
        places, length = store.find(ending, 10**6)
        assert (Counter(store.tokens[places].tolist()), length) == scan(texts, ending)


def test_many_places_are_thinned_out_evenly():
    store = Datastore.of([[1, 2] * 100])
    places, length = store.find([7, 1], 10)
    assert length == 1
    assert len(places) == 10
    assert set(store.tokens[places].tolist()) == {2}
    assert store.find([9], 10)[1] == 0


def rest(tmp_path, texts, **knobs):
    Datastore.of(texts).save(tmp_path)
    return build("drafter", f"rest:{tmp_path}" + "".join(f",{k}={v}" for k, v in knobs.items()))


def test_drafts_the_commonest_and_its_rivals(tmp_path):
    drafter = rest(tmp_path, [[1, 2, 3, 4, 5], [1, 2, 3, 4, 6], [1, 2, 3, 7]], min_match=2)
    state = drafter.start(context_of([0, 1, 2]), TOOLS)
    (tree,) = drafter.propose([state], [9], [None])
    assert list(tree.tokens)[:2] == [3, 4]
    assert tree.rows[-1].top(3) == [(3, 0.75)]
    assert tree.rows[0].top(3) == [(4, 0.5), (7, 0.25)]
    assert len(tree) == 3, "up to the end of the texts"
    state.shape = build("shape", "best-first")
    (tree,) = drafter.propose([state], [9], [None])
    assert sorted(tree.tokens) == [3, 4, 5, 6, 7]
    assert not len(drafter.propose([drafter.start(context_of([9, 2]), TOOLS)], [9], [None])[0]), "one token is too few"


def test_a_text_that_is_stored_takes_far_fewer_passes(tmp_path):
    model = FakeModel.random(1, sharpness=3.0)
    text = plain(model, [1, 2], 200)
    passes = []
    drafter = rest(tmp_path, [[1, 2, *text]])
    found = decode(
        model, [context_of([1, 2])], 200, drafter, length=build("length", "constant:9"),
        after=lambda states, trees: passes.append(1),
    )  # fmt: skip
    assert found == [text]
    assert len(passes) <= 40


def test_what_is_no_datastore_is_refused(tmp_path):
    with pytest.raises(StoreError, match="no datastore") as caught:
        build("drafter", f"rest:{tmp_path / 'nowhere'}").suits(FakeModel.random(0), None)
    assert "laconic fit datastore" in str(caught.value.hint)
    with pytest.raises(StoreError, match="no text"):
        Datastore.of([[], []])
    drafter = rest(tmp_path, [[1, 2, 3, 11]])
    with pytest.raises(StoreError, match="another tokenizer"):
        drafter.suits(FakeModel.random(0, vocab=8), None)
    drafter.suits(FakeModel.random(0, vocab=12), None)
    np.save(tmp_path / "places.npy", np.zeros(2, dtype=np.int32))
    with pytest.raises(StoreError, match="damaged"):
        Datastore.load(tmp_path)
    (tmp_path / "datastore.json").write_text("{")
    with pytest.raises(StoreError, match="damaged"):
        Datastore.load(tmp_path)


def test_texts_come_from_files_of_any_form(tmp_path):
    from laconic.bench.fit.datastore import texts

    (tmp_path / "a.txt").write_text("One.\nTwo.")
    (tmp_path / "b.jsonl").write_text('{"text": "Three."}\n\n{"text": "Four."}\n')
    (tmp_path / "c.jsonl").write_text('{"question": "Five?", "response": "Six."}\n')
    said = [list(texts(tmp_path / name)) for name in ("a.txt", "b.jsonl", "c.jsonl")]
    assert said == [["One.\nTwo."], ["Three.", "Four."], ["Six."]]
    (tmp_path / "d.txt").write_bytes(b"\xff\xfe\x00")
    for name in ("d.txt", "e.txt", "e.jsonl"):
        with pytest.raises(TaskError, match=name):
            list(texts(tmp_path / name))
