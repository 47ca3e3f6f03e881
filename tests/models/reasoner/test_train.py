"""The recipe runs, the loss falls, cut thoughts are not learnt as endings, and the packaged weights are small."""

import itertools
import json
import math
import re
from pathlib import Path
from random import Random

import pytest
import torch

pytest.importorskip("reasoning_gym")

from laconic.models.reasoner import draft_path, target_path
from laconic.models.reasoner.batches import batches
from laconic.models.reasoner.corpus import CLOSE, TIME_IS_UP, Example, _thought, example, examples, prompt
from laconic.models.reasoner.drills import Fact, page
from laconic.models.reasoner.network import TINY, build, short_causal_attention
from laconic.models.reasoner.problems import KINDS, is_held_out, problems
from laconic.models.reasoner.tokenizer import load_tokenizer
from laconic.models.reasoner.traces import trace
from laconic.models.reasoner.train import Recipe, train


def cut_examples(n: int) -> list[Example]:
    found = [one for one in itertools.islice(examples(4), n) if one.kind != "drill"]
    return [one for one in found if one.pieces[-2][1] == 0 and one.pieces[1][1] > 0]


def test_what_closes_a_thought_by_force_is_not_learnt_but_the_true_answer_is() -> None:
    found = cut_examples(600)
    assert 50 < len(found) < 150
    for one in found:
        (_, asked), *thought, (close, closing), (answer, learnt) = one.pieces
        assert (asked, closing) == (0, 0)
        assert learnt > 0
        assert not any("</think>" in text for text, _ in thought)
        assert close.endswith("</think>\n\n")
        assert answer.startswith("The answer is \\boxed{")
    assert {CLOSE, TIME_IS_UP} <= {one.pieces[-2][0] for one in found}


def test_the_sentence_that_compares_weighs_more() -> None:
    drawn = [one for one in itertools.islice(examples(4), 300) if one.kind != "drill"]
    heavy = [text for one in drawn for text, weight in one.pieces[1:-1] if weight > 1]
    assert len(heavy) > 50
    assert any("the same" in text or "agree" in text for text in heavy)
    assert any("not the same" in text or "differ" in text for text in heavy)
    assert all(re.search(r"-?\d", text) for text in heavy)


def test_planted_slips_are_not_learnt_but_what_is_said_of_them_is() -> None:
    rng, seen = Random(2), 0
    for problem in problems("chain_sum", 300, seed=3, held_out=False):
        story = trace(problem, rng)
        if not story.slipped:
            continue
        seen += 1
        weights = dict(_thought(story, len(story.steps)))
        if story.value != int(story.answer):
            quick = next(text for text in weights if text.endswith(story.steps[story.first]))
            assert weights[quick] == 0
        assert any(weight > 1 and ("not the same" in text or "differ" in text) for text, weight in weights.items())
        assert any(weight == 1 for weight in weights.values())
    assert 40 < seen < 150


def test_few_of_the_slips_stay_in_thoughts_cut_short() -> None:
    rng = Random(5)
    found = [p for p in problems("basic_arithmetic", 400, seed=3, held_out=False) if p.difficulty == 1]
    wrong = cut = 0
    for problem in found * 4:
        one = example(problem, rng)
        if one.pieces[-2][1] == 0 and len(one.pieces) > 3:
            cut += 1
            wrong += any(weight == 0 for _, weight in one.pieces[1:-2])
    assert cut > 200
    assert wrong / cut < 0.11  # a slip of the first check stays; without a choice it would be 0.25


def test_a_cut_thought_is_answered_truly_even_after_a_wrong_result() -> None:
    rng, problem = Random(0), problems("chain_sum", 1, seed=3, held_out=False)[0]
    answers = {example(problem, rng).pieces[-1][0] for _ in range(200)}
    assert answers == {f"The answer is \\boxed{{{problem.answer}}}.<|im_end|>"}


def test_training_text_holds_no_held_out_question() -> None:
    held = {prompt(problem.question) for kind in KINDS for problem in problems(kind, 100, seed=11)}
    assert not held & {one.pieces[0][0] for one in itertools.islice(examples(5), 3000)}


def pages(n: int) -> list[Fact]:
    rng = Random(6)
    return [fact for _ in range(n) for fact in page(rng)]


def test_facts_of_a_page_are_right_and_hold_no_held_out_question() -> None:
    facts = pages(300)
    assert len(facts) > 4000
    assert not [fact for fact in facts if is_held_out(fact.content or fact.asked.removesuffix(" ="))]
    sums = [fact for fact in facts if fact.asked.endswith(" =")]
    assert len(sums) > 3000
    for fact in sums:
        quotient, _, rest = fact.result.partition(" rest ")
        if rest:
            dividend, divisor = map(int, fact.asked.removesuffix(" =").split(" / "))
            assert divmod(dividend, divisor) == (int(quotient), int(rest))
        else:
            assert eval(fact.asked.removesuffix(" =")) == eval(quotient)


