"""Suffix decoding: counts against a plain rescan, sharing, eviction, fallback, speed."""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections import Counter

import pytest

from laconic.speculation.base import Tools, Verdict
from laconic.speculation.drafters.suffix_store import Children, Document, SharedStore, Store
from laconic.speculation.drafters.suffix_walk import longest
from tests.fakes import FakeModel
from tests.speculation.rounds import build, context_of

TOOLS = Tools(None, build("shape", "chain"), 8)


def propose(drafter, state, budget=8, judge=None):
    return list(drafter.propose([state], [budget], [judge])[0].tokens)


def counts_of(entry):
    return {entry & 0xFFFFFFFF: entry >> 32} if isinstance(entry, int) else dict(entry.counts)


def counted(store: Store):
    """Tokens counted, which is what contexts of one token were seen before."""
    return sum(1 if isinstance(e, int) and e < 0 else sum(counts_of(e).values()) for e in store.tables[0].values())


def known(store: Store, window, guess: int = 0):
    """Order and counts of the longest known context."""
    entry, length = longest([store], [store.find(tuple(window), guess)])
    return length, counts_of(entry) if entry is not None else {}


def rescanned(pieces, window, orders=(1, 2, 4)):
    """The same from texts, as (tokens, first token that counts) pairs."""
    for n in sorted(orders, reverse=True):
        if n <= len(window):
            seen = Counter(
                text[i]
                for text, first in pieces
                for i in range(max(n, first), len(text))
                if tuple(text[i - n : i]) == tuple(window[-n:])
            )
            if seen:
                return n, dict(seen)
    return 0, {}


def windows(symbols: int, size: int):
    return [w for n in range(1, size + 1) for w in itertools.product(range(symbols), repeat=n)]


@pytest.mark.parametrize("symbols", [2, 3, 5])
def test_counts_agree_with_a_rescan(symbols):
    rng, orders = random.Random(0), (1, 2, 4)
    text = [rng.randrange(symbols) for _ in range(120)]
    store = Store(orders)
    number = store.begin()
    for size in (1, 2, 3, 4, 10, 30, 70):  # ever longer
        store.extend(number, text[store.length(number) : store.length(number) + size])
        written = text[: store.length(number)]
        for window in windows(symbols, 4):
            assert known(store, window) == rescanned([(written, 0)], window)


def test_what_a_draft_runs_along_is_what_a_search_finds():
    """``after`` gives what ``find`` would, token by token, also beyond places that are the only ones."""
    rng, orders = random.Random(3), (1, 2, 3, 4, 6, 8)
    phrases = [[rng.randrange(40) for _ in range(rng.randint(2, 15))] for _ in range(12)]
    text = [token for _ in range(60) for token in rng.choice(phrases)]
    store = Store(orders)
    store.extend(store.begin(), text)
    along = 0
    for _ in range(200):
        begin = rng.randrange(len(text) - 20)
        window = tuple(text[begin : begin + rng.randint(1, 8)])
        found = store.find(window)
        for token in text[begin + len(window) : begin + 20]:
            if rng.random() < 0.1:
                token = rng.randrange(40)
            window = (*window, token)[-8:]
            along += found is not None and found[2] is not None
            found = store.after(found, window)
            entry, length = longest([store], [found])
            assert (length, counts_of(entry) if entry is not None else {}) == known(store, window)
    assert along > 500


def test_children_keep_their_best():
    rng = random.Random(1)
    for _ in range(200):
        children, plain = Children(0, 1), Counter({0: 1})
        for _ in range(30):
            token = rng.randrange(4)
            if rng.random() < 0.6:
                children.add(token)
                plain[token] += 1
            elif plain[token] and plain.total() > 1:
                children.remove(token)
                plain[token] -= 1
            assert plain[children.best] == max(plain.values())
            assert children.total == plain.total()


def test_takes_the_most_frequent_continuation():
    drafter = build("drafter", "suffix:shared=false,max_depth=2,offset=8,min_prob=0")
    state = drafter.start(context_of([1, 2, 5, 1, 2, 3, 1, 2, 3, 9, 1, 2]), TOOLS)
    assert propose(drafter, state, 2)[0] == 3


@pytest.mark.parametrize(("spec", "length"), [("factor=1", 2), ("factor=2", 4), ("factor=0,offset=1", 1)])
def test_length_follows_the_match(spec, length):
    drafter = build("drafter", f"suffix:shared=false,max_depth=2,{spec}")
    state = drafter.start(context_of([1, 2, 3, 4, 5, 6, 7, 8, 1, 2]), TOOLS)
    assert propose(drafter, state) == [3, 4, 5, 6][:length]


