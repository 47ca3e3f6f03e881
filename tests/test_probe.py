"""A probe's ride: guesses change how many passes it takes and nothing else, and drafters guess well."""

from __future__ import annotations

import random

import pytest
import torch

from laconic import Engine, Limits, Methods, Request
from laconic.models.base import chain
from laconic.models.causal_lm import CausalLM
from laconic.policy import registry
from laconic.probe import Ride
from laconic.speculation.base import Drafter, Tools
from laconic.speculation.drafters.draft_model import DraftModel
from laconic.thinking.base import Belief, Continue, Probe, View
from laconic.thinking.exit.answer_confidence import AnswerConfidence
from tests import tiny
from tests.speculation.rounds import build, context_of

TEXT = tiny.text()
ANSWER = TEXT.encode("{7}5}")
"""What the model writes; the second brace ends it."""


def logits_after(branch: list[int], opening: int) -> torch.Tensor:
    """The model writes ANSWER while the branch does; off it, always the first token."""
    rows = torch.zeros(len(branch), 264)
    for at in range(opening - 1, len(branch)):
        known = branch[opening : at + 1]
        right = known == ANSWER[: len(known)] and len(known) < len(ANSWER)
        rows[at, ANSWER[len(known)] if right else 0] = 9.0
    return rows


def ride(guesses: list[list[int]], guess: str = "") -> Ride:
    made = Ride(Probe("So: ", "}", guess=guess, max_tokens=12), TEXT, 0)
    opening = len(made.known)
    while made.belief() is None:
        if made.room and guesses:
            made.suppose(guesses.pop(0))
        made.read(logits_after(made.branch, opening))
    return made


@pytest.mark.parametrize(
    ("guesses", "passes"),
    [([], 5), ([ANSWER], 1), ([ANSWER[:2]], 3), ([[0, 0], ANSWER[1:]], 2), ([[*ANSWER[:3], 0], [], ANSWER[4:]], 2)],
)  # fmt: skip
def test_a_guess_changes_the_passes_and_not_the_belief(guesses, passes):
    made = ride(list(guesses))
    belief = made.belief()
    assert (belief.answer, belief.complete) == ("{7}5", True)
    assert made.passes == passes
    assert made.room == 0


def test_a_probes_own_guess_stands_where_the_drafter_has_none():
    assert ride([[]], guess="{7}5").passes == 1


def test_the_end_of_an_answer_is_seen_in_a_guess():
    made = Ride(Probe("So: ", "}"), TEXT, 0)
    ends = made.ends()
    assert [ends(token) for token in ANSWER] == [False] * 4 + [True]
    assert made.ends()(TEXT.encode("}")[0]), "every guess begins where the answer stands"


def test_a_draft_model_completes_from_any_point_of_the_text():
    model = CausalLM(tiny.model(3))
    drafter = build("drafter", "draft-model")
    tools = Tools(model, build("shape", "chain"), 264)
    prompt = [5, 6, 7, 8, 9, 10]
    context = context_of(prompt)
    state = drafter.start(context, tools)
    drafter.propose([state], [3], [None])
    cached = list(state.cached)
    for base, tokens in ((4, [20, 21]), (6, [30]), (0, [40])):
        found = drafter.complete(state, base, tokens, 5, lambda token: False)
        text = [*prompt[:base], *tokens]
        for token in found:
            slot = model.open()
            if text[:-1]:
                model.prefill(slot, text[:-1])
            assert token == model.score([chain(text[-1:])], [slot]).best(0)[-1]
            slot.close()
            text.append(token)
        assert len(found) == 5
        until = drafter.complete(state, base, tokens, 5, lambda token, last=found[1]: token == last)
        assert until == found[: found.index(found[1]) + 1]
    assert state.cached == cached, "the request's own draft goes on as if nothing had been asked"
    assert len(model.slots) == 1


def test_probes_find_the_same_with_and_without_a_drafter_that_guesses(monkeypatch):
    target, draft = (CausalLM(tiny.noisy(tiny.model(0, bias=tiny.REASONER), noise)) for noise in (0.0, 0.05))
    engine = Engine(
        target, TEXT, Methods(drafter="draft-model", length="constant:4", think=("answer-confidence:0.05",)), draft
    )
    asked = [Request(tuple(TEXT.encode(f"What is {i}+{i}?<think>\n")), limits=Limits(80)) for i in range(6)]
    guessing = engine.run(asked, batch=3)
    monkeypatch.setattr(DraftModel, "complete", Drafter.complete)
    without = engine.run(asked, batch=3)
    assert [r.tokens for r in guessing] == [r.tokens for r in without]
    assert [r.events for r in guessing] == [r.events for r in without]
    assert sum(r.usage.probed for r in guessing) > 0


