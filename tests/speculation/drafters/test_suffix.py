"""Suffix decoding: counts against a plain rescan, sharing, eviction, fallback, speed."""

from __future__ import annotations

import random
import threading
import time
import tracemalloc
from collections import Counter
from collections.abc import Sequence

import pytest

from laconic.speculation.base import Go, Tools, Verdict
from laconic.speculation.drafters.suffix_pages import Document
from laconic.speculation.drafters.suffix_store import ORDERS, PLACES, Store
from laconic.speculation.drafters.suffix_walk import best_draft
from tests.fakes import FakeModel
from tests.speculation.rounds import build, context_of

TOOLS = Tools(None, build("shape", "chain"), 8)


def propose(drafter, state, budget=8, judge=None):
    return list(drafter.propose([state], [budget], [judge])[0].tokens)


def places(text: Sequence[int], window: Sequence[int], depth: int) -> dict[int, int]:
    """By a plain scan: index of what followed a suffix of ``window`` in ``text``, and the length of the match."""
    found = {}
    for at in range(1, len(text)):
        most = min(at, len(window), depth)
        length = next((n for n in range(most) if text[at - n - 1] != window[-n - 1]), most)
        if length:
            found[at] = length
    return found


def written(rng: random.Random, symbols: int, size: int) -> list[int]:
    phrases = [[rng.randrange(symbols) for _ in range(rng.randint(2, 15))] for _ in range(12)]
    return [token for _ in range(size) for token in rng.choice(phrases)][:size]


@pytest.mark.parametrize("symbols", [4, 12])
def test_finds_what_a_scan_finds(symbols):
    rng = random.Random(symbols)
    text = written(rng, symbols, 300)
    store, document = Store(12), Document()
    told = crowded = 0
    while told < len(text):
        more = rng.choice([1, 2, 40])
        store.extend(document, text[told : told + more])
        told = min(told + more, len(text))
        for _ in range(20):
            begin = rng.randrange(len(text))
            window = text[begin : begin + rng.randint(1, 12)]
            found, known = store.find(window), places(text[:told], window, 12)
            assert found.items() <= known.items()
            if len(known) <= PLACES:
                assert found == known
            else:  # the longest matches, as far as chains tell them apart
                crowded += 1
                assert len(found) == PLACES
                enough = [order for order in ORDERS if sum(length >= order for length in known.values()) <= PLACES]
                for order in enough:
                    assert {p for p, n in known.items() if n >= order} <= found.keys()
            for place in found:
                assert store.run(place, 50) == text[:told][place : place + 50]
    assert crowded > 20


def test_the_latest_of_many_equals():
    store = Store(4)
    store.extend(Document(), [*[1, 2] * 5, *[1, 3] * 40, 1])
    assert {store.run(place, 1)[0] for place in store.find([9, 1])} == {3}


def by_definition(texts, window, most, min_prob):
    """SuffixDecoding's choice, from a scan: the likeliest text of each match length in each text, the best of these."""
    best, drafted = 0.0, []
    for text in texts:
        known = places(text, window, len(window))
        for length in sorted(set(known.values()), reverse=True):
            alive = sorted((p for p, n in known.items() if n >= length), key=lambda p: (-known[p], -p))
            path, score, tokens = 1.0, 0.0, []
            while len(tokens) < most(length):
                next_ones = Counter(text[p + len(tokens)] for p in alive if p + len(tokens) < len(text))
                if not next_ones:
                    break
                ((token, count),) = next_ones.most_common(1)
                path *= count / len(alive)
                if path < min_prob:
                    break
                score += path
                alive = [p for p in alive if text[p + len(tokens) : p + len(tokens) + 1] == [token]]
                tokens.append(token)
            if score > best + 1e-9:
                best, drafted = score, tokens
    return best, drafted