def test_stops_at_an_improbable_path():
    prompt = [1, 2, 3, 1, 2, 4, 1, 2, 5, 1, 2]  # After 1, 2 come 3, 4 and 5, a third each.
    for min_prob, length in (("0.5", 0), ("0.2", 2)):
        drafter = build("drafter", f"suffix:shared=false,max_depth=2,min_prob={min_prob}")
        assert len(propose(drafter, drafter.start(context_of(prompt), TOOLS))) == length


def test_the_path_counts_not_the_last_step():
    # 3 follows 2 in four of five places, 4 follows 2, 3 in half, 2 follows 3, 4 in half: paths of .8, .4, .2.
    prompt = [2, 9, 2, 3, 5, 2, 3, 5, 2, 3, 4, 7, 2, 3, 4, 2]
    for min_prob, length in ((0.45, 1), (0.22, 2), (0.18, 3)):
        drafter = build("drafter", f"suffix:shared=false,max_depth=2,offset=2,min_prob={min_prob}")
        assert propose(drafter, drafter.start(context_of(prompt), TOOLS)) == [3, 4, 2][:length]


def test_requests_share_outputs_but_not_prompts():
    drafter = build("drafter", "suffix")
    first = context_of([1, 2, 3])
    state = drafter.start(first, TOOLS)
    first.tokens += [4, 5, 6, 7, 8]
    drafter.finish(state)
    assert propose(drafter, drafter.start(context_of([9, 4, 5]), TOOLS)) == [6, 7]
    assert propose(drafter, drafter.start(context_of([9, 1, 2]), TOOLS)) == []
    assert propose(drafter, drafter.start(context_of([2, 3]), TOOLS)) == [4, 5]  # Output after the prompt's tail.


def test_other_policies_share_nothing():
    for spec in ("suffix", "suffix:shared=false"):
        drafter = build("drafter", spec)
        first = context_of([1])
        state = drafter.start(first, TOOLS)
        first.tokens += [4, 5, 6]
        drafter.finish(state)
        other = build("drafter", "suffix") if spec == "suffix" else drafter
        assert propose(other, other.start(context_of([4, 5]), TOOLS)) == []


def test_eviction_forgets_the_oldest_exactly():
    rng, orders = random.Random(2), (1, 2, 4)
    texts = [[rng.randrange(3) for _ in range(60)] for _ in range(4)]

    def check(bound, pieces, left):
        """What a bounded store knows is what a rescan of ``left`` does: (text, first that counts, end)."""
        store, documents = SharedStore(orders, bound), {}
        for which, begin, end in pieces:
            text = texts[which]
            document = documents.setdefault(which, Document(text[max(0, begin - 4) : begin]))
            store.extend(document, text[begin:end])
        rest = [(texts[which][max(0, first - 4) : end], first - max(0, first - 4)) for which, first, end in left]
        for window in windows(3, 4):
            assert known(store.store, window) == rescanned(rest, window)
        assert store.size == sum(end - first for _, first, end in left)
        return store

    # The first text is gone; of the second, 12 tokens went, by age of the request, not of the token.
    check(100, [(0, 4, 60), (1, 4, 30), (2, 4, 60), (1, 30, 60)], [(1, 16, 60), (2, 4, 60)])
    check(10, [(0, 4, 30), (0, 30, 60)], [(0, 50, 60)])  # one request longer than the bound keeps its newest tokens
    # A request that was forgotten as a whole goes on in the context that it had.
    check(20, [(0, 4, 24), (1, 4, 24), (0, 24, 30)], [(1, 10, 24), (0, 24, 30)])
    store = check(1, [(0, 4, 60)], [(0, 59, 60)])
    store.store.remove(0, 59)
    assert not any(store.store.tables), "nothing is left behind"


def test_text_taken_back():
    drafter = build("drafter", "suffix")
    context = context_of([1, 2, 3, 4, 5, 6, 7, 8])
    state = drafter.start(context, TOOLS)
    context.tokens += [1, 2, 3]
    assert propose(drafter, state, 2) == [4, 5]
    del context.tokens[9:]
    assert state.context.tokens == [1, 2, 3, 4, 5, 6, 7, 8, 1]
    assert propose(drafter, state, 1) == [2]
    context.tokens[4:] = [2, 3, 9, 9, 9, 9, 9, 1, 2]
    propose(drafter, state)
    assert state.history == context.tokens


