"""A head that learns while it drafts: it helps, it takes no more time than it may, and it goes back where it harms."""

from __future__ import annotations

import copy
import gc
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch

from laconic import Limits, Result, Sampling
from laconic.bench.fit.draft_head import Learning
from laconic.bench.fit.head_run import HeadRecipe, fit_head
from laconic.engine import Engine, Methods
from laconic.errors import HeadError
from laconic.models.causal_lm import CausalLM
from laconic.policy import registry
from laconic.speculation.drafters.head.online import Comparison
from laconic.types import Request
from tests import tiny


def engine() -> Engine:
    return Engine(CausalLM(tiny.model(0, sharpness=4.0)), tiny.text(), Methods(drafter="none"))


def requests(on: Engine, seed: int, count: int, heat: float = 0.0) -> list[Request]:
    limits = Limits(80, answer_room=0)
    return [on.request(f"{seed} {i}!", limits=limits, sampling=Sampling(heat, seed=i)) for i in range(count)]


@pytest.fixture(scope="module", params=["mtp", "mtp@1"])
def head(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One that has hardly been trained."""
    place, on = tmp_path_factory.mktemp("online"), engine()
    kind, _, early = request.param.partition("@")
    learning = Learning(epochs=0.5, batch_tokens=256)
    recipe = HeadRecipe(kind, tokens=1200, kept=264, early=int(early or 0), batch=8, learning=learning)
    fit_head(on, lambda number, replies: requests(on, number, 8), place, recipe)
    return place


def served(on: Engine, asked: list[Request], saved: float = 0.0) -> list[Result]:
    """One after the other; so many seconds may be spent on learning from each but the first, if any are named."""
    results = []
    for request in asked:
        for learner in getattr(on.plan.drafter, "_learners", []):
            learner.saved = saved or learner.saved
        results.append(on.run([request])[0])
    return results


def accepted(results: list[Result]) -> float:
    return sum(r.usage.accepted for r in results) / sum(r.usage.drafted for r in results)


def test_it_gets_better_at_what_it_serves(head: Path) -> None:
    on = engine()
    asked = requests(on, 1000, 30)
    plain = [r.tokens for r in served(on, asked)]
    still = on.using(drafter=f"head:{head}", length="constant:3")
    learning = on.using(drafter=f"online-head:{head},share=1,rate=0.003", length="constant:3")
    results, fixed = served(learning, asked, saved=0.2), served(still, asked)
    assert [r.tokens for r in results] == [r.tokens for r in fixed] == plain
    assert accepted(results[15:]) > accepted(fixed[15:]) + 0.1
    (told,) = learning.reports().values()
    assert told["steps"] > 32
    assert told["right_now"] > told["right_before"]
    assert "steps on" in told["says"]


@pytest.mark.parametrize("shape", ["chain", "best-first"])
def test_batches_and_samples_are_those_of_plain_decoding(head: Path, shape: str) -> None:
    on = engine()
    asked = requests(on, 2000, 9, heat=0.8)
    expected = [r.tokens for r in on.run(asked, batch=3)]
    online = on.using(drafter=f"online-head:{head},share=1,rate=0.01", length="constant:5", shape=shape)
    assert [r.tokens for r in online.run(asked, batch=3)] == expected


def test_it_takes_no_more_time_than_it_may(head: Path) -> None:
    on = engine()
    none = on.using(drafter=f"online-head:{head},share=0", length="constant:3")
    served(none, requests(on, 3000, 4))
    assert not none.reports(), "nothing was learned"
    some = on.using(drafter=f"online-head:{head},share=0.2", length="constant:3")
    results = served(some, requests(on, 3000, 20))
    (told,) = some.reports().values()
    decoding = sum(sum(r.usage.seconds.values()) for r in results)
    longest = told["seconds"] / max(told["steps"], 1)
    assert told["seconds"] < 0.2 * decoding + 20 * longest + 0.5


def test_what_harms_is_undone(head: Path) -> None:
    on = engine()
    wild = on.using(drafter=f"online-head:{head},share=1,rate=0.1", length="constant:3")
    (policy,) = wild.plan.drafter.walk()
    served(wild, requests(on, 4000, 4))
    learner = policy._learners[0]
    learner.comparison = Comparison(before=250.0, now=100.0, tokens=400.0)
    served(wild, requests(on, 5000, 1), saved=0.1)
    assert learner.resets == 1
    assert next(iter(wild.reports().values()))["resets"] == 1
    assert learner._optimiser.param_groups[0]["lr"] == 0.05


def test_little_is_remembered(head: Path) -> None:
    on = engine()
    short = on.using(drafter=f"online-head:{head},share=1,memory=100", length="constant:3")
    served(short, requests(on, 6000, 6), saved=0.05)
    learner = short.plan.drafter._learners[0]
    assert sum(text.tokens.shape[1] for text in learner._texts) <= 200
    assert learner.tokens > 300
    assert not torch.is_inference(learner._texts[0].features)


def test_it_goes_on_with_the_weights_that_come_next(head: Path) -> None:
    on: Any = engine()
    drafter: Any = registry.build("drafter", f"online-head:{head},share=1,rate=0.003")
    learning = on.using(drafter=drafter, length="constant:3")
    served(learning, requests(on, 0, 4), saved=1.0)
    learner = drafter._learners[0]
    before = learner.tokens
    with torch.no_grad():
        model = copy.deepcopy(on.target.model)
        for weight in model.parameters():
            weight.add_(torch.randn_like(weight) * 0.02 * weight.std())
    changed = CausalLM(model)
    with pytest.raises(HeadError, match="another target"):
        Engine(changed, on.text, learning.methods)
    changed.known_as(on.target.fingerprint())
    after = Engine(changed, on.text, learning.methods)
    asked = requests(after, 1, 4)
    made = served(after, asked, saved=1.0)
    plain = after.using(drafter="none").run(asked, batch=4)
    assert [each.tokens for each in made] == [each.tokens for each in plain]
    assert drafter._learners == [learner]
    assert learner.follows(changed)
    assert not learner.follows(on.target)
    assert learner.tokens > before


def test_it_lets_go_of_its_target(head: Path) -> None:
    on: Any = engine()
    drafter: Any = registry.build("drafter", f"online-head:{head},share=1")
    learning = on.using(drafter=drafter)
    served(learning, requests(on, 0, 3), saved=0.5)
    steps, target = drafter._learners[0].steps, weakref.ref(on.target.model)
    del on, learning
    drafter.release()
    gc.collect()
    assert target() is None
    again = engine().using(drafter=drafter)
    served(again, requests(again, 1, 2), saved=0.5)
    assert drafter._learners[0].steps > steps
