"""What laconic's own policy believes and does, on boards that are written down."""

from __future__ import annotations

import itertools
import math
from statistics import NormalDist

import numpy as np
import pytest

from laconic import Engine, Limits, Sampling
from laconic.scaling.base import Growth
from laconic.scaling.beliefs import Votes, gain, left, of_votes
from laconic.scaling.enough import Enough
from tests.scaling.boards import answers, board, does, done, look, policy, running, stands

WAYS = [(1, 1, 0.6), *((1 / 4, power, 0.1) for power in (1, 2, 3)), *((1 / 16, power, 1 / 30) for power in (1, 2, 3))]
HARD = [(0, 8 / 15), *((s * 1.3556261799742657, 0.2220759220056126) for s in (1, -1))]
HARD += [(s * 2.8569700138728056, 0.0112574113277207) for s in (1, -1)]


def meant(doubt: float, even: float, power: float) -> float:
    """A doubt as it may be meant: never less than it is told."""
    times = (doubt / (1 - doubt) / even) ** power
    return min(max(times / (1 + times), doubt, 1e-3), 1 - 1e-3)


def felt(doubt: float, hard: float) -> float:
    """The same on a question that is so hard: seven tenths of what makes attempts err are their question's."""
    room = NormalDist().inv_cdf(1 - doubt)
    return 1 - NormalDist().cdf((room - math.sqrt(0.7) * hard) / math.sqrt(0.3))


def by_hand(groups: tuple[int, ...], doubts: tuple[float, ...], alike: float) -> list[float]:
    """Chances of every answer, and of none, written out."""
    totals = [0.0] * (max(groups) + 2)
    for (even, power, before), (hard, share) in itertools.product(WAYS, HARD):
        d = [felt(meant(doubt, even, power), hard) for doubt in doubts]
        for answer in range(len(totals)):
            product = before * share
            for group, doubt in zip(groups, d, strict=True):
                product *= 1 - doubt if group == answer else doubt
            others = [group for group in groups if group != answer]
            again, wrong = len(others) - len(set(others)), len(others)
            product *= alike**again * (1 - alike) ** max(len(set(others)) - 1, 0)
            product *= math.prod(math.factorial(others.count(group) - 1) for group in set(others))
            product /= math.factorial(max(wrong - 1, 0)) ** (again / max(wrong - 1, 1))
            totals[answer] += product
    return [total / sum(totals) for total in totals]


@pytest.mark.parametrize(
    ("groups", "doubts"),
    [((0, 0), (0.2, 0.2)), ((0, 1), (0.1, 0.4)), ((0,), (0.23,)), ((0, 1, 0, 2, 1), (0.1, 0.02, 0.3, 0.45, 0.02))],
)
def test_what_is_believed(groups: tuple[int, ...], doubts: tuple[float, ...]) -> None:
    found = of_votes(Votes(groups, doubts), 0.3).chances[0]
    assert found.tolist() == pytest.approx(by_hand(groups, doubts, 0.3), abs=1e-4)


def test_sure_attempts_that_differ_make_all_doubtful() -> None:
    """Doubts of 0.05 are then taken to be meant as something like one half, and no more where attempts agree."""
    agree, differ = (of_votes(Votes(groups, (0.05, 0.05)), 0.5) for groups in ((0, 0), (0, 1)))
    ways = [meant(0.05, even, power) for even, power, _ in WAYS]
    usual = sum(way * before for way, (_, _, before) in zip(ways, WAYS, strict=True))
    assert float(agree.ways[0] @ ways) < usual < float(differ.ways[0] @ ways)
    assert agree.chances[0, 0] > 0.85
    assert differ.chances[0, 2] > 2 * agree.chances[0, 1]  # that none is right
    alone = of_votes(Votes((0,), (0.05,)), 0.5)
    assert alone.ways[0].tolist() == pytest.approx([before for _, _, before in WAYS])  # one says nothing of itself


def test_attempts_that_agree_are_no_independent_witnesses() -> None:
    """Measured: two looks in doubt by 0.04 that agree are wrong one time in ninety; apart they would be one in 1200."""
    told = np.eye(len(WAYS))[0]
    assert 0.003 < left(Votes((0, 0), (0.04, 0.04)), 0.5, told) < 0.02
    assert 0.02 < left(Votes((0, 0), (0.1, 0.1)), 0.5, told) < 0.06
    assert left(Votes((0,), (0.04,)), 0.5, told) == pytest.approx(0.04, abs=0.002)


def test_more_is_worth_most_where_answers_differ() -> None:
    split = gain(Votes((0, 1), (0.2, 0.2)), 0.3, 2, 0)
    agreed = gain(Votes((0, 0), (0.2, 0.2)), 0.3, 2, 0)
    sure = gain(Votes((0,), (0.01,)), 0.3, 2, 0)
    assert split > 0.1
    assert max(agreed, sure) < 0.02