def test_every_match_length_of_every_store_is_weighed():
    rng = random.Random(5)
    shorter = second = 0
    for _ in range(1000):
        texts = [written(rng, 9, 24), written(rng, 9, 24)]
        window = [rng.randrange(9), *written(rng, 9, 5)]
        stores = [Store(8), Store(8)]
        for store, text in zip(stores, texts, strict=True):
            store.extend(Document(), text)
        if max(len(places(text, window, 8)) for text in texts) > PLACES:
            continue

        def most(length):
            return int(1.5 * length + 1)

        draft = best_draft([(store, None) for store in stores], window, [0, *map(most, range(1, 9))], 99, 0.1)
        score, _ = by_definition(texts, window, most, 0.1)
        assert draft.score == pytest.approx(score)
        second += score > by_definition(texts[:1], window, most, 0.1)[0]
        longest = max((n for text in texts for n in places(text, window, 8).values()), default=0)
        shorter += 0 < draft.budget < most(longest)
    assert shorter > 15
    assert second > 15


def test_takes_the_most_frequent_continuation():
    drafter = build("drafter", "suffix:shared=false,max_depth=2,offset=8,min_prob=0")
    state = drafter.start(context_of([1, 2, 5, 1, 2, 3, 1, 2, 3, 9, 1, 2]), TOOLS)
    assert propose(drafter, state, 2)[0] == 3


@pytest.mark.parametrize(("spec", "length"), [("factor=1", 2), ("factor=2", 4), ("factor=0,offset=1", 1)])
def test_length_follows_the_match(spec, length):
    drafter = build("drafter", f"suffix:shared=false,max_depth=2,{spec}")
    state = drafter.start(context_of([1, 2, 3, 4, 5, 6, 7, 8, 1, 2]), TOOLS)
    assert propose(drafter, state) == [3, 4, 5, 6][:length]


def test_a_text_that_repeats_itself_goes_on_to_do_so():
    drafter = build("drafter", "suffix:offset=9")
    context = context_of([9, 8, 1, 2, 1])
    state = drafter.start(context, TOOLS)
    assert propose(drafter, state, 6) == [2, 1, 2, 1, 2, 1]
    context.tokens += [3]
    propose(drafter, state)
    context.tokens[-1:] = [2]  # what was taken back ends where it ended
    assert propose(drafter, state, 4) == [1, 3]


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


def test_what_followed_a_longer_match_is_surer():
    drafter = build("drafter", "suffix:shared=false,offset=2,min_prob=0.5")
    asked = []

    def judge(node):
        asked.append(node.confidence)
        return Go.ON

    for prompt in ([1, 2, 3, 9, 8, 2], [1, 2, 3, 9, 1, 2], [1, 2, 3, 1, 2, 3, 1, 2]):
        propose(drafter, drafter.start(context_of(prompt), TOOLS), 1, judge)
    assert 0.3 < asked[0] < asked[1] < asked[2] < 0.9
    asked.clear()
    propose(drafter, drafter.start(context_of([1, 2, 3, 4, 5, 1, 2]), TOOLS), 3, judge)
    assert asked == sorted(asked)
    assert len(set(asked)) == 3


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


def counted(store: Store) -> list[tuple[int, int]]:
    """Pairs of a token and one that is known to have followed it, by the chains of contexts of one token."""
    pages, (_, heads, links) = store._pages, store._chains[0]
    pairs = set()
    for head in list(heads):
        at, seen = heads[head] if isinstance(heads, dict) else head, set()
        while at and at not in seen:
            seen.add(at)
            for before in range(9):
                if pages.matches(at - 1, [before]) == 1:
                    pairs.add((at - 1, before, pages.run(at - 1, 1)[0]))
            at = links[at - 1]
    return [(before, token) for _, before, token in sorted(pairs)]


