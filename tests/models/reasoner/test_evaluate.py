"""The measurements: intervals, the belief after a forced close, agreement of the draft, and the card."""

import json
from pathlib import Path

import pytest
import torch

pytest.importorskip("reasoning_gym")

from laconic.models.reasoner import draft_path, target_path
from laconic.models.reasoner.card import loss_table, parameters, write_card
from laconic.models.reasoner.corpus import CLOSE, prompt
from laconic.models.reasoner.evaluate import auc, evaluate, held_out_tasks, quantiles
from laconic.models.reasoner.problems import KINDS
from laconic.models.reasoner.rollout import PROBE, Reasoner, Rollout, draft_agreement


@pytest.fixture(scope="module")
def draft() -> Reasoner:
    return Reasoner(draft_path())


def test_auc_counts_pairs() -> None:
    assert auc([0.9, 0.8], [0.1, 0.8]) == (3 + 0.5) / 4
    assert auc([0.9], []) is None


def test_quantiles_of_known_numbers() -> None:
    found = quantiles([float(number) for number in range(101)])
    assert (found["mean"], found["p5"], found["p50"], found["max"]) == (50, 5, 50, 100)


def test_held_out_tasks_hold_every_kind() -> None:
    tasks = held_out_tasks(14, seed=3)
    assert [task.kind for task in tasks] == [kind for kind in KINDS for _ in range(2)]
    assert all(task.held_out for task in tasks)


def test_a_belief_is_the_product_of_the_networks_own_probabilities(draft: Reasoner) -> None:
    question, thought = "What is 2 + 3?", "2 + 3 = 5. So the answer is 5."
    (belief,) = draft.beliefs([question], [thought])
    head = f"{prompt(question)}<think>\n{thought}{CLOSE}{PROBE}"
    tokens = draft.tokenizer.encode(head, add_special_tokens=False)
    answer = draft.tokenizer.encode(belief.answer + "}", add_special_tokens=False)
    with torch.inference_mode():
        rows = draft.network(torch.tensor([tokens + answer])).logits[0].softmax(-1)
    chance = 1.0
    for at, token in enumerate(answer):
        assert int(rows[len(tokens) - 1 + at].argmax()) == token
        chance *= float(rows[len(tokens) - 1 + at, token])
    assert belief.probability == pytest.approx(chance, rel=1e-3)


def test_batches_do_not_change_what_is_generated(draft: Reasoner) -> None:
    questions = ["What is 2 + 3?", "Calculate 12 - 7.", "What is ( 3 + 4 ) * 5?"]
    together = draft.answer(questions, limit=40)
    alone = [draft.answer([question], limit=40)[0] for question in questions]
    assert [rollout.text for rollout in together] == [rollout.text for rollout in alone]


def test_a_model_drafts_for_itself_without_a_refusal(draft: Reasoner) -> None:
    (rollout,) = draft.answer(["What is 2 + 3?"], limit=500)  # whole: a text cut between tokens may be tokenised anew
    found = draft_agreement(draft, draft, [rollout])
    assert found["token_agreement"] == 1
    broken = Rollout(rollout.question, rollout.text.replace("2", "9"), "", "", 0)
    assert draft_agreement(draft, draft, [broken])["accepted_of_8"] < found["accepted_of_8"]


def test_a_report_becomes_a_card(draft: Reasoner, tmp_path: Path) -> None:
    report = json.loads(json.dumps(evaluate(draft, held_out_tasks(7, seed=5))))
    for name, path in (("target", target_path()), ("draft", draft_path())):
        (tmp_path / name).symlink_to(path)
    row = {"step": 50, "minutes": 1.0, "tokens": 400_000, "loss": 0.5, "draft_loss": 0.7, "draft_kl": 0.2}
    training = {"recipe": {"minutes": 1.0, "seed": 0}, "log": [row, {**row, "step": 100}]}
    (tmp_path / "training.json").write_text(json.dumps(training))
    text = write_card(tmp_path, report, "A note.").read_text()
    assert "A note." in text
    assert "a specimen for\ntests, demos and measurements, not a claim about large models" in text
    assert all(f"| `{kind}` |" in text for kind in KINDS)
    assert loss_table(training["log"]).count("\n") == 3  # type: ignore[arg-type]


def test_the_draft_is_about_a_tenth_of_the_target() -> None:
    assert 0.05 < parameters(draft_path()) / parameters(target_path()) < 0.15