def test_a_probe_without_hope_ends_there():
    made = Ride(Probe("So: ", "}", max_tokens=12, hopeless=lambda probs: len(probs) == 2), TEXT, 0)
    opening = len(made.known)
    while made.belief() is None:
        made.read(logits_after(made.branch, opening))
    belief = made.belief()
    assert (made.passes, len(belief.probs), belief.complete, belief.answer) == (2, 2, False, "{7")


@pytest.mark.parametrize(("size", "found"), [(2, ("{7", False)), (5, ("{7}5", True)), (9, ("{7}5", True))])
def test_hope_may_be_lost_after_the_fact_but_not_over_a_whole_answer(size, found):
    """A probe asked ahead is told late what is hopeless; with its last token an answer is there, hopeful or not."""
    made = ride([ANSWER])
    made.become(Probe("So: ", "}", max_tokens=12, hopeless=lambda probs: len(probs) == size))
    belief = made.belief()
    assert (belief.answer, belief.complete) == found
    assert len(belief.probs) == len(belief.entropies) == min(size, 5)


@pytest.mark.parametrize("aggregate", ["mean", "product", "min"])
def test_where_there_is_no_hope_the_rest_could_not_have_helped(aggregate):
    rng = random.Random(1)
    spec = f"answer-confidence:threshold=0.9,aggregate={aggregate}"
    controller = registry.build("think", spec)
    asked = controller.decide(controller.start(None, None), View(5, ["x = 4"], True))
    given_up = 0
    for _ in range(3000):
        probs = [rng.random() ** rng.choice((0.01, 0.1, 1)) for _ in range(rng.randint(1, asked.max_tokens))]
        state = controller.start(None, None)
        action = controller.decide(state, View(5, ["x = 4"], True, Belief("4", tuple(probs), (), True, 1)))
        if any(asked.hopeless(probs[:n]) for n in range(1, len(probs) + 1)):
            assert isinstance(action, Continue)
            given_up += 1
    assert given_up > 300


def test_ending_probes_early_changes_no_decision(monkeypatch):
    """Each probe in passes of its own, so that their number does not depend on how long passes take."""
    engine = Engine.load("bundled", drafter="draft-model", think=("answer-confidence:0.99,product",), probes="separate")
    prompts = [f"What is {i + 7} * {i + 4} + {3 * i}?" for i in range(4)]
    reads = []
    read = Ride.read
    monkeypatch.setattr(Ride, "read", lambda self, *rows: reads.append(self) or read(self, *rows))
    early = engine.generate_many(prompts, limits=Limits(200), batch=3)
    count = len(reads)
    monkeypatch.setattr(AnswerConfidence, "_hopeless", lambda self, probs: False)
    late = engine.generate_many(prompts, limits=Limits(200), batch=3)
    assert [r.tokens for r in early] == [r.tokens for r in late]
    probes = {id(made): made.belief() is not None for made in reads}
    assert sum(probes[id(made)] for made in {*reads[:count]}) > 4, "there are probes"
    assert count < len(reads) - count, "on fewer passes"


@pytest.mark.parametrize("guess", ["", "4", "{1}+x"])
def test_a_text_that_ends_at_boxed_leaves_the_brace_to_the_model(guess: str) -> None:
    """The brace counts in the belief and not in the answer, whatever was guessed."""
    probe, written = Probe("So \\boxed", "}", guess=guess, max_tokens=16), TEXT.encode("{{1}+x}.")
    ride = Ride(probe, TEXT, 0)
    while ride.belief() is None:
        known = len(ride.branch) - 1
        rows = torch.full((known + 1, 264), -9.0)
        start = len(TEXT.phrase(f"{TEXT.format.ending}So \\boxed")) - 1
        for at in range(start, known + 1):
            rows[at, written[at - start]] = 9.0
        ride.read(rows)
    belief = ride.belief()
    assert belief is not None
    assert (belief.answer, belief.complete, len(belief.probs)) == ("{1}+x", True, len(TEXT.encode("{{1}+x}")))