def test_what_is_expected_never_harms() -> None:
    for votes in (Votes((0,), (0.5,)), Votes((0, 1, 0), (0.3, 0.3, 0.3)), Votes((0, 1, 2), (0.5, 0.5, 0.5))):
        for more in (1, 2, 4):
            assert gain(votes, 0.3, more, 1) > -0.06  # what drawing leaves of 0


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

    def test_ends_that_stand_one_to_one_call_for_another_however_sure_one_is(self) -> None:
        on = board(done(0, "71", thinking=250), done(1, "-71", thinking=295))
        on.attempts[0].looks, on.attempts[1].looks = [look("71", 0.4)], [look("-71", 0.03)]
        assert does("enough", on).start == 1
        assert does("enough:price=0.2", on).enough  # at a price
        on.attempts[0].concluded = True  # it was ended before its end, and says no more than its look
        assert does("enough", on).enough
        on = board(done(0, "71", thinking=250), done(1, "-71", thinking=295), done(2, "-71", thinking=295))
        for attempt, doubt in zip(on.attempts, (0.4, 0.03, 0.03), strict=True):
            attempt.looks = [look(attempt.answer, doubt)]
        assert does("enough", on).enough

    def test_never_more_than_allowed(self) -> None:
        on = board(done(0, "4"), done(1, "5"), most=2)
        assert does("enough", on).start == 0

    def test_who_cannot_add_anything_is_stopped(self) -> None:
        on = board(done(0, "4"), running(1))
        on.attempts[0].looks, on.attempts[1].looks = [look("4", 0.02)], [look("4", 0.2)]
        assert does("enough", on).enough
        on = board(done(0, "4"), running(1))
        on.attempts[0].looks = [look("4", 0.4)]
        assert not does("enough", on).enough

    def test_a_higher_price_buys_less(self) -> None:
        on = board(done(0, "4"), done(1, "5"))
        on.attempts[0].looks, on.attempts[1].looks = [look("4", 0.2)], [look("5", 0.2)]
        assert does("enough:price=0.001", on).start == 1
        assert does("enough:price=0.2", on).enough

    def test_without_probes_answers_that_agree_are_enough(self) -> None:
        first, second = (stands("enough", answers(*["4"] * n))[0].weight for n in (1, 3))
        assert 0.2 < first < 0.6 < second
        assert does("enough", answers("4", "4", "4", "4", "4")).enough


class TestConcludes:
    def test_the_share_of_the_promise(self) -> None:
        on = board(done(0, "4"), running(1))
        on.attempts[0].looks, on.attempts[1].looks = [look("4", 0.02)], [look("4", 0.3)]
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


class TestLearning:
    def asked(self, made: Enough, *looks: tuple[str, float]) -> float:
        """The doubt of two attempts that are sure and agree, after as many questions with such votes."""
        for _ in range(40):
            on = board(*(done(at, answer) for at, (answer, _) in enumerate(looks)))
            for attempt, (answer, doubt) in zip(on.attempts, looks, strict=True):
                attempt.looks = [look(answer, doubt)]
            made.last(None, on, made.candidates(None, on), lambda *_: pytest.fail("nothing is asked"))
        on = board(done(0, "4"), done(1, "4"))
        on.attempts[0].looks = on.attempts[1].looks = [look("4", 0.04)]
        return 1 - made.confidence(None, on, made.candidates(None, on))

    def test_attempts_that_are_sure_and_differ_teach_it_to_doubt(self) -> None:
        fresh = self.asked(Enough(), ("4", 0.5))
        wary = self.asked(Enough(), ("4", 0.04), ("5", 0.04), ("6", 0.04))
        trusting = self.asked(Enough(), ("4", 0.04), ("4", 0.04), ("4", 0.04))
        assert trusting < fresh < wary

    def test_agreement_does_not_teach_it_to_trust_more_than_is_told(self) -> None:
        """Else it would end the sooner the more its early looks agree, and they agree the more the sooner it ends."""
        made = Enough()
        for _ in range(300):
            on = board(done(0, "4"), done(1, "4"))
            on.attempts[0].looks, on.attempts[1].looks = [look("4", 0.2)], [look("4", 0.2)]
            made.last(None, on, made.candidates(None, on), lambda *_: pytest.fail("nothing is asked"))
        on = board(done(0, "4"))
        on.attempts[0].looks = [look("4", 0.2)]
        (alone,) = made.candidates(None, on)
        assert alone.weight == pytest.approx(0.8, abs=0.01)

    def test_an_engine_keeps_what_it_has_learned(self) -> None:
        engine = Engine.load("bundled")
        for _ in range(2):
            engine.answer("What is 37 * 48 + 15?", n=3, sampling=Sampling(0.9, seed=5), limits=Limits(400))
        (kept,) = engine._scalings.values()
        assert isinstance(kept, Enough)
        assert kept._ways.tolist() != Enough()._ways.tolist()
