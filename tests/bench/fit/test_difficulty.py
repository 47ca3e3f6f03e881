"""What makes a question easy or hard, and a probe that learns it."""

from __future__ import annotations

import math

import pytest
import torch

from laconic import Engine, Limits, Methods
from laconic.bench.fit.difficulty import Observed, Recipe, by_class, fit, labels, learn, measures, observe
from laconic.bench.tasks import Item
from laconic.errors import TaskError, UnmetNeed
from laconic.models.causal_lm import CausalLM
from laconic.reading import Reading
from tests import tiny
from tests.fakes import FakeModel

NOTHING = torch.zeros(2)


def engine() -> Engine:
    text = tiny.text(
        template=tiny.TEMPLATE.replace("{% endif %}{% endif %}", "{% else %}<think>\n{% endif %}{% endif %}")
    )
    return Engine(CausalLM(tiny.model(0, bias=tiny.REASONER)), text, Methods(drafter="none"))


def items(n: int, graded: bool = True) -> list[Item]:
    """Right is what has an even length: the model is right now and then."""
    grade = (lambda given: len(given) % 2 == 0) if graded else None
    return [Item(f"t/{i}", "t", f"What is {i}+{i}?", "", grade) for i in range(n)]


def test_a_question_is_easy_where_no_thought_was_needed_and_hard_where_it_failed_or_took_long() -> None:
    seen = [
        Observed(NOTHING, 1.0, 1.0, 900, 0.1),  # easy, however long the thought
        Observed(NOTHING, 0.75, 0.0, 10, 0.1),  # easy, even where thinking fails
        Observed(NOTHING, 0.5, 1.0, 20, 0.1),  # right after a short thought
        Observed(NOTHING, 0.0, 0.5, 30, 0.1),  # wrong too often
        Observed(NOTHING, 0.0, 1.0, 800, 0.1),  # right after a long thought
        Observed(NOTHING, 0.0, 0.75, 40, 0.1),
    ]
    assert labels(seen, Recipe()) == [0, 0, 1, 2, 2, 1]
    assert labels(seen, Recipe(right=0.5)) == [0, 0, 0, 1, 2, 1]
    found = by_class(seen, torch.tensor(labels(seen, Recipe())))
    assert found["normal"] == {"problems": 2, "quick": 0.25, "free": 0.875, "thinking": 30, "entropy": 0.1}


@pytest.mark.parametrize("units", [0, 8])
def test_a_probe_learns_what_can_be_told(units: int) -> None:
    torch.manual_seed(0)
    states, wanted = torch.randn(400, 6), torch.arange(400) % 3
    states[:, 0] += 3.0 * (wanted == 0)
    states[:, 1] -= 3.0 * (wanted == 2)
    network = learn(states[:300], wanted[:300], Recipe(units=units, decay=0.1))
    found = measures(network, states[300:], wanted[300:], 1)
    assert found["accuracy"] > 0.8
    assert found["accuracy_of_the_usual"] == pytest.approx(1 / 3, abs=0.01)
    assert [sum(row) for row in found["confusion"]] == torch.bincount(wanted[300:]).tolist()
    assert sum(found["confusion"][i][i] for i in range(3)) == round(found["accuracy"] * 100)
    low, high = found["accuracy_ci"]
    assert low < found["accuracy"] < high


def test_what_is_observed_is_what_the_model_does() -> None:
    made, asked = engine(), items(3)
    (first, *_) = seen = observe(made, asked, Recipe(temperature=0.0), max_tokens=40, batch=2)
    thinking = made.using(think=("free",)).generate(asked[0].question, limits=Limits(40))
    quick = made.using(think=("no-thinking",)).generate(asked[0].question, limits=Limits(40))
    assert (first.thinking, first.free) == (thinking.usage.thinking, float(bool(asked[0].judge(thinking.answer))))
    assert first.quick == float(bool(asked[0].judge(quick.answer)))
    question = made.request(asked[0].question).question
    assert question is not None
    torch.testing.assert_close(first.state, Reading(made).hidden(question))
    assert all(0 < o.entropy < math.log(264) for o in seen)


def test_samples_are_drawn_with_seeds_of_their_own() -> None:
    seen = observe(engine(), items(4), Recipe(samples=3, temperature=1.0), max_tokens=30)
    assert any(o.thinking != round(o.thinking) for o in seen), "means of samples that differ"


def test_fit_and_its_errors() -> None:
    made = fit(engine(), items(8), Recipe(temperature=0.0), max_tokens=30, about={"model": "tiny"})
    assert (made.about.measures["problems"], made.about.training["problems"]) == (2, 6)
    assert made.about.training["model"] == "tiny"
    assert sum(made(torch.zeros(made.about.inputs))) == pytest.approx(1.0)
    again = fit(engine(), items(8), Recipe(temperature=0.0), max_tokens=30)
    assert made(torch.ones(made.about.inputs)) == again(torch.ones(made.about.inputs))
    with pytest.raises(TaskError, match="too few"):
        fit(engine(), items(3))
    with pytest.raises(TaskError, match="answers are known"):
        fit(engine(), items(8, graded=False))
    with pytest.raises(UnmetNeed, match="hidden states"):
        fit(Engine(FakeModel.random(0, vocab=264), tiny.text(), Methods(drafter="none")), items(8))