def test_facts_about_divisors_are_right() -> None:
    facts = pages(300)
    shared = [fact for fact in facts if fact.asked.endswith(" share")]
    listed = [fact for fact in facts if fact.asked.startswith("Divisors of ")]
    assert min(len(shared), len(listed)) > 100
    for fact in shared:
        a, b = map(int, re.findall(r"\d+", fact.asked))
        assert math.gcd(a, b) == int(fact.result)
        assert fact.content == f"gcd {sorted((a, b))}"
    for fact in listed:
        number = int(fact.asked.split()[2])
        assert [int(word) for word in fact.result.split()] == [d for d in range(number, 0, -1) if number % d == 0]


def test_verdicts_of_a_page_are_right_and_as_often_no_as_yes() -> None:
    facts = [fact for fact in pages(600) if fact.worth > 1]
    said = {"yes": 0, "no": 0, "most": 0}
    for fact in facts:
        numbers = re.findall(r"-?\d+", fact.asked)
        if len(numbers) == 3:
            assert numbers.count(re.findall(r"-?\d+", fact.result)[0]) == 2
            said["most"] += 1
            continue
        same = fact.result.startswith(("the same", "They agree"))
        assert same == (numbers[0] == numbers[1]), fact
        said["yes" if same else "no"] += 1
    assert said["most"] > 200
    assert 0.8 < said["yes"] / said["no"] < 1.25


def test_only_results_of_a_page_and_no_padding_are_learnt() -> None:
    tokenizer = load_tokenizer(target_path())
    one = Example(
        ((prompt("a"), 0.0), ("12 + 30 =", 0.0), (" 42", 1.0), (", ", 0.0), ("7 - 9 =", 0.0), (" -2", 1.0)), "x"
    )
    tokens, weights = next(batches(tokenizer, itertools.repeat(one, 2), 4096, seed=0))
    assert tokens.shape == weights.shape == (2, tokens.shape[1])
    learnt = [
        (tokenizer.decode([token]), weight) for token, weight in zip(tokens[0], weights[0], strict=True) if weight
    ]
    assert "".join(text for text, _ in learnt).replace(" =", "").split() == ["42", "-2"]
    assert {weight.item() for text, weight in learnt if text.isdigit()} == {1.0}
    ragged = iter([one, Example(((prompt("b"), 0.0), ("1", 1.0)), "x")])
    tokens, weights = next(batches(tokenizer, ragged, 4096, seed=0))
    assert weights[tokens == tokenizer.pad_token_id].sum() == 0


def test_quick_attention_is_causal_attention() -> None:
    torch.manual_seed(0)
    query, key, value = torch.randn(2, 4, 9, 16), torch.randn(2, 2, 9, 16), torch.randn(2, 2, 9, 16)
    quick, _ = short_causal_attention(torch.nn.Module(), query, key, value, None, scaling=0.25)
    slow = torch.nn.functional.scaled_dot_product_attention(
        query, key, value, is_causal=True, scale=0.25, enable_gqa=True
    )
    assert torch.allclose(quick, slow.transpose(1, 2), atol=0.03)


def test_a_network_without_the_target_shape_still_loads() -> None:
    network = build(TINY, 300, 1, 2)
    assert network.config.eos_token_id == 1
    assert network.config.pad_token_id == 2


def test_a_few_steps_run_and_the_loss_falls(tmp_path: Path) -> None:
    log = train(Recipe(tmp_path, steps=40, batch_tokens=2048, tiny=True, workers=1))
    assert log[-1]["loss"] < log[0]["loss"] - 0.5
    assert log[-1]["draft_loss"] < log[0]["draft_loss"] - 0.5
    assert json.loads((tmp_path / "training.json").read_text())["recipe"]["seed"] == 0
    from transformers import AutoModelForCausalLM, AutoTokenizer

    for name in ("target", "draft"):
        network = AutoModelForCausalLM.from_pretrained(tmp_path / name)
        tokenizer = AutoTokenizer.from_pretrained(tmp_path / name)
        assert network.config.eos_token_id == tokenizer.eos_token_id
        assert network.generation_config.pad_token_id == tokenizer.pad_token_id
    again = train(Recipe(tmp_path / "more", steps=1, batch_tokens=2048, tiny=True, workers=1, start_from=tmp_path))
    assert again[0]["loss"] < log[len(log) // 2]["loss"]


@pytest.mark.parametrize("path", [target_path(), draft_path()])
def test_the_packaged_weights_load(path: Path) -> None:
    from transformers import AutoModelForCausalLM

    network = AutoModelForCausalLM.from_pretrained(path)
    assert network.dtype == torch.float32
    assert network.config.model_type == "qwen3"
    assert network.config.vocab_size == 640


def test_the_packaged_weights_are_small() -> None:
    files = [*target_path().iterdir(), *draft_path().iterdir()]
    assert sum(file.stat().st_size for file in files) < 16e6
