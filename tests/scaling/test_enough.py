"""What laconic's own policy believes and does, on boards that are written down."""

from __future__ import annotations

import pytest

from laconic.scaling.base import Growth
from laconic.scaling.enough import Votes, gain, posterior
from tests.scaling.boards import answers, board, does, done, look, policy, running, stands


def test_two_that_agree_by_hand() -> None:
    # Right: 0.8 * 0.8. Both wrong alike: 0.2 * 0.2 * 0.3.
    found = posterior(Votes((0, 0), (0.2, 0.2)), 0.3)
    assert found.tolist() == pytest.approx([0.64 / 0.652, 0.012 / 0.652])


def test_two_that_do_not_agree_by_hand() -> None:
    found = posterior(Votes((0, 1), (0.1, 0.4)), 0.3)
    each = [0.9 * 0.4, 0.1 * 0.6, 0.1 * 0.4]
    assert found.tolist() == pytest.approx([p / sum(each) for p in each])


def test_one_is_in_its_own_doubt() -> None:
    assert posterior(Votes((0,), (0.23,)), 0.3)[0] == pytest.approx(0.77)


def test_more_is_worth_most_where_answers_differ() -> None:
    split = gain(Votes((0, 1), (0.2, 0.2)), 0.3, 2, 0)
    agreed = gain(Votes((0, 0), (0.2, 0.2)), 0.3, 2, 0)
    sure = gain(Votes((0,), (0.01,)), 0.3, 2, 0)
    assert split > 0.1
    assert max(agreed, sure) < 0.02


def test_what_is_expected_never_harms() -> None:
    for votes in (Votes((0,), (0.5,)), Votes((0, 1, 0), (0.3, 0.1, 0.6)), Votes((0, 1, 2), (0.5, 0.5, 0.5))):
        for more in (1, 2, 4):
            assert gain(votes, 0.3, more, 1) > -0.03  # what drawing leaves of 0


class TestActs:
    def test_it_begins_with_two(self) -> None:
        assert does("enough", board()).start == 2
        assert does("enough", board(most=1)).start == 1
        assert does("enough:abreast=4", board()).start == 4

    def test_sure_ones_that_agree_are_enough(self) -> None:
        on = board(done(0, "4"), done(1, "4"))
        for attempt in on.attempts:
            attempt.looks = [look("4", 0.1)]
        assert does("enough", on).enough

    def test_sure_ones_that_differ_call_for_another(self) -> None:
        on = board(done(0, "4"), done(1, "5"))
        on.attempts[0].looks, on.attempts[1].looks = [look("4", 0.1)], [look("5", 0.1)]
        assert does("enough", on).start == 1

    def test_never_more_than_allowed(self) -> None:
        on = board(done(0, "4"), done(1, "5"), most=2)
        assert does("enough", on).start == 0

    def test_who_cannot_add_anything_is_stopped(self) -> None:
        on = board(done(0, "4"), running(1))
        on.attempts[0].looks, on.attempts[1].looks = [look("4", 0.02)], [look("4", 0.4)]
        assert does("enough", on).enough
        on = board(done(0, "4"), running(1))
        on.attempts[0].looks = [look("4", 0.4)]
        assert not does("enough", on).enough

    def test_a_higher_price_buys_less(self) -> None:
        on = board(done(0, "4"), done(1, "5"))
        on.attempts[0].looks, on.attempts[1].looks = [look("4", 0.2)], [look("5", 0.2)]
        assert does("enough:price=0.001", on).start == 1
        assert does("enough:price=0.2", on).enough

    def test_without_probes_an_answer_is_in_doubt_by_half(self) -> None:
        assert stands("enough", answers("4"))[0].weight == pytest.approx(0.5)
        assert stands("enough", answers("4", "4"))[0].weight == pytest.approx(0.25 / (0.25 + 0.075))
        assert does("enough", answers("4", "4", "4", "4")).enough


class TestConcludes:
    def test_the_share_of_the_promise(self) -> None:
        on = board(done(0, "4"), running(1))
        on.attempts[0].looks, on.attempts[1].looks = [look("4", 0.05)], [look("4", 0.3)]
        made = policy("enough")
        # Alone the attempt would go on; the question is hardly in doubt any more.
        assert made.concludes(None, on, on.attempts[1], Growth(0.2, 0.065))
        on.attempts[0].looks = [look("5", 0.3)]
        assert made.concludes(None, on, on.attempts[1], Growth(0.2, 0.065)) is None

    def test_alone_it_is_settled(self) -> None:
        on = board(running(0), most=1)
        on.attempts[0].looks = [look("4", 0.3)]
        made = policy("enough")
        assert made.concludes(None, on, on.attempts[0], Growth(0.2, 0.065)) is None
        assert made.concludes(None, on, on.attempts[0], Growth(0.06, 0.065))

    def test_an_answer_that_was_cut_short_is_no_vote(self) -> None:
        on = board(running(0), running(1))
        on.attempts[0].looks = [look("4", 1.0, complete=False)]
        assert stands("enough", on) == []
