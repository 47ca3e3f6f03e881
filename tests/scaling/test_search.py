"""Searches: what becomes of attempts that wait, on boards written down, on the bundled model, and over a server."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cache
from typing import Any

import pytest

from laconic import Engine, Limits, Sampling
from laconic.bench.tasks import draw
from laconic.bench.tasks import load as tasks
from laconic.errors import MethodError, RemoteError, RequestError, UnmetNeed
from laconic.models.formats.named import named
from laconic.models.text import Text
from laconic.scaling.answering import Answering
from laconic.scaling.base import Acts, Answered, Attempt, Board, Branch
from laconic.scaling.search.base import logit
from laconic.scaling.search.cautious import Cautious, entropy
from laconic.scaling.search.particles import Particles
from laconic.thinking.memory.base import seeded
from laconic.types import Logprob
from tests.scaling.boards import SEARCHES, SPECS, board, done, policy
from tests.scaling.test_served import quiet, serving

HARD = "What is 37 * 48 + 15?"
SAMPLING, LIMITS = Sampling(0.8, seed=3), Limits(700)


@cache
def bundled() -> Engine:
    return Engine.load("bundled")


def spec(name: str) -> str:
    return SPECS.get(name, name)


def slots(engine: Engine) -> int:
    return len(engine.target.host.pool.slots)  # type: ignore[attr-defined]


def watched(engine: Engine, scaling: str, n: int) -> tuple[Answered, int]:
    """What has come of it, and the most that were under way at once."""
    answering = engine.answering(HARD, scaling=scaling, n=n, sampling=SAMPLING, limits=LIMITS)
    most = max(standing.running for standing in answering)
    return answering.result, most


@pytest.mark.parametrize("name", SEARCHES)
class TestEvery:
    def test_text_counts_and_slots(self, name: str) -> None:
        """Every attempt begins as its parent wrote; what was written is counted once; nothing is left."""
        answering = bundled().answering(HARD, scaling=spec(name), n=5, sampling=SAMPLING, limits=LIMITS)
        most = max(standing.running for standing in answering)
        found, attempts = answering.result, answering.board.attempts
        assert most <= 5
        assert found.answer
        assert slots(bundled()) == 0
        assert any(attempt.parent >= 0 for attempt in attempts) or name == "particles"  # where all weigh the same
        for attempt, tried in zip(attempts, found.attempts, strict=True):
            if attempt.parent >= 0:
                theirs = found.attempts[attempt.parent].result.tokens
                assert tried.result.tokens[: attempt.taken] == theirs[: attempt.taken]
            assert tried.result.usage.generated == len(tried.result.tokens) - attempt.taken
            assert all(event.method != "hand" for event in tried.result.events)
        assert found.usage.generated == sum(
            len(t.result.tokens) - a.taken for a, t in zip(attempts, found.attempts, strict=True)
        )

    def test_the_seed_decides(self, name: str) -> None:
        engine = bundled().using(drafter="none", length="constant")  # who is drafted for is sooner through
        first, again = (engine.answer(HARD, scaling=spec(name), n=4, sampling=SAMPLING, limits=LIMITS) for _ in "12")
        assert [t.result.tokens for t in first.attempts] == [t.result.tokens for t in again.attempts]
        assert first.candidates == again.candidates

    def test_one_at_a_time(self, name: str) -> None:
        found, most = watched(bundled(), spec(name), 1)
        assert most == 1
        assert found.answer

    def test_leaving_early(self, name: str) -> None:
        answering = bundled().answering(HARD, scaling=spec(name), n=4, sampling=SAMPLING, limits=LIMITS)
        for standing in answering:
            if standing.attempts > 1:
                break
        assert answering.result.reason == "cancelled"
        assert slots(bundled()) == 0

    def test_a_model_that_does_not_think_is_refused(self, name: str) -> None:
        mute = Engine(bundled().target, Text(bundled().text.tokenizer, format=named("none")))
        with pytest.raises(UnmetNeed, match="thinking phase"):
            mute.answer(HARD, scaling=spec(name), n=4, sampling=SAMPLING)

    def test_over_a_server(self, name: str) -> None:
        with serving() as (server, engine):
            if name == "cntp":
                with pytest.raises(UnmetNeed, match="likeliest tokens"):
                    engine.answer("hello", scaling=name, n=3, sampling=Sampling(0.9, seed=4), limits=Limits(60))
                return
            given = spec(name).replace("[likelihood]", "[equations]")
            answering = engine.answering("hello", scaling=given, n=3, sampling=Sampling(0.9, seed=4), limits=Limits(60))
            assert max(standing.running for standing in answering) <= 3
            found, attempts = answering.result, answering.board.attempts
            assert found.passes == 0
            for attempt, tried in zip(attempts, found.attempts, strict=True):
                if attempt.parent >= 0:
                    theirs = found.attempts[attempt.parent].result.tokens
                    assert tried.result.tokens[: attempt.taken] == theirs[: attempt.taken]
        assert quiet(server)


@pytest.mark.parametrize(
    "scaling", ["dvts:judge=[equations:unknown=1],width=2", "cntp", "mcts:judge=[equations],rollouts=4"]
)
def test_controllers_that_probe_act_within(scaling: str) -> None:
    """They let the text go on while they wait for an answer, so that a step's end may lie behind what is cached."""
    engine = bundled().using(think=("settled",), drafter="suffix", length="constant:8")
    for item in draw(tasks(None), 5, 0):
        found = engine.answer(item.question, scaling=scaling, n=4, sampling=SAMPLING, limits=LIMITS)
        assert found.answer
    assert slots(engine) == 0