def test_text_taken_back_is_evicted_like_any_other():
    rng = random.Random(3)
    drafter = build("drafter", "suffix:max_tokens=30")
    context = context_of([0, 1])
    state = drafter.start(context, TOOLS)
    for _ in range(60):
        context.tokens += [rng.randrange(9) for _ in range(5)]
        propose(drafter, state)
        del context.tokens[-3:]
        context.tokens += [rng.randrange(9) for _ in range(2)]
        propose(drafter, state)
        assert counted(drafter._everyone.store) == drafter._everyone.size <= 30


def test_many_threads_share_one_store():
    drafter = build("drafter", "suffix:max_tokens=500")
    errors = []

    def work(seed):
        rng = random.Random(seed)
        try:
            for _ in range(5):
                context = context_of([rng.randrange(5)])
                state = drafter.start(context, TOOLS)
                for _ in range(60):
                    context.tokens += [*propose(drafter, state, 3), rng.randrange(5)]
                drafter.finish(state)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    store = drafter._everyone
    assert store.size == 500
    assert counted(store.store) == 500


class TestFallback:
    def setup_method(self):
        self.draft = FakeModel.random(1)
        self.tools = Tools(self.draft, build("shape", "chain"), self.draft.vocab_size)
        self.drafter = build("drafter", "suffix:fallback=[draft-model],min_score=3")

    def test_asked_only_where_counts_promise_too_little(self):
        prompts = ([1, 2, 3], [1, 2, 3, 4, 5, 6, 7, 1, 2, 3, 4])
        states = [self.drafter.start(context_of(p), self.tools) for p in prompts]
        poor, rich = self.drafter.propose(states, [4, 4], [None, None])
        assert (poor.source, len(poor)) == ("draft-model", 4)
        assert (rich.source, list(rich.tokens)) == ("suffix", [5, 6, 7, 1])

    def test_observes_its_own_rounds_and_releases_its_slots(self, monkeypatch):
        seen = []
        monkeypatch.setattr(
            type(self.drafter.fallback), "observe", lambda self, states, verdicts: seen.extend(verdicts)
        )
        states = [self.drafter.start(context_of(p), self.tools) for p in ([1, 2, 3], [1, 2, 3, 4, 5, 6, 1, 2, 3, 4])]
        trees = self.drafter.propose(states, [4, 4], [None, None])
        verdicts = [Verdict(tree, (), 0) for tree in trees]
        self.drafter.observe(states, verdicts)
        assert seen == verdicts[:1]
        for state in states:
            self.drafter.finish(state)
        assert all(slot.closed for slot in self.draft.slots)

    def test_walks_as_a_knob(self):
        assert [policy.name for policy in self.drafter.walk()] == ["suffix", "draft-model"]
        assert self.drafter.spec() == "suffix:fallback=[draft-model],min_score=3.0"


def test_grows_trees_from_counts():
    drafter = build("drafter", "suffix:shared=false,max_depth=2,offset=4")
    state = drafter.start(context_of([1, 2, 3, 1, 2, 4, 1, 2]), Tools(None, build("shape", "best-first"), 8))
    tree = drafter.propose([state], [6], [None])[0]
    roots = {token for token, parent in zip(tree.tokens, tree.parents, strict=True) if parent == -1}
    assert roots == {3, 4}
    assert tree.draft_probs is None


def test_speed():
    """Counting and drafting a token costs what about 60 entries in a dictionary of tuples cost; 250 is the alarm."""
    rng = random.Random(0)
    phrases = [[rng.randrange(2000) for _ in range(rng.randint(3, 20))] for _ in range(300)]
    text = [token for _ in range(1200) for token in rng.choice(phrases)][:10_000]
    drafter = build("drafter", "suffix")
    drafting = yard = 0.0
    context = context_of(text[:10])
    state = drafter.start(context, TOOLS)
    for stop in range(1000, len(text) + 1, 1000):  # in turn, so that both meet the same load
        begin = time.process_time()
        while len(context.tokens) < stop:
            drafted = propose(drafter, state, 5)
            at = len(context.tokens)
            kept = next((i for i, token in enumerate(drafted) if text[at + i : at + i + 1] != [token]), len(drafted))
            context.tokens += text[at : at + kept + 1]
        drafting += time.process_time() - begin
        begin = time.process_time()
        entries = {(i, i + 1): [i] for i in range(1000)}
        yard += time.process_time() - begin
        assert len(entries) == 1000
    assert drafting / yard < 250
