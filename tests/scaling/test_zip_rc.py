"""ZIP-RC: the set of attempts worth their tokens, the head that foresees them, and attempts that it ends."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from laconic import Engine, Limits, Sampling
from laconic.bench.attempts.replay import play
from laconic.bench.fit.zip_rc import Examples, Recipe, fit, learn
from laconic.bench.tasks import Item, draw
from laconic.bench.tasks import load as tasks
from laconic.errors import HeadError, MethodError, TaskError, UnmetNeed
from laconic.scaling.outlook.head import Outlook, OutlookHead, binned, load, read
from laconic.scaling.outlook.zip_rc import best_set
from tests import outlooks
from tests.scaling.boards import policy
from tests.scaling.test_attempts import recordings
from tests.scaling.test_served import serving

HARD = "What is 37 * 48 + 15?"
SAMPLING, LIMITS = Sampling(0.8, seed=3), Limits(700)


@cache
def bundled() -> Engine:
    return Engine.load("bundled")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("outlook")
    outlooks.head(bundled().target).save(place)  # type: ignore[arg-type]
    return place


class TestBestSet:
    """By hand: reward is one less the chance that none is right; a token costs alpha / 1000."""

    def chosen(self, *running: tuple[float, float], done: Any = (), fresh: Any = (0.0, 0.0), room: int = 0,
               alpha: float = 1.0, beta: float = 0.0) -> tuple[list[bool], int]:  # fmt: skip
        return best_set([Outlook(*each) for each in running], done, Outlook(*fresh), room, alpha, beta)

    def test_each_must_pay_for_itself(self) -> None:
        # the first gains 0.9 for 0.1; then the second 0.1 * 0.8 = 0.08 for 0.05, the third 0.02 * 0.5 for 0.2
        assert self.chosen((0.9, 100), (0.8, 50), (0.5, 200)) == ([True, True, False], 0)

    def test_what_is_done_leaves_less_to_gain(self) -> None:
        assert self.chosen((0.5, 100), done=[0.9]) == ([False], 0)  # 0.05 for 0.1
        assert self.chosen((0.5, 100), done=[0.7]) == ([True], 0)  # 0.15 for 0.1

    def test_new_ones_are_started_while_they_pay(self) -> None:
        # 0.6 for 0.1, then 0.24, then 0.096 which is less
        assert self.chosen(fresh=(0.6, 100), room=8) == ([], 2)
        assert self.chosen(fresh=(0.6, 100), room=1) == ([], 1)

    def test_waiting_costs_once_for_all_that_run_side_by_side(self) -> None:
        assert self.chosen((0.9, 100), (0.5, 100), alpha=0.0, beta=6.0) == ([True, True], 0)
        assert self.chosen((0.9, 100), (0.5, 200), alpha=0.0, beta=6.0) == ([True, False], 0)


class TestHead:
    def test_bins_of_lengths(self) -> None:
        assert binned([0, 15, 16, 31, 1023, 1024, 5000]).tolist() == [0, 0, 1, 1, 6, 7, 7]

    def test_it_learns_who_will_be_right_and_when(self) -> None:
        dice = torch.Generator().manual_seed(1)
        states = torch.randn(600, 6, generator=dice)
        right, left = (states[:, 0] > 0).float(), torch.where(states[:, 1] > 0, 200.0, 20.0)
        head = OutlookHead(6, 0)
        learn(head, Examples(states, right, left), Recipe(epochs=200, width=0))
        said, told = read(head, torch.tensor([[3.0, 3.0, 0, 0, 0, 0], [-3.0, -3.0, 0, 0, 0, 0]]))
        assert said[0] > 0.9
        assert said[1] < 0.1
        assert told.tolist() == [pytest.approx(200, rel=0.1), pytest.approx(20, abs=20)]

    def test_chances_and_lengths_are_of_one_distribution(self) -> None:
        head = OutlookHead(3, 4)
        states = torch.randn(5, 3)
        right, left = read(head, states)
        whole = head(states).flatten(-2).softmax(-1)
        assert torch.allclose(right, whole[:, 8:].sum(-1))
        assert torch.allclose(left, ((whole[:, :8] + whole[:, 8:]) * head.lengths).sum(-1))

    def test_kept_and_read_again(self, folder: Path) -> None:
        state = torch.randn(bundled().target.hidden_size)  # type: ignore[attr-defined]
        assert load(folder)(state) == outlooks.head(bundled().target)(state)  # type: ignore[arg-type]
        about = json.loads((folder / "head.json").read_text())
        (folder / "head.json").write_text(json.dumps(about | {"method": "spec-exit"}))
        with pytest.raises(HeadError, match="spec-exit"):
            load(folder)
        (folder / "head.json").write_text(json.dumps(about))

    def test_from_attempts_of_the_model(self) -> None:
        made = fit(bundled(), draw(tasks(None), 6, 2), 2, SAMPLING, LIMITS, Recipe(epochs=2))
        assert made.about.training["steps"] > 10
        assert made.about.measures["steps"] > 0
        made.suits(bundled().target)

    def test_problems_that_nobody_can_judge_are_refused(self) -> None:
        items = [Item(name, "sum", f"What is 1 + {name}?", "", None) for name in "12"]
        with pytest.raises(TaskError, match="nobody knows"):
            fit(bundled(), items, 1, SAMPLING, LIMITS)


class TestPolicy:
    def test_somebody_answers_though_nobody_is_worth_it(self, folder: Path) -> None:
        from tests.scaling.boards import board, done, look, running

        on = board(done(0, ""), running(1), running(2), most=3)
        for attempt in on.attempts:
            attempt.looks.append(look("4", 0.5))
        made = policy(f"zip-rc:{folder},alpha=1000")
        state = {(number, 0): Outlook(0.1 * number, 100.0) for number in range(3)}
        acts = made.acts(state, on)
        assert not acts.enough
        assert set(acts.stop) == {1}
        on.attempts[1:] = []
        assert made.acts(state, on).stop == {}  # nobody is left, and nobody new would pay

    def test_attempts_are_ended_and_started(self, folder: Path) -> None:
        engine = bundled()
        found = engine.answer(HARD, scaling=f"zip-rc:{folder},alpha=0.5", n=6, sampling=SAMPLING, limits=LIMITS)
        assert found.answer
        assert 1 <= len(found.attempts) <= 6
        assert any(tried.state == "done" for tried in found.attempts)
        assert not engine.target.host.pool.slots  # type: ignore[attr-defined]

    def test_what_it_reads_is_the_models_state_there(self, folder: Path) -> None:
        """Free attempts show the same states as the finished text read anew, and are not changed by being looked at."""
        engine = bundled().using(drafter="none", length="constant")
        answering = engine.answering(HARD, scaling=f"zip-rc:{folder},alpha=0", n=2, sampling=SAMPLING, limits=LIMITS)
        for _ in answering:
            pass
        plain = engine.answer(HARD, scaling="self-consistency", n=2, sampling=SAMPLING, limits=LIMITS)
        found = answering.result
        assert [t.result.tokens for t in found.attempts] == [t.result.tokens for t in plain.attempts]
        look = answering.board.attempts[0].looks[1]
        prompt = list(engine.request(HARD).prompt)
        tokens = [*prompt, *found.attempts[0].result.tokens[: look.tokens]]
        slot = engine.target.open()
        engine.target.prefill(slot, tokens[:-1])
        from laconic.models.base import chain

        state = engine.target.score([chain(tokens[-1:])], [slot]).hidden_of(0)
        slot.close()
        assert state is not None
        assert look.belief.hidden is not None
        assert torch.allclose(look.belief.hidden.float(), state[-1].float(), atol=0.05, rtol=0.05)

    def test_another_models_head_is_refused(self, folder: Path) -> None:
        other = Engine.load("bundled-draft")
        with pytest.raises(HeadError, match="another model"):
            other.answer(HARD, scaling=f"zip-rc:{folder}", n=2, sampling=SAMPLING)

    def test_a_server_shows_no_states(self, folder: Path) -> None:
        with serving() as (_, engine), pytest.raises(UnmetNeed, match="hidden states"):
            engine.answer("hello", scaling=f"zip-rc:{folder}", n=2, sampling=SAMPLING)

    def test_a_recording_has_no_states(self, folder: Path) -> None:
        with pytest.raises(MethodError, match="hidden states"):
            play(recordings()[0], policy(f"zip-rc:{folder}"), 4)
