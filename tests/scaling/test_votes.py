"""Votes on boards that are written down, against values worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

import laconic.methods  # noqa: F401  (fills the registry)
from laconic.errors import RequestError
from laconic.scaling.vote.adaptive_consistency import leads
from laconic.scaling.vote.rpc import probable, weibulls
from laconic.types import Logprob
from tests.scaling.boards import SPECS, VOTES, answers, board, does, done, policy, running, stands


def test_votes_are_counted_by_value() -> None:
    found = stands("self-consistency", answers("1,200", "7", r"\$1200", "7.0", "1200"))
    assert [(each.answer, each.weight) for each in found] == [("1,200", 3), ("7", 2)]
    assert found[0].numbers == (0, 2, 4)


def test_attempts_without_an_answer_have_no_vote() -> None:
    assert [c.answer for c in stands("self-consistency", answers("", "4", ""))] == ["4"]
    assert stands("self-consistency", answers("", "")) == []


def test_of_equal_answers_that_of_the_shortest_thought_stands() -> None:
    on = board(
        done(0, "3", thinking=30), done(1, "4", thinking=20), done(2, "3", thinking=25), done(3, "4", thinking=9)
    )
    assert [c.answer for c in stands("self-consistency", on)] == ["4", "3"]
    assert stands("self-consistency", on)[0].numbers == (3, 1)


@pytest.mark.parametrize("name", VOTES)
def test_everybody_agrees_where_all_attempts_do(name: str) -> None:
    on = answers("4", "4.0", "4", "4")
    name = SPECS.get(name, name)
    found = stands(name, on)
    assert float(found[0].answer) == 4
    made = policy(name)
    assert 0 < made.confidence(made.start(on), on, found) <= 1


@pytest.mark.parametrize("name", VOTES)
def test_nobody_starts_more_than_there_may_be(name: str) -> None:
    acts = does(SPECS.get(name, name), board(most=3 if name == "short-m" else 2))
    assert acts.start + len(acts.others) >= 1


class TestWeighted:
    def test_a_sure_vote_outweighs_two_unsure_ones(self) -> None:
        on = board(done(0, "3", chances=(0.2, 0.2)), done(1, "3", chances=(0.2,)), done(2, "4", chances=(0.81, 1.0)))
        found = stands("weighted", on)
        assert [(c.answer, pytest.approx(c.weight)) for c in found] == [("4", 0.9), ("3", 0.4)]

    def test_whole_texts(self) -> None:
        on = board(done(0, "3", chances=(0.5, 0.5)), done(1, "4", chances=(0.5,)))
        assert [(c.answer, c.weight) for c in stands("weighted:text", on)] == [("4", 1.0), ("3", 0.5)]

    def test_a_softmax_of_the_means(self) -> None:
        on = board(done(0, "3", chances=(0.9,)), done(1, "4", chances=(0.4,)))
        found = stands("weighted:temperature=0.5", on)
        assert found[0].weight == pytest.approx(1 / (1 + math.exp(-1)))
        assert sum(c.weight for c in found) == pytest.approx(1)


class TestAdaptiveConsistency:
    def test_the_lead_by_hand(self) -> None:
        # Three to none: the chance of at most 3 successes in 4 tosses.
        assert leads([3]) == 15 / 16
        assert leads([4, 0]) == 31 / 32
        assert leads([1, 1]) == 0.5
        assert leads([2, 1]) == 11 / 16

    def test_it_agrees_with_draws_from_both_betas(self) -> None:
        draws = np.random.default_rng(0).beta(6, 3, 200_000)
        assert leads([5, 2]) == pytest.approx(float((draws > 0.5).mean()), abs=0.005)

    def test_it_stops_at_the_fourth_of_one_mind(self) -> None:
        assert does("adaptive-consistency", answers("4", "4", "4")).start == 1
        assert "0.969" in does("adaptive-consistency", answers("4", "4", "4", "4")).enough
        assert not does("adaptive-consistency", answers("4", "4", "4", "5")).enough

    def test_by_all_answers(self) -> None:
        assert not does("adaptive-consistency:by=dirichlet", answers("4", "4", "4")).enough
        assert does("adaptive-consistency:by=dirichlet", answers(*["4"] * 6)).enough

    def test_no_answer_leads_to_none(self) -> None:
        assert not does("adaptive-consistency", answers("", "", "")).enough


class TestESC:
    def test_it_stops_after_a_window_of_one_mind(self) -> None:
        assert does("esc:2", board()).start == 2
        assert does("esc:2", answers("4", "4")).enough
        assert does("esc:2", answers("4", "5")).start == 2
        assert does("esc:2", answers("4", "5", "5", "5")).enough

    def test_a_window_is_whole_before_the_next(self) -> None:
        assert does("esc:2", board(done(0, "4"), running(1))).start == 0
        assert does("esc:3,abreast=1", board(done(0, "4"))).start == 1

    def test_an_attempt_without_an_answer_is_not_of_one_mind(self) -> None:
        assert not does("esc:2", answers("4", "")).enough


class TestShort:
    def test_the_first_to_end_vote_and_the_others_are_left(self) -> None:
        on = board(running(0), done(1, "4"), running(2), done(3, "4"))
        assert not does("short-m:3", on).enough
        assert does("short-m:2", on).enough

    def test_more_than_there_can_be(self) -> None:
        with pytest.raises(RequestError, match="waits for 3"):
            policy("short-m").start(board(most=2))


class TestDeepConf:
    def test_the_least_confident_stretch(self) -> None:
        sure, unsure = (0.9, 0.9, 0.9, 0.9), (0.9, 0.1, 0.1, 0.9)
        on = board(done(0, "3", chances=unsure), done(1, "3", chances=unsure), done(2, "4", chances=sure))
        found = stands("deepconf:top=0,window=2,share=1", on)
        assert [(c.answer, pytest.approx(c.weight)) for c in found] == [("4", 0.9), ("3", 0.2)]

    def test_only_the_most_confident_vote(self) -> None:
        on = board(*(done(i, "3", chances=(0.3,)) for i in range(3)), done(3, "4", chances=(0.9,)))
        assert [c.answer for c in stands("deepconf:top=0,share=0.25", on)] == ["4"]

    def test_confidence_of_the_likeliest_tokens(self) -> None:
        on = answers("4")
        on.attempts[0].logprobs = lambda: [Logprob(1, -0.1, ((1, -0.1), (2, -4.0)))]
        assert stands("deepconf:top=2", on)[0].weight == pytest.approx(2.05)

    def test_an_attempt_that_falls_below_the_first_ones_is_stopped(self) -> None:
        on = board(done(0, "3", chances=(0.5,) * 4), done(1, "4", chances=(0.6,) * 4), running(2), running(3))
        on.attempts[2].chances, on.attempts[3].chances = (0.9, 0.1, 0.1), (0.9, 0.9, 0.9)
        acts = does("deepconf:top=0,window=2,warmup=2", on)
        assert list(acts.stop) == [2]
        assert acts.start

    def test_nobody_is_stopped_while_it_warms_up(self) -> None:
        on = board(done(0, "3"), running(1))
        on.attempts[1].chances = (0.001,) * 9
        acts = does("deepconf:top=0,window=2,warmup=2", on)
        assert (acts.start, dict(acts.stop)) == (0, {})

    def test_it_ends_where_nearly_all_agree(self) -> None:
        assert does("deepconf:top=0,warmup=2", answers("4", "4")).enough
        assert not does("deepconf:top=0,warmup=2", answers("4", "5")).enough


class TestRPC:
    def test_the_same_text_counts_once(self) -> None:
        on = board(done(0, "3", chances=(0.4,)), done(1, "3", chances=(0.4,)), done(2, "4", chances=(0.5,)))
        assert on.attempts[0].result is not None
        on.attempts[1].result = on.attempts[0].result
        assert [c.answer for c in stands("rpc", on)] == ["4", "3"]

    def test_improbable_thoughts_have_no_vote(self) -> None:
        chances = [0.08, 0.1, 0.12, 0.11, 0.09, 0.8, 0.82, 0.84, 0.81]
        on = board(*(done(i, "3" if c < 0.5 else "4", chances=(c,)) for i, c in enumerate(chances)))
        found = stands("rpc", on)
        assert [c.answer for c in found] == ["4"]
        assert len(stands("rpc:prune=false", on)) == 2

    def test_the_mixture_is_found_again(self) -> None:
        rng = np.random.default_rng(1)
        x = np.concatenate([0.2 * rng.weibull(4, 400), 0.8 * rng.weibull(12, 600)])
        fitted = weibulls(x)
        assert fitted is not None
        shares, shapes, scales = fitted
        assert shares[0] == pytest.approx(0.4, abs=0.05)
        assert scales == (pytest.approx(0.2, rel=0.1), pytest.approx(0.8, rel=0.05))
        assert shapes == (pytest.approx(4, rel=0.25), pytest.approx(12, rel=0.25))

    def test_equal_values_are_one_kind(self) -> None:
        assert probable(np.full(6, 0.3)).all()
        assert weibulls(np.full(6, 0.3)) is None


class TestMBR:
    def test_the_reply_most_like_the_others(self) -> None:
        replies = ["the red cat sat", "a red cat sat", "the red cat sat down", "dogs bark"]
        on = board(*(done(i, "", reply=reply) for i, reply in enumerate(replies)))
        found = stands("mbr", on)
        assert found[0].numbers == (0,)
        assert found[-1].answer == "dogs bark"

    def test_by_answers_it_is_a_vote(self) -> None:
        assert stands("mbr:answer", answers("4", "5", "4.0"))[0].answer == "4"