@pytest.mark.parametrize("bound", [1, 5, 20, 100, 300])
def test_the_oldest_is_forgotten_and_the_rest_is_found(bound):
    """Three texts that grow by turns: what is found was written, lately, and is followed by what followed it."""
    rng = random.Random(bound)
    store = Store(4, bound)
    texts = [[rng.randrange(9) for _ in range(3)] for _ in range(3)]
    documents = [Document(list(text)) for text in texts]
    pairs: list[tuple[int, int]] = []
    for _ in range(200):
        which = rng.randrange(3)
        more = [rng.randrange(9) for _ in range(rng.randint(1, 4))]
        for token in more:
            pairs.append((texts[which][-1], token))
            texts[which].append(token)
        store.extend(documents[which], more)
        kept = counted(store)
        assert len(kept) <= bound
        # Between a page of each text for its end and what heads of texts take, most of the bound is of use.
        assert Counter(kept) <= Counter(pairs[-2 * bound - 64 :])
    if bound >= 100:
        assert len(kept) > bound / 2
        window = texts[which][-8:-4]
        followed = [store.run(place, 4) for place, length in store.find(window).items() if length == 4]
        assert texts[which][-4:] in followed


def test_a_page_that_is_written_anew_is_cut_off():
    """Nothing is read across from what replaced it, backwards or onwards."""
    store = Store(8, 64)  # eight pages of eight tokens
    first, second = Document(), Document()
    store.extend(first, range(100, 112))
    store.extend(second, range(200, 256))
    assert store.find(list(range(100, 112))) == {}, "the first page is forgotten, with it all that precedes the second"
    assert store._pages.matches(8, range(107, 99, -1)) == 0
    assert all(token >= 200 for place in range(64) for token in store.run(place, 20) if place // 8 != 1)


def test_bytes_a_token():
    """All that a full shared store holds, by the real size of its memory: 37 bytes a token, and a part of a page."""
    rng = random.Random(0)
    store = Store(16, 20_000)
    for _ in range(100):
        store.extend(Document(), [rng.randrange(500) for _ in range(300)])
    held = sum(store._pages._fill)
    assert 18_000 < held <= 20_000
    assert store.nbytes / held < 45
    tracemalloc.start()
    begun = tracemalloc.get_traced_memory()[0]
    other = Store(16, 20_000)
    for _ in range(100):
        other.extend(Document(), [rng.randrange(500) for _ in range(300)])
    grown = tracemalloc.get_traced_memory()[0] - begun
    tracemalloc.stop()
    assert grown / held < 60
    assert other.nbytes == store.nbytes <= grown


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


def test_text_taken_back_was_written_all_the_same():
    """It may be guessed again, and what follows it later is the new text, not a mixture."""
    drafter = build("drafter", "suffix:max_tokens=64")
    context = context_of([0, 1])
    state = drafter.start(context, TOOLS)
    context.tokens += [2, 3, 4]
    propose(drafter, state)
    context.tokens[-1:] = [5, 6]
    propose(drafter, state)
    drafter.finish(state)
    pairs = Counter(counted(drafter._everyone))
    assert pairs == Counter([(1, 2), (2, 3), (3, 4), (3, 5), (5, 6)])


def test_short_turns_leave_most_of_the_store_to_what_was_written():
    """Of a conversation in turns of thirty tokens, two thirds of the bound hold tokens that may be found again."""
    rng = random.Random(4)
    drafter = build("drafter", "suffix:max_depth=64,max_tokens=3000")
    context = context_of([1])
    state = drafter.start(context, TOOLS)
    for _ in range(200):
        context.tokens += [rng.randrange(500) for _ in range(50)]
        context.prompt_length = len(context.tokens)
        propose(drafter, state)
        context.tokens += [rng.randrange(500) for _ in range(30)]
        propose(drafter, state)
    pages = drafter._everyone._pages
    found = sum(pages._fill) - sum(pages._first)
    assert found > 0.6 * 3000
    assert drafter.shared_bytes / found < 60


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
    pages = drafter._everyone._pages
    assert pages._taken > 40, "every page was written anew"
    assert sum(pages._fill) > 300
    assert all(length <= 16 for token in range(5) for length in drafter._everyone.find([token]).values())


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