def test_a_recording_cannot_play_a_search() -> None:
    from laconic.bench.attempts.replay import play
    from tests.scaling.test_attempts import recordings

    with pytest.raises(MethodError, match="copies"):
        play(recordings()[0], policy("beam:judge=[equations]"), 4)


class _Parting(Cautious):
    """Writes one attempt, and branches off it: where it waits first, from earlier, and once it has ended."""

    name = "parting"
    needs = Cautious.needs

    def __init__(self) -> None:
        object.__setattr__(self, "low", 0.0)
        object.__setattr__(self, "high", 1.0)

    def acts(self, state: Any, on: Board) -> Acts:
        if not on.attempts:
            return Acts(start=1)
        first = on.attempts[0]
        if len(on.attempts) == 1 and first.waits and len(first.ends) == 2:
            early, here = first.ends
            return Acts(branch=[Branch(0), Branch(0, early), Branch(0, here - 3)])
        if len(on.attempts) == 4 and first.state == "done":
            return Acts(branch=[Branch(0, first.ends[0])])
        return Acts(go={a.number: 0 for a in on.waiting})


@pytest.mark.parametrize("drafter", ["none", "suffix"])
def test_a_branch_with_the_same_seed_writes_the_same(drafter: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a branch takes over is all that there is to its past: with its parent's draws it is its parent."""
    monkeypatch.setattr("laconic.scaling.answering.seeded", lambda sampling, number: seeded(sampling, 0))
    engine = bundled().using(drafter=drafter, length="constant:4")
    answering = Answering(engine, engine.request(HARD, sampling=SAMPLING, limits=LIMITS), _Parting(), 6)
    for _ in answering:
        pass
    found = answering.result
    alone = engine.generate(HARD, sampling=SAMPLING, limits=LIMITS)
    assert len(found.attempts) == 5
    assert {tried.result.tokens for tried in found.attempts} == {alone.tokens}
    assert {tried.result.thinking for tried in found.attempts} == {alone.thinking}
    reused = [tried.result.usage.reused for tried in found.attempts]
    prompt = len(engine.request(HARD).prompt)
    assert reused == [0, prompt, prompt, prompt, prompt - 1]
    read = [tried.result.usage.prefill_passes for tried in found.attempts]
    assert read[1:4] == [0, 0, 0]  # a copy of one under way has its cache; of one that has ended it reads the text
    assert slots(engine) == 0


class Steps:
    """A board whose attempts wait, with scores that are written down by their numbers."""

    def __init__(self, scores: Mapping[int, float], most: int) -> None:
        self.scores = dict(scores)
        self.asked: list[tuple[str, int]] = []
        self.board = board(most=most)
        self.board.walks = True
        self.board.judged = self._score

    def _score(self, judge: Any, attempt: Attempt) -> float:
        self.asked.append((judge.name, attempt.number))
        return self.scores[attempt.number]

    def waits(self, number: int, parent: int = -1, at: int = 5) -> Attempt:
        attempt = Attempt(number, tokens=at, thinking=at, parent=parent, waits=True, ends=[at])
        self.board.attempts.append(attempt)
        return attempt

    def ends(self, number: int, answer: str = "4", parent: int = -1) -> Attempt:
        attempt = done(number, answer)
        attempt.parent = parent
        self.board.attempts.append(attempt)
        return attempt


def many(acts: Acts) -> dict[int, int]:
    """As how many each goes on."""
    counts = dict.fromkeys(acts.go, 1)
    for branch in acts.branch:
        counts[branch.number] = counts.get(branch.number, 0) + 1
    return counts


class TestBeam:
    def test_the_best_of_each_four_go_on_as_four(self) -> None:
        steps = Steps({0: 0.1, 1: 0.9, 2: 0.3, 3: 0.8, 4: 0.2, 5: 0.4, 6: 0.5, 7: 0.6}, 8)
        for number in range(8):
            steps.waits(number)
        acts = policy(spec("beam")).acts(None, steps.board)
        assert many(acts) == {1: 4, 3: 4}
        assert set(acts.stop) == {0, 2, 4, 5, 6, 7}

    def test_those_that_have_ended_keep_their_places(self) -> None:
        steps = Steps({0: 0.1, 1: 0.9, 2: 0.3, 3: 0.8}, 4)
        steps.ends(0), steps.ends(1)
        steps.waits(2), steps.waits(3)
        assert many(policy("beam:judge=[equations],width=2").acts(None, steps.board)) == {3: 2}

    def test_nothing_is_decided_while_one_moves(self) -> None:
        steps = Steps({0: 0.1, 1: 0.9}, 2)
        steps.waits(0), steps.waits(1)
        steps.board.attempts[1].waits = False
        assert policy(spec("beam")).acts(None, steps.board) == Acts()

    def test_trees_are_by_themselves(self) -> None:
        steps = Steps({0: 0.1, 1: 0.2, 2: 0.8, 3: 0.9}, 4)
        for number in range(4):
            steps.waits(number)
        assert many(policy("dvts:judge=[equations],width=2").acts(None, steps.board)) == {1: 2, 3: 2}

    def test_answers_by_their_scores(self) -> None:
        steps = Steps({0: 0.4, 1: 0.3, 2: 0.5}, 3)
        steps.ends(0, "3"), steps.ends(1, "3.0"), steps.ends(2, "4")
        found = policy(spec("beam")).candidates(None, steps.board)
        assert [(c.answer, pytest.approx(c.weight)) for c in found] == [("3", 0.7), ("4", 0.5)]


class TestParticles:
    def drawn(self, scores: list[float], **knobs: Any) -> list[int]:
        steps = Steps(dict(enumerate(scores)), len(scores))
        for number in range(len(scores)):
            steps.waits(number)
        made = policy("particles:judge=[equations]" + "".join(f",{k}={v}" for k, v in knobs.items()))
        acts = made.acts(made.start(steps.board), steps.board)
        return [many(acts).get(number, 0) for number in range(len(scores))]

    def test_weights_are_a_softmax_of_the_odds(self) -> None:
        made = policy("particles:judge=[equations],temperature=2")
        assert isinstance(made, Particles)
        odds = made._odds(0, [0.5, 0.8])
        assert odds[1] / odds[0] == pytest.approx(math.exp(logit(0.8) / 2)) == pytest.approx(2.0)

    def test_by_the_odds_of_their_scores(self) -> None:
        # odds 1, 3, 4, 0: systematic drawing gives each its share of 8, to the next whole number
        counts = self.drawn([0.5, 0.75, 0.8, 1e-9, 1e-9, 1e-9, 1e-9, 1e-9])
        assert counts[:3] == [1, 3, 4]
        assert sum(counts) == 8

    def test_with_a_heat_that_makes_all_alike(self) -> None:
        assert self.drawn([0.5, 0.9, 0.1, 0.6], temperature=1e6) == [1, 1, 1, 1]

    def test_balanced_needs_no_dice(self) -> None:
        assert self.drawn([0.5, 0.75, 0.8, 1e-9], drawing="balanced") == [0, 2, 2, 0]

    def test_one_that_has_ended_is_drawn_like_the_others(self) -> None:
        steps = Steps({0: 0.999, 1: 0.001, 2: 0.001}, 3)
        steps.ends(0), steps.waits(1), steps.waits(2)
        made = policy(spec("particles"))
        state = made.start(steps.board)
        acts = made.acts(state, steps.board)
        assert set(acts.stop) == {1, 2}
        assert state.chains[0].ended == {0: 3}
        assert [c.numbers for c in made.candidates(state, steps.board)] == [(0,)]

    def test_one_that_the_server_dropped_has_no_part(self) -> None:
        steps = Steps({0: 0.999, 1: 0.5, 2: 0.5}, 3)
        for number in range(3):
            steps.waits(number)
        made = policy(spec("particles"))
        state = made.start(steps.board)
        made.acts(state, steps.board)
        state.chains[0].members = {0: 1, 1: 1, 2: 1}
        steps.board.attempts[0].state = "failed"
        steps.board.scores.clear()
        assert many(made.acts(state, steps.board)) == {1: 1, 2: 1}

    def test_a_chain_without_particles_is_left_alone(self) -> None:
        steps = Steps({0: 0.5, 1: 0.5}, 2)
        steps.waits(0), steps.waits(1)
        steps.board.attempts[1].state = "failed"
        made = policy("particles:judge=[equations],chains=2")
        assert many(made.acts(made.start(steps.board), steps.board)) == {0: 1}

    def test_the_kept_one_is_drawn_by_all_that_it_stands_for(self) -> None:
        kept = []
        for seed in range(200):
            steps = Steps({0: 0.5, 1: 0.5}, 4)
            steps.board.seed = seed
            steps.ends(0, "3"), steps.ends(1, "4")
            made = policy("particles:judge=[equations],iterations=2")
            state = made.start(steps.board)
            state.chains[0].members, state.seen = {0: 3, 1: 1}, {0, 1}
            made.acts(state, steps.board)
            kept.append(state.chains[0].reference)
        assert 0.65 < kept.count(0) / 200 < 0.85

    @pytest.mark.parametrize(("cold", "hot", "rate"), [(0.6, 0.5, 0.82), (0.8, 0.5, 0.5), (0.5, 0.6, 1.0)])
    def test_exchange_is_metropolis(self, cold: float, hot: float, rate: float) -> None:
        """exp((1 - 1/2) (logit hot - logit cold)) at heat 2."""
        swapped = 0
        for seed in range(400):
            steps = Steps({0: cold, 1: hot, 2: cold, 3: hot}, 4)
            steps.board.seed = seed
            for number in range(4):
                steps.ends(number, str(number % 2))
            made = policy("particles:judge=[equations],iterations=2,chains=2,heat=2")
            state = made.start(steps.board)
            made.acts(state, steps.board)
            swapped += state.chains[0].reference % 2
        assert swapped / 400 == pytest.approx(rate, abs=0.08)

    def test_chains_with_no_place_for_new_ones_are_refused(self) -> None:
        with pytest.raises(RequestError, match="Allow more"):
            policy("particles:judge=[equations],chains=2,iterations=2").start(Steps({}, 2).board)

    def test_gibbs_keeps_one_thought(self) -> None:
        answering = bundled().answering(
            HARD, scaling="particles:judge=[equations],iterations=3", n=4, sampling=SAMPLING, limits=LIMITS
        )
        for _ in answering:
            pass
        state, attempts = answering._state, answering.board.attempts
        assert state.iteration == 2
        assert attempts[state.chains[0].reference].state == "done"
        assert sum(attempt.parent < 0 for attempt in attempts) == 4 + 3 + 3
        assert sum(state.chains[0].ended.values()) >= 4

    def test_chains_exchange_what_they_keep(self) -> None:
        """The thought kept by the hot chain goes to the cold one where it is better, as Metropolis would have it."""
        steps = Steps({0: 0.001, 1: 0.999}, 3)
        steps.ends(0, "3"), steps.ends(1, "4")
        made = policy("particles:judge=[equations],iterations=2,chains=2,heat=4")
        state = made.start(steps.board)
        made.acts(state, steps.board)
        assert [chain.reference for chain in state.chains] == [1, 0]

    def test_chains_without_particles_are_refused(self) -> None:
        with pytest.raises(RequestError, match="2 chains for 1"):
            bundled().answer(HARD, scaling="particles:judge=[equations],chains=2", n=1, sampling=SAMPLING)


class TestAStar:
    def test_the_least_cost_goes_on(self) -> None:
        steps = Steps({0: 0.5, 1: 0.9, 2: 0.7}, 8)
        for number in range(3):
            steps.waits(number)
        made = policy("a-star:judge=[equations],width=3")
        acts = made.acts(made.start(steps.board), steps.board)
        assert many(acts) == {1: 3}
        assert not acts.stop

    def test_it_ends_once_what_has_ended_is_the_best(self) -> None:
        steps = Steps({0: 0.95, 1: 0.9}, 8)
        steps.ends(0), steps.waits(1)
        made = policy(spec("a-star"))
        assert made.acts(made.start(steps.board), steps.board).enough
        steps.scores[1] = 0.99
        steps.board.scores.clear()
        assert not made.acts(made.start(steps.board), steps.board).enough

    def test_the_worst_are_dropped_where_there_is_no_room(self) -> None:
        steps = Steps({0: 0.5, 1: 0.9, 2: 0.7}, 3)
        for number in range(3):
            steps.waits(number)
        made = policy("a-star:judge=[equations],width=2")
        assert set(made.acts(made.start(steps.board), steps.board).stop) == {0}

    def test_no_more_than_there_may_be_however_wide(self) -> None:
        steps = Steps({0: 0.5, 1: 0.9, 2: 0.7, 3: 0.6}, 4)
        for number in range(4):
            steps.waits(number)
        acts = policy("a-star:judge=[equations],width=9").acts(policy(spec("a-star")).start(steps.board), steps.board)
        assert set(acts.stop) == {0, 2, 3}
        assert many(acts) == {1: 4}

    def test_the_best_thought_answers_not_the_many(self) -> None:
        steps = Steps({0: 0.3, 1: 0.3, 2: 0.3, 3: 0.99}, 8)
        for number, said in enumerate(("5", "5", "5", "7")):
            steps.ends(number, said)
        made = policy(spec("a-star"))
        assert [c.answer for c in made.candidates(made.start(steps.board), steps.board)] == ["7", "5"]


class TestSRM:
    def test_the_dear_judge_is_asked_no_more_than_is_needed(self) -> None:
        steps = Steps({0: 0.9, 1: 0.8, 2: 0.7, 3: 0.6}, 4)
        for number in range(4):
            steps.waits(number)
        acts = policy("srm:judge=[equations],check=[likelihood],width=4").acts(None, steps.board)
        assert many(acts) == {0: 4}
        assert [number for judge, number in steps.asked if judge == "likelihood"] == [0]

    def test_where_it_disagrees_the_next_one_is_asked_about(self) -> None:
        steps = Steps({0: 0.4, 1: 0.3, 2: 0.2, 3: 0.1}, 4)
        for number in range(4):
            steps.waits(number)
        acts = policy("srm:judge=[equations],check=[likelihood],width=4,agrees=0.35").acts(None, steps.board)
        assert many(acts) == {0: 4}
        acts = policy("srm:judge=[equations],check=[likelihood],width=4,agrees=0.5").acts(None, steps.board)
        assert many(acts) == {0: 4}  # none stands: the highest of the dear judge's
        assert [number for judge, number in steps.asked if judge == "likelihood"] == [0, 1, 2, 3]  # each once


class TestCautious:
    def test_entropy_counts_the_rest_as_one(self) -> None:
        told = Logprob(1, math.log(0.5), ((1, math.log(0.5)), (2, math.log(0.25))))
        assert entropy(told) == pytest.approx(0.5 * math.log(2) + 0.5 * math.log(4))
        assert entropy(None) == 0

    @pytest.mark.parametrize(("share", "trials"), [(1.0, 1), (0.5, 4), (0.9, 2)])
    def test_more_trials_where_it_is_less_sure(self, share: float, trials: int) -> None:
        made = Cautious(low=0.01, high=1.5)
        told = Logprob(1, math.log(share), ((1, math.log(share)),))
        assert made._trials(told, 8) == trials

    def test_the_likeliest_trial_goes_on(self) -> None:
        steps = Steps({}, 4)
        sure, unsure = Logprob(1, 0.0, ((1, 0.0),)), Logprob(1, math.log(0.4), ((1, math.log(0.4)), (2, math.log(0.3))))
        first = steps.waits(0, at=3)
        first.chances, first.logprobs = (0.9, 0.4, 0.9), lambda: [sure, unsure, sure]
        made = Cautious(low=0.01, high=1.0)
        state = made.start(steps.board)
        acts = made.acts(state, steps.board)
        assert acts.branch == [Branch(0, 1)] * 3
        for number, chance in ((1, 0.5), (2, 0.8), (3, 0.3)):
            steps.waits(number, parent=0, at=3).chances = (0.9, chance, 0.9)
        acts = made.acts(state, steps.board)
        assert dict(acts.go) == {2: 0}
        assert set(acts.stop) == {0, 1, 3}


class TestLimits:
    @pytest.mark.parametrize("most", [40, 80, 140])
    @pytest.mark.parametrize("name", SEARCHES)
    def test_little_room(self, name: str, most: int) -> None:
        """Thoughts that the loop itself ends for want of room wait no more."""
        answering = bundled().answering(HARD, scaling=spec(name), n=4, sampling=SAMPLING, limits=Limits(most))
        for _ in answering:
            for attempt in answering.board.waiting:
                assert not attempt.answering
        assert all(len(tried.result.tokens) <= most for tried in answering.result.attempts)
        assert slots(bundled()) == 0

    @pytest.mark.parametrize("scaling", ["beam:judge=[equations]", "mcts:judge=[equations]", "sfs:judge=[equations]"])
    def test_a_server_that_drops_them_all(self, scaling: str) -> None:
        with serving(fault="drop") as (server, engine), pytest.raises(RemoteError):
            engine.answer("hello", scaling=scaling, n=2, sampling=Sampling(0.9, seed=4), limits=Limits(60))
        assert quiet(server)

    def test_greedy_searches_are_refused(self) -> None:
        with pytest.raises(RequestError, match="temperature 0"):
            bundled().answer(HARD, scaling="mcts:judge=[equations]", n=1, sampling=Sampling())
        assert bundled().answer(HARD, scaling="cntp", n=1, limits=LIMITS).answer  # sampled, since nobody says otherwise

    def test_what_controllers_did_before_a_branch_is_told_behind_it(self) -> None:
        engine = bundled().using(think=("budget:60",))
        found = engine.answer(
            HARD, scaling="beam:judge=[equations:unknown=1],width=2", n=4, sampling=SAMPLING, limits=LIMITS
        )
        assert all(
            any(event.method == "budget" for event in tried.result.events)
            for tried in found.attempts
            if tried.state == "done" and tried.result.usage.thinking >= 60
        )


class TestPhi:
    def test_common_and_likely_looks_ahead_win(self) -> None:
        found = bundled().answering(HARD, scaling="phi-decoding:dominant=1", n=8, sampling=SAMPLING, limits=LIMITS)
        for _ in found:
            pass
        looked = found._state.looked
        assert looked
        assert not looked & {n for c in found.result.candidates for n in c.numbers}

    def test_one_way_that_dominates_ends_the_looking(self) -> None:
        found = bundled().answer(HARD, scaling="phi-decoding:dominant=0.01", n=8, sampling=SAMPLING, limits=LIMITS)
        assert sum(tried.state == "done" for tried in found.attempts) == 1


class TestMCTS:
    def test_thoughts_begin_where_others_did_well(self) -> None:
        made = policy("mcts:judge=[equations],rollouts=3,width=1,explore=0")
        steps = Steps({0: 1.0, 1: 0.0}, 1)
        state = made.start(steps.board)
        assert made.acts(state, steps.board).start == 1
        first = done(0, "4")
        first.ends = [5, 9]
        steps.board.attempts.append(first)
        acts = made.acts(state, steps.board)
        assert acts.branch == [Branch(0, 9)]  # every earlier end has its one way on
        assert [node.total for node in (state.root, state.root.below[0])] == [1.0, 1.0]
        steps.board.attempts.append(done(1, "4"))
        steps.board.attempts[1].parent, steps.board.attempts[1].taken = 0, 9
        acts = made.acts(state, steps.board)
        assert not acts.branch  # the last one has its way on, too
        assert not acts.start

    def test_no_end_of_a_step_has_more_ways_on_than_it_may(self) -> None:
        answering = bundled().answering(
            HARD, scaling="mcts:judge=[equations],rollouts=20,width=2", n=4, sampling=SAMPLING, limits=LIMITS
        )
        for _ in answering:
            pass
        nodes = [answering._state.root]
        for node in nodes:
            nodes += node.below
        assert max(node.ways for node in nodes) == 2
        assert len(answering.board.attempts) == 20

    def test_as_many_as_it_is_told(self) -> None:
        found, most = watched(bundled(), "mcts:judge=[equations],rollouts=7", 3)
        assert len(found.attempts) == 7
        assert most <= 3
