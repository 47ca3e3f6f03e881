"""The replay loop against the verifier it stands in for, and a growing conversation against its drafters."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from laconic.bench.along import follow
from laconic.bench.replay.decode import ReplayError, Script, play
from laconic.speculation.base import Drafter, LengthPolicy, TargetRows, TokenTree
from laconic.speculation.draws import Draws
from laconic.types import Sampling
from tests.speculation.rounds import build

END = 99


def script(*turns):
    return Script("it", tuple((list(given), [*written, END]) for given, written in turns))


def replayed(drafter, *turns, length="constant:4", shape="chain"):
    drafter = build("drafter", drafter) if isinstance(drafter, str) else drafter
    return play(
        script(*turns), drafter, build("length", length), build("shape", shape), end=END, vocab_size=END + 1
    )  # fmt: skip


def random_tree(rng, size):
    tokens, parents, taken = [], [], set()
    while len(tokens) < size:
        parent, token = rng.randrange(-1, len(tokens)), rng.randrange(3)
        if (parent, token) not in taken:
            taken.add((parent, token))
            tokens.append(token)
            parents.append(parent)
    return TokenTree(tokens, parents)


def test_follows_the_path_that_the_verifier_accepts():
    rng, match, depths = random.Random(0), build("verifier", "match"), Counter()
    for _ in range(400):
        tree = random_tree(rng, rng.randrange(12))
        written = [rng.randrange(3) for _ in range(20)]
        depth = []
        for parent in tree.parents:
            depth.append(0 if parent == -1 else depth[parent] + 1)
        best = [written[0], *(written[d + 1] for d in depth)]
        verdict = match.verify(TargetRows(None, best, Sampling(), 0), tree, Draws(0))
        assert follow(tree, written, 0) == list(verdict.path)
        depths[len(verdict.path)] += 1
    assert len(depths) >= 5


def test_counts_by_hand():
    # Given 1 2 3; written 1 2 3 4 END. Prompt lookup: nothing known of 3; after 1 drafts 2 3 1 2, keeps 2.
    tally = replayed("prompt-lookup:max_ngram=1", ([1, 2, 3], [1, 2, 3, 4]))
    assert (tally.given, tally.output) == (3, 5)
    # Rounds: [] -> 1; [2 3 1 2] -> 2 3 4; [] -> END.
    assert (tally.passes, tally.drafted, tally.accepted) == (3, 4, 2)
    assert tally.by_place == [[4, 2], [0, 0], [0, 0], [1, 1]]  # By where a round begins: tokens 0, 1 and 4 of 5.
    assert tally.seconds >= tally.drafting_seconds >= 0


def test_nothing_is_kept_beyond_the_end_of_a_turn():
    # The draft runs on past the end token; it is wasted, and the next turn starts afresh.
    tally = replayed("prompt-lookup", ([1, 2, END, 7, 8, 1], [2]), ([5], [5]))
    assert tally.output == 4
    assert (tally.drafted, tally.accepted) == (8, 2)  # 2 END 7 8, of which 2 and END; later a draft after 5.


def test_no_drafting_is_plain_decoding():
    tally = replayed("none", ([1], [2, 3]), ([4], [5]))
    assert (tally.passes, tally.output, tally.drafted) == (5, 5, 0)


class Thief(Drafter):
    """Writes into the context, which only the loop may do."""

    name = "thief"

    def start(self, context, tools):
        return context

    def propose(self, states, budgets, stops):
        states[0].tokens[-1] = 7
        return [TokenTree()]


def test_a_text_that_is_not_the_record_is_an_error():
    with pytest.raises(ReplayError, match=r"'it': .* first difference at token 0 of 4"):
        replayed(Thief(), ([1], [2, 3]))


class Watch(LengthPolicy):
    """Records what it is told."""

    name = "watch"

    def start(self, context, pace):
        return []

    def budget(self, state):
        state.append("budget")
        return 2

    def observe(self, state, verdict, seconds):
        state.append(len(verdict.tree))
        SEEN.append(tuple(state))


SEEN: list[tuple] = []


def test_length_rules_are_asked_each_round_and_told_of_drafts_only():
    SEEN.clear()
    play(
        script(([1, 2, 1], [2, 5])), build("drafter", "prompt-lookup"), Watch(), build("shape", "chain"),
        end=END, vocab_size=END + 1,
    )  # fmt: skip
    assert SEEN == [("budget", 2)]  # The second round knows nothing of 5, drafts nothing, and says nothing.


@pytest.mark.parametrize("drafter", ["prompt-lookup", "suffix", "suffix:shared=false", "suffix:max_tokens=40"])
@pytest.mark.parametrize("shape", ["chain", "best-first"])
def test_random_conversations_come_out_as_recorded(drafter, shape):
    if shape == "best-first" and drafter == "prompt-lookup":
        pytest.skip("cannot grow trees")
    rng = random.Random(1)
    policy = build("drafter", drafter)
    for _ in range(6):
        turns = [[[rng.randrange(4) for _ in range(rng.randint(1, 15))] for _ in "gw"] for _ in range(5)]
        replayed(policy, *turns, shape=shape)


@pytest.mark.parametrize("drafted", [True, False], ids=["drafting", "never-drafting"])
def test_a_conversation_shares_what_was_written_and_only_that_once(drafted):
    turns = ([1, 2, 3], [4, 5, 6]), ([7, 8, 7, 8], [4, 5, 9]), ([7, 8], [4, 5])
    policy = build("drafter", "suffix:max_depth=2" + ("" if drafted else ",factor=0"))
    replayed(policy, *turns)
    # What followed each token, from a plain scan: the token before each written one.
    expected: Counter[tuple[int, int]] = Counter()
    text: list[int] = []
    for given, wrote in turns:
        text += given
        for token in (*wrote, END):
            expected[text[-1], token] += 1
            text.append(token)
    store = policy._everyone
    found = Counter((before, store.run(at, 1)[0]) for before in (*range(10), END) for at in store.find([before]))
    assert found == expected


def test_a_conversation_is_forgotten_in_time():
    """Turns are apart in the store: nothing of what was given between them is ever found as what followed."""
    rng = random.Random(2)
    policy = build("drafter", "suffix:max_depth=4,max_tokens=40")
    store = policy._everyone
    for _ in range(9):
        turns = [([rng.randrange(5) for _ in range(6)], [rng.randrange(5, 9) for _ in range(7)]) for _ in "abc"]
        replayed(policy, *turns)
        found = [store.run(at, 1)[0] for before in (*range(9), END) for at in store.find([before])]
        assert 10 < len(found) <= 40
        assert min(found) >= 5


def test_another_conversation_profits_from_what_was_written_not_from_what_was_given():
    policy = build("drafter", "suffix")
    replayed(policy, ([1], [2]), ([30, 31, 32, 33, 34, 35], [40, 41, 42, 43, 44, 45]))
    assert replayed(policy, ([50], [30, 31, 32, 33, 34, 35])).accepted == 0
    assert replayed(policy, ([51], [40, 41, 42, 43, 44, 45])).accepted >= 4
