"""Training heads: what the examples are, the loss, the measures, and a whole run on random models."""

from __future__ import annotations

import math
import random
from pathlib import Path

import pytest
import torch

from laconic import Engine, Limits, Methods, Request, Sampling
from laconic.bench.fit import Recipe, fit
from laconic.bench.fit.examples import Examples, acceptance, accepted, lengths
from laconic.bench.fit.learn import acceptance_measures, auc, calibration_error, learn, weighted_cross_entropy
from laconic.bench.fit.texts import Text, states, write
from laconic.errors import TaskError, UnknownMethod, UnmetNeed
from laconic.models.causal_lm import CausalLM
from laconic.speculation.heads import AcceptanceHead, LengthHead, load
from tests import tiny
from tests.fakes import FakeModel

MODEL = tiny.model(0, bias=tiny.REASONER)
TARGET, DRAFT, TEXT = CausalLM(MODEL), CausalLM(tiny.noisy(MODEL, 0.1)), tiny.text()
QUICK = Recipe(epochs=2, layers=2)


def engine() -> Engine:
    return Engine(TARGET, TEXT, Methods("draft-model", "constant:4"), DRAFT)


def requests(n: int, temperature: float = 0.0) -> list[Request]:
    prompts = [tuple(TEXT.encode(f"What is {i}+{i}?<think>\n")) for i in range(n)]
    return [Request(p, Sampling(temperature, seed=i), Limits(40, answer_room=0)) for i, p in enumerate(prompts)]


@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_guesses_are_what_a_draft_would_have_held(temperature: float) -> None:
    """Text by text: a round of one token accepts exactly where the guess is a hit."""
    asked = requests(4, temperature)
    texts = write(engine(), DRAFT, asked)
    one = engine().using(length="constant:1")
    for text, request in zip(texts, asked, strict=True):
        loop, found = one.loop(), {}
        sequence = loop.add(request)
        while not sequence.done:
            at = sequence.generated
            before = sequence.usage.drafted, sequence.usage.accepted
            loop.step()
            if sequence.usage.drafted > before[0]:
                found[at] = sequence.usage.accepted > before[1]
        assert sequence.tokens[len(request.prompt) :] == text.tokens
        assert found
        assert found == {at: text.hits[at] for at in found}


def test_states_are_those_before_each_token() -> None:
    original = tiny.model(0, bias=tiny.REASONER)
    TARGET.keep_hidden = True
    found = states(TARGET, [5, 6, 7], [8, 9, 10])
    with torch.inference_mode():
        expected = original(torch.tensor([[5, 6, 7, 8, 9]]), output_hidden_states=True).hidden_states[-1][0, 2:]
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_acceptance_examples_mix_tokens_and_judge_guesses_alone() -> None:
    rng = random.Random(0)
    tokens = [rng.randrange(250) for _ in range(300)]
    guesses = [token if rng.random() < 0.7 else 251 for token in tokens]
    text = Text((5, 6), tokens, guesses, [i / 300 for i in range(300)])
    DRAFT.keep_hidden = True
    every = acceptance(DRAFT, [text], 0.0, 0)
    assert len(every) == 299
    assert every.labels.tolist() == [float(hit) for hit in text.hits[:-1]]
    assert torch.equal(every.said, torch.tensor(text.said[:-1]))
    torch.testing.assert_close(every.inputs, states(DRAFT, text.prompt, guesses)[1:])
    before = acceptance(DRAFT, [text], 0.0, 0, "before")
    torch.testing.assert_close(before.inputs, states(DRAFT, text.prompt, guesses)[:-1])
    assert torch.equal(before.labels, every.labels)
    mixed = acceptance(DRAFT, [text], 0.15, 0)
    assert 0.78 * 299 < len(mixed) < 0.92 * 299
    again = acceptance(DRAFT, [text], 0.15, 0)
    assert torch.equal(mixed.inputs, again.inputs)
    # A token of the target's among the guesses before it changes what the draft model has read.
    kept = [round(float(s) * 300) for s in mixed.said]
    assert not torch.allclose(mixed.inputs[-1], every.inputs[kept[-1]])


def test_length_examples_count_the_guesses_that_hold_from_there_on() -> None:
    assert accepted([True, True, False, True, True, True], 2) == [2, 1, 0, 2, 2, 1]
    text = Text((5, 6), [9, 8, 7, 6, 5], [9, 8, 0, 6, 5], [0.1, 0.2, 0.3, 0.4, 0.5])
    TARGET.keep_hidden = True
    found = lengths(TARGET, [text], 20)
    assert found.labels.tolist() == [1.0, 0.0, 2.0, 1.0], "after 9: 8; after 8: none; after 7: 6 and 5; after 6: 5"
    before = states(TARGET, text.prompt, text.tokens)
    embedded = torch.stack([TARGET.embedding(token) for token in text.tokens])
    torch.testing.assert_close(found.inputs, torch.cat([before[:-1], embedded[:-1]], dim=1))


