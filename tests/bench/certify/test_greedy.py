"""The audit of greedy texts."""

from __future__ import annotations

import pytest
import torch

from laconic.bench.certify import greedy
from laconic.bench.certify.base import fresh_rows, tolerance
from laconic.engine import Engine
from laconic.errors import RequestError
from laconic.models.base import Scores
from laconic.types import Limits, Request
from tests import tiny
from tests.bench.certify import faults
from tests.fakes import FakeModel

LIMITS = Limits(24)


@pytest.mark.parametrize("drafter", ["none", "prompt-lookup", "suffix", "draft-model"])
@pytest.mark.parametrize("verifier", ["match", "speculative-sampling"])
def test_lossless_configurations_pass(drafter, verifier):
    engine = faults.fake_engine(drafter=drafter, verifier=verifier, length="constant:3")
    found = greedy.audit(engine, faults.PROMPTS, limits=LIMITS, batch=3)
    assert found.verdict == "exact", found.reason
    assert [check.of[0] for check in found.checks] == ["configuration", "configuration", "configuration, 3 at once"]
    assert [check.of[1] for check in found.checks] == ["reference", "plain", "plain"]
    assert [check.prompts for check in found.checks] == [2, 6, 6]
    assert found.checks[1].tokens == 6 * 24
    assert (found.drafted > found.accepted > 0) == (drafter != "none")


def test_trees_and_controllers_on_a_transformer():
    engine = faults.tiny_engine(drafter="draft-model", shape="best-first", length="constant:4")
    prompts = faults.tiny_prompts(engine, 3)
    assert greedy.audit(engine, prompts, limits=LIMITS, references=1).verdict == "exact"
    controlled = engine.using(think=("budget:8",))
    assert greedy.audit(controlled, prompts[:2], limits=LIMITS, references=1).verdict == "exact"


def test_a_dropped_bonus_token_is_shown_where_it_first_shows():
    engine = faults.fake_engine(drafter="draft-model", verifier=faults.DroppedBonus(), length="constant:2")
    found = greedy.audit(engine, faults.PROMPTS, limits=LIMITS)
    assert found.verdict == "not exact"
    assert "differ on" in found.reason
    check = found.checks[1]
    assert check.faults > 0
    assert check.tokens < 6 * 24
    first = check.differences[0]
    # By hand: the first position where the texts part, the two tokens, and their logits in the chain's own table.
    prompt = faults.PROMPTS[first.prompt]
    right = engine.using(drafter="none", verifier="match").run([_request(prompt)])[0].tokens
    text = engine.run([_request(prompt)])[0].tokens
    assert right[: first.position] == text[: first.position]
    a, b = right[first.position], text[first.position]
    assert (first.expected, first.found) == (engine.text.piece(a), engine.text.piece(b))
    row = engine.target.after([*prompt, *right[: first.position]])
    assert first.gap == pytest.approx(float(row[a] - row[b]))
    assert not first.near_tie


def _request(prompt):
    return Request(prompt, limits=LIMITS)


def tie(gap: float) -> Engine:
    """A target whose tokens 1 and 2 are ``gap`` apart everywhere, and that reads them the other way in wide passes."""

    class Moody(FakeModel):
        def score(self, trees, slots):
            scores = super().score(trees, slots)
            if max(map(len, trees)) > 1:
                scores.flat[..., [1, 2]] = scores.flat[..., [2, 1]]
            return scores

    table = torch.randn(8, 8, 8, generator=torch.Generator().manual_seed(0))
    table[..., 1], table[..., 2] = 9.0 + gap, 9.0
    target = Moody(table)
    return Engine(target, tiny.text(), draft_model=target.noisy(1, 3.0)).using(
        drafter="draft-model", length="constant:2"
    )


def test_ties_that_the_loop_decides_do_not_depend_on_drafts():
    assert greedy.audit(tie(1e-6), faults.PROMPTS, limits=LIMITS).verdict == "exact"


def test_near_ties_are_counted_apart_and_never_passed(monkeypatch):
    monkeypatch.setattr(Scores, "ties", lambda self, i: [])  # as in 16-bit formats, where the loop decides none
    close = greedy.audit(tie(1e-6), faults.PROMPTS, limits=LIMITS)
    assert close.verdict == "inconclusive"
    assert "near tie" in close.reason
    check = close.checks[1]
    assert check.near_ties == check.prompts - check.identical > 0
    assert check.faults == 0
    assert check.differences[0].gap == pytest.approx(1e-6, abs=1e-6)
    clear = greedy.audit(tie(0.01), faults.PROMPTS, limits=LIMITS)
    assert clear.verdict == "not exact"
    assert clear.checks[1].near_ties == 0


def test_rounding_excused_follows_the_dtype():
    row = torch.tensor([20.0, -3.0])
    assert tolerance(row) == pytest.approx(256 * 2**-23 * 20)
    assert tolerance(row.bfloat16()) == pytest.approx(8 * 2**-7 * 20)
    assert tolerance(row, torch.bfloat16) == tolerance(row.bfloat16())


def test_fresh_rows_end_with_the_last_token():
    model = FakeModel.random(0)
    rows = fresh_rows(model, [1, 2, 3, 4], last=2)
    assert torch.equal(rows, torch.stack([model.after([2, 3]), model.after([3, 4])]))
    assert torch.equal(fresh_rows(model, [1])[-1], model.after([1]))
    assert all(slot.closed for slot in model.slots)


def test_nothing_drafted_or_refused_is_inconclusive():
    engine = faults.fake_engine(drafter="prompt-lookup", length="constant:3")
    lonely = greedy.audit(engine, [(0, 1, 2), (3, 4, 5)], limits=Limits(1))
    assert lonely.verdict == "inconclusive"
    assert "nothing was drafted" in lonely.reason
    target = FakeModel.random(3, 8, 1.0)
    twin = Engine(target, tiny.text(), draft_model=target).using(drafter="draft-model", length="constant:3")
    sure = greedy.audit(twin, faults.PROMPTS, limits=Limits(25))
    assert sure.verdict == "inconclusive"
    assert "no drafted token was refused" in sure.reason


def test_no_prompts():
    with pytest.raises(RequestError, match="no prompts"):
        greedy.audit(faults.fake_engine(), [])
