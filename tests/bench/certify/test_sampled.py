"""The audit of sampling: lossless configurations pass, planted faults are caught, and no power is said aloud."""

from __future__ import annotations

import pytest
import torch

from laconic.bench.certify import chisquare, sampled
from laconic.bench.certify.events import OTHER, events
from laconic.bench.certify.rounds import continuations
from laconic.engine import Engine
from laconic.errors import RequestError
from laconic.speculation.draws import warp
from laconic.types import Sampling
from tests import tiny
from tests.bench.certify import faults
from tests.fakes import FakeModel

MODEST = {"samplings": [Sampling(1.0)], "contexts": 2, "samples": 240, "keep": 4, "false_alarm": 1e-3}
LOSSLESS = [
    (drafter, verifier, shape)
    for drafter, shapes in {
        "none": ["chain"],
        "prompt-lookup": ["chain"],
        "suffix": ["chain", "best-first"],
        "draft-model": ["chain", "best-first"],
    }.items()
    for shape in shapes
    for verifier in ("match", "speculative-sampling")
]


@pytest.mark.parametrize(("drafter", "verifier", "shape"), LOSSLESS)
def test_lossless_configurations_pass(drafter, verifier, shape):
    engine = faults.fake_engine(drafter=drafter, verifier=verifier, shape=shape, length="constant:3")
    found = sampled.audit(engine, faults.PROMPTS, **MODEST)
    assert found.verdict == "exact", found.reason
    assert found.looks == 4
    (at,) = found.temperatures
    assert at.samples == 2 * MODEST["samples"]
    assert at.contexts == len(at.entropies) == 2
    if drafter == "none":
        assert found.kinds["plain"] == sum(found.kinds.values())
    else:
        assert min(found.kinds[kind] for kind in ("accepted", "after refusal", "bonus")) >= 20


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("fault", [faults.BiasedResidual, faults.DroppedBonus])
def test_planted_faults_are_caught(fault, seed):
    # The chance to miss them is computed below from their exact laws: less than 1e-3.
    engine = faults.fake_engine(noise=1.2, drafter="draft-model", verifier=fault(), length="constant:3")
    found = sampled.audit(engine, faults.PROMPTS, **MODEST | {"samples": 960, "seed": seed})
    assert found.verdict == "not exact"
    assert "does not follow the model's law" in found.reason
    assert found.least_p < found.alpha


def test_the_stated_power_against_both_faults():
    """Noncentral chi-square power, from the exact laws of the faults after the prompts; N is that of the test above.

    Residual from p: the first token has the law min(p, q) + (1 - a) p. Dropped bonus, where one token is drafted: after
    an accepted first token the second one is drawn from the first one's row. A third of the texts are of that kind.
    """
    engine = faults.fake_engine(noise=1.2)
    residual, bonus = [], []
    for prompt in faults.PROMPTS:
        p, q = (warp(m.after(prompt), Sampling(1.0)) for m in (engine.target, engine.draft_model))
        kept = torch.minimum(p, q)
        biased = kept + (1 - kept.sum()) * p
        residual.append(float(((biased - p) ** 2 / p).sum()))
        second = warp(torch.stack([engine.target.after([*prompt, token]) for token in range(8)]), Sampling(1.0))
        right = p[:, None] * second
        wrong = kept[:, None] * p + (p - kept)[:, None] * second
        bonus.append(float(((wrong - right) ** 2 / right).sum()))
    alpha, freedom, samples = 1e-3 / (4 * 3), 2 * (4 + 16 + 64), 2 * 960
    assert chisquare.power(freedom, alpha, samples * sum(residual) / len(residual)) > 0.999
    assert chisquare.power(freedom, alpha, samples / 3 * sum(bonus) / len(bonus)) > 0.999