def test_refusals_weigh_as_told() -> None:
    logits, labels = torch.tensor([2.0, -1.0, 0.5]), torch.tensor([1.0, 1.0, 0.0])
    p = [1 / (1 + math.exp(-z)) for z in logits.tolist()]
    expected = (-math.log(p[0]) - math.log(p[1]) - 6 * math.log(1 - p[2])) / 8
    assert float(weighted_cross_entropy(logits, labels, 6.0)) == pytest.approx(expected, rel=1e-5)
    even = (-math.log(p[0]) - math.log(p[1]) - math.log(1 - p[2])) / 3
    assert float(weighted_cross_entropy(logits, labels, 1.0)) == pytest.approx(even, rel=1e-5)


def test_measures() -> None:
    scores, labels = torch.tensor([0.1, 0.4, 0.4, 0.9]), torch.tensor([0.0, 0.0, 1.0, 1.0])
    assert auc(scores, labels) == 0.875
    assert auc(scores, torch.ones(4)) == 0.5
    assert auc(-scores, labels) == 0.125
    chances = torch.tensor([0.25] * 4 + [1.0] * 4)
    assert calibration_error(chances, torch.tensor([1.0, 0, 0, 0] + [1.0] * 4)) == 0
    assert calibration_error(chances, torch.tensor([1.0, 1, 0, 0] + [1.0] * 4)) == pytest.approx(0.125)


def planted(n: int, seed: int) -> Examples:
    """Acceptance that hangs on the inputs by a law that is known."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 6, generator=generator) * 3 + 1
    chance = (x[:, 0] - x[:, 1] + 1).sigmoid()
    return Examples(x, torch.bernoulli(chance, generator=generator), chance, 1)


def test_a_head_learns_a_planted_law_and_the_weight_can_be_taken_out_again() -> None:
    training, held_out = planted(6000, 0), planted(3000, 1)
    torch.manual_seed(0)
    head = AcceptanceHead(6, 2)
    learn(head, training, lambda z, y: weighted_cross_entropy(z, y, 6.0), epochs=40, seed=0)
    found = acceptance_measures(head, held_out, 6.0)
    assert found["auc"] > found["auc_confidence"] - 0.01, "as good as the law itself"
    assert found["mean_chance"] < found["accepted"] - 0.1
    assert found["mean_chance_unweighted"] == pytest.approx(found["accepted"], abs=0.03)
    assert found["calibration_error_unweighted"] < 0.06 < found["calibration_error"]


def test_a_length_head_learns_a_planted_law() -> None:
    training = planted(6000, 0)
    wanted = (training.inputs[:, 1] + training.inputs[:, 2]).relu()
    torch.manual_seed(0)
    head = LengthHead(6, 3, 24)
    learn(head, Examples(training.inputs, wanted, training.said, 1), torch.nn.functional.smooth_l1_loss, epochs=40,
          seed=0)  # fmt: skip
    with torch.inference_mode():
        assert float((head(training.inputs) - wanted).abs().mean()) < 0.3


@pytest.mark.parametrize("temperature", [0.0, 0.8])
@pytest.mark.parametrize("method", ["specdec++", "ada-eagle"])
def test_a_head_fits_the_pair_it_was_trained_on(method: str, temperature: float, tmp_path: Path) -> None:
    said: list[str] = []
    made = fit(method, engine(), requests(6, temperature), QUICK, batch=4, after=said.append, about={"tasks": "sums"})
    assert said[-1] == "training"
    measures, training = made.about.measures, made.about.training
    assert (measures["texts"], training["texts"], training["tasks"]) == (1, 5, "sums")
    assert measures["tokens"] > 0
    assert all(math.isfinite(value) for value in measures.values())
    made.save(tmp_path)
    found = load(tmp_path, method)
    x = torch.randn(found.about.inputs)
    assert found(x) == made(x)
    plain = engine().using(drafter="none").run(requests(3, temperature))
    mine = engine().using(length=f"{method}:head={tmp_path}").run(requests(3, temperature), batch=2)
    assert [r.tokens for r in mine] == [r.tokens for r in plain]
    again = fit(method, engine(), requests(6, temperature), QUICK, batch=2)
    assert again(x) == pytest.approx(made(x), abs=1e-4), "the same seed, the same head"


def test_what_cannot_be_trained_is_refused() -> None:
    with pytest.raises(UnknownMethod, match="specdec"):
        fit("specdec", engine(), requests(2))
    with pytest.raises(UnmetNeed, match="draft model"):
        fit("ada-eagle", Engine(TARGET, TEXT, Methods("none")), requests(2))
    fake = FakeModel.random(0, vocab=264)
    blind = Engine(fake, TEXT, Methods("draft-model", "constant:2"), fake)
    with pytest.raises(UnmetNeed, match="hidden"):
        fit("specdec++", blind, requests(2))
    with pytest.raises(TaskError, match="too few"):
        fit("specdec++", engine(), requests(1), QUICK)