def test_tokens_are_labelled_by_how_they_came_about():
    engine = faults.fake_engine(drafter="draft-model", verifier="match", length="constant:3")
    for text in continuations(engine, faults.PROMPTS[0], Sampling(1.0), range(40), depth=2, most=2):
        assert text.kinds in (("accepted", "bonus"), ("after refusal", "plain"))
    free = continuations(engine, faults.PROMPTS[0], Sampling(1.0), range(40), depth=3, most=11)
    assert all(len(text.tokens) == len(text.kinds) == 3 for text in free)
    assert {kind for text in free for kind in text.kinds} == {"accepted", "after refusal"}
    plain = faults.fake_engine(drafter="none")
    alone = continuations(plain, faults.PROMPTS[0], Sampling(1.0), range(40), depth=3, most=3)
    assert [t.tokens for t in alone] == [t.tokens for t in free]  # match repeats plain decoding's samples
    assert {kind for text in alone for kind in text.kinds} == {"plain"}


def test_the_law_of_the_next_tokens():
    model = FakeModel.random(3, 8, 1.0)
    sampling = Sampling(1.0, top_k=6)
    found = events(model, [1, 2], sampling, frozenset({5}), keep=3, depth=2)
    row = warp(model.after([1, 2]), sampling)
    first = found.branches[()]
    assert len(first) == 4
    assert first[OTHER] == pytest.approx(1 - sum(share for token, share in first.items() if token != OTHER))
    law = found.law(2)
    assert sum(law.values()) == pytest.approx(1.0)
    top = int(row.argmax())
    second = warp(model.after([2, top]), sampling)
    assert law[(top, int(second.argmax()))] == pytest.approx(float(row.max() * second.max()))
    assert all(len(cell) == 1 for cell in law if cell[0] in (5, OTHER))  # nothing follows an end
    assert found.cell([top, 99], 2) == (top, OTHER)
    assert found.cell([99, top], 2) == (OTHER,)
    assert found.cell([top, 99], 1) == (top,)
    assert all(slot.closed for slot in model.slots)


def test_a_sure_model_is_heated_or_inconclusive():
    warm = sampled.audit(faults.fake_engine(sharpness=9.0, drafter="none"), faults.PROMPTS,
                         **MODEST | {"samplings": [Sampling(0.3)]})  # fmt: skip
    assert warm.temperatures[0].asked == 0.3
    assert warm.temperatures[0].used > 0.3
    table = torch.zeros(8, 8, 8)
    table[..., 3] = 1e4
    certain = Engine(FakeModel(table), tiny.text()).using(drafter="none")
    cold = sampled.audit(certain, faults.PROMPTS, **MODEST)
    assert cold.verdict == "inconclusive"
    assert "no place was found where the model is unsure" in cold.reason


def test_a_kind_that_never_came_is_not_certified():
    # A draft that is always wrong: every token but one comes from a refusal.
    engine = faults.fake_engine(drafter="draft-model", length="constant:3")
    table = torch.full((8, 8, 8), -40.0)
    table[..., 7] = 0.0
    never = engine.target.table.clone()
    never[..., 7] = -40.0
    odd = Engine(FakeModel(never), tiny.text(), draft_model=FakeModel(table)).using(
        drafter="draft-model", length="constant:3"
    )
    found = sampled.audit(odd, [p[:3] for p in faults.PROMPTS], **MODEST)
    assert found.verdict == "inconclusive"
    assert "0 accepted" in found.reason
    assert "0 bonus" in found.reason


def test_too_few_samples_are_not_certified():
    found = sampled.audit(faults.fake_engine(drafter="none"), faults.PROMPTS, **MODEST | {"samples": 12})
    assert found.verdict == "inconclusive"
    assert "too few samples" in found.reason


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"samplings": [Sampling(0.6), Sampling(0.0)]}, "temperature 0"),
        ({"samplings": []}, "no temperature"),
        ({"false_alarm": 0.0}, "in \\(0, 1\\)"),
        ({"false_alarm": 1.0}, "in \\(0, 1\\)"),
        ({"samples": 0}, ">= 1"),
        ({"keep": 1}, ">= 2"),
    ],
)
def test_refusals(changed, says):
    with pytest.raises(RequestError, match=says):
        sampled.audit(faults.fake_engine(), faults.PROMPTS, **MODEST | changed)
    with pytest.raises(RequestError, match="no prompts"):
        sampled.audit(faults.fake_engine(), [], **MODEST)
