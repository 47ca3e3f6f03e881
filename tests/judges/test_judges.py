"""Judges: what each makes of steps, on models that are small or made up, and what becomes of scores that are none."""

from __future__ import annotations

import json
import math
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from transformers import Qwen2Config, Qwen2ForTokenClassification, Qwen2Model

import laconic.methods  # noqa: F401  (fills the registry)
from laconic import Engine, Limits, Sampling
from laconic.errors import InvalidKnob, JudgeError, ModelNotFound, RequestError, UnsupportedModel
from laconic.judges.base import Bound, Judge, checked
from laconic.judges.equations import equations
from laconic.policy import Card, registry
from laconic.scaling.vote.judged import BestOfN
from tests import tiny
from tests.scaling.boards import answers, policy

QUESTION = ({"role": "user", "content": "What is 37 * 48 + 15?"},)


@cache
def bundled() -> Engine:
    return Engine.load("bundled")


def judge(spec: str, engine: Engine | None = None) -> Bound:
    made = registry.build("judge", spec)
    assert isinstance(made, Judge)
    return made.bind(engine or bundled())


class TestEquations:
    @pytest.mark.parametrize(
        ("text", "held"),
        [
            ("First 3 * 4 = 12. Then 12 + 5 = 18.", [True, False]),
            ("3 × 4 = 12 = 6 + 6", [True]),
            ("1,200 / 4 = 300 and 7 ÷ 2 = 3.5", [True, True]),
            ("(2 + 3) * 4 = 20", [True]),
            ("x = 3, so a1 = 4", []),
            ("1 / 0 = 5", []),
            ("-3 + 5 = 2", [True]),
            ("2x + 3 = 13", []),
            ("x - 5 = 10", []),
            ("x^2 = 4", []),
            ("2^3 = 8", []),
            ("20% of 50 = 10", []),
            ("10 = 2x", []),
            ("5 = 10 - x", []),
            ("50% = 1/2", []),
            ("5! = 120", []),
            ("So 4 = 4, and 2 + 2 = 5.", [True, False]),
            ("37 * 48 = 1480 + 296 = 1776.\n\nThen 1776 + 15 = 1791.", [True, True]),
        ],
    )
    def test_what_is_read(self, text: str, held: list[bool]) -> None:
        assert equations(text) == held

    def test_scores(self) -> None:
        bound = judge("equations")
        assert bound.score(QUESTION, ["37 * 48 = 1776.\n\n", "1776 + 15 = 1791."]) == 1
        assert bound.score(QUESTION, ["37 * 48 = 1777.\n\n", "1777 + 15 = 1792."]) == 0
        assert bound.score(QUESTION, ["Let me think."]) == 0.5


class TestModels:
    def test_confidence_is_higher_behind_what_leads_to_the_answer(self) -> None:
        bound = judge("confidence")
        begun = bound.score(QUESTION, ["Okay, I need to work out 37 * 48 + 15.\n\n"])
        led = bound.score(
            QUESTION, ["Okay, I need to work out 37 * 48 + 15.\n\n", "37 * 48 = 1776.\n\n", "1776 + 15 = 1791.\n\n"]
        )
        assert 0 <= begun < led <= 1

    def test_digits_are_read_off_the_first_token(self) -> None:
        favours = {"7": 8.0}
        engine = _biased(favours)
        assert judge("digit", engine).score(QUESTION, ["step"]) == pytest.approx(7 / 9)
        mean = judge("digit:mean=true", engine).score(QUESTION, ["step"])
        assert 0.6 < mean < 0.85

    def test_no_question(self) -> None:
        with pytest.raises(InvalidKnob, match="no question"):
            judge("digit").score((), ["step"])


def _biased(favours: dict[str, float]) -> Engine:
    from laconic.models.causal_lm import CausalLM

    return Engine(CausalLM(tiny.model(0, sharpness=0.2, bias=favours)), tiny.text())


@pytest.mark.parametrize("value", [math.nan, math.inf, -0.1, 1.5])
def test_what_is_no_score(value: float) -> None:
    with pytest.raises(JudgeError, match="no number from 0 to 1"):
        checked("mine", value)


def test_a_judge_of_no_number_ends_all_attempts() -> None:
    class Broken(Judge):
        name = "broken"
        card = Card(paper="a test", lossless=False)

        def bind(self, engine: Engine) -> Any:
            return self

        def score(self, question: Any, steps: Any) -> float:
            return checked(self.name, math.nan)

        def close(self) -> None:
            pass

    engine = bundled()
    with pytest.raises(JudgeError):
        engine.answer("What is 2 + 3?", scaling=BestOfN(Broken()), n=2, sampling=Sampling(0.8), limits=Limits(200))
    assert not engine.target.host.slots  # type: ignore[attr-defined]


class TestChosen:
    def scored(self, spec: str, *scores: float) -> list[str]:
        on = answers("3", "3", "3", "4", "5")
        on.judged = lambda _, attempt: scores[attempt.number]
        made = policy(spec)
        return [candidate.answer for candidate in made.candidates(None, on)]

    def test_best_sum_and_mean(self) -> None:
        scores = (0.3, 0.2, 0.1, 0.5, 0.4)
        assert self.scored("best-of-n:judge=[equations]", *scores) == ["4", "5", "3"]
        assert self.scored("best-of-n:judge=[equations],by=sum", *scores)[0] == "3"
        assert self.scored("best-of-n:judge=[equations],by=mean", *scores)[0] == "4"

    def test_what_came_by_chance_does_not_stand(self) -> None:
        scores = (0.3, 0.2, 0.1, 0.9, 0.8)
        assert self.scored("best-of-majority:judge=[equations],often=0.4", *scores)[0] == "3"
        assert self.scored("best-of-majority:judge=[equations],often=0", *scores)[0] == "4"

    def test_in_earnest(self) -> None:
        found = bundled().answer(
            "What is 37 * 48 + 15?",
            scaling="best-of-n:judge=[equations]",
            n=3,
            sampling=Sampling(0.8),
            limits=Limits(900),
        )
        assert len(found.attempts) == 3
        assert found.candidates[0].weight == max(candidate.weight for candidate in found.candidates)
        for tried in found.attempts:
            if tried.result is found.result:
                assert float(all(equations(tried.result.thinking + tried.result.answer))) == found.candidates[0].weight


CONFIG = {
    "vocab_size": 264,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 256,
}


def checkpoint(folder: Path, kind: str) -> Qwen2Model:
    """A small process reward model as its makers lay it out; returns its backbone."""
    torch.manual_seed(4)
    made = Qwen2ForTokenClassification(Qwen2Config(**CONFIG, num_labels=2)).eval()
    weights = {name: weight.contiguous() for name, weight in made.state_dict().items()}
    config = made.config.to_dict()
    tokenizer = tiny.tokenizer()
    if kind == "extra":
        for name in ("score.weight", "score.bias"):
            weights.pop(name, None)
        weights |= {
            "score.0.weight": torch.randn(16, 16), "score.0.bias": torch.randn(16),
            "score.2.weight": torch.randn(2, 16), "score.2.bias": torch.randn(2),
        }  # fmt: skip
        config |= {"architectures": ["Qwen2ForProcessRewardModel"], "auto_map": {"AutoModel": "modeling.Model"}}
        tokenizer.add_tokens(["<extra_0>"], special_tokens=True)
        weights["model.embed_tokens.weight"] = torch.randn(len(tokenizer), 16)
        config["vocab_size"] = len(tokenizer)
    elif kind == "line":
        weights = {f"pretrained_{name}": w for name, w in weights.items() if name.startswith("model.")}
        weights |= {"v_head.summary.weight": torch.randn(1, 16), "v_head.summary.bias": torch.randn(1)}
    folder.mkdir(exist_ok=True)
    save_file({name: weight.clone() for name, weight in weights.items()}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config))
    tokenizer.save_pretrained(folder)
    backbone = Qwen2Model(Qwen2Config(**CONFIG | {"vocab_size": config["vocab_size"]})).eval()
    prefix = "pretrained_model." if kind == "line" else "model."
    backbone.load_state_dict({n[len(prefix) :]: w for n, w in weights.items() if n.startswith(prefix)})
    return backbone.requires_grad_(False)


class TestPRM:
    def test_qwens_reads_its_mark_behind_every_step(self, tmp_path: Path) -> None:
        backbone = checkpoint(tmp_path / "prm", "extra")
        bound: Any = judge(f"prm:{tmp_path / 'prm'}")
        found = bound.score(QUESTION, ["One.\n\n", "Two."])
        said = [
            {"role": "system", "content": r"Please reason step by step, and put your final answer within \boxed{}."},
            *QUESTION,
            {"role": "assistant", "content": "One.<extra_0>Two.<extra_0>"},
        ]
        text = bound.tokenizer.apply_chat_template(said, tokenize=False)
        ids = bound.tokenizer.encode(text, add_special_tokens=False)
        hidden = backbone(torch.tensor([ids])).last_hidden_state[0]
        weights = _weights(tmp_path / "prm")
        inner = (hidden @ weights["score.0.weight"].T + weights["score.0.bias"]).relu()
        chances = (inner @ weights["score.2.weight"].T + weights["score.2.bias"]).softmax(-1)[:, 1]
        at = [i for i, token in enumerate(ids) if token == bound.tokenizer.convert_tokens_to_ids("<extra_0>")]
        assert len(at) == 2
        assert found == pytest.approx(float(chances[at[1]]), abs=1e-5)
        worst = judge(f"prm:{tmp_path / 'prm'},by=min").score(QUESTION, ["One.\n\n", "Two."])
        assert worst == pytest.approx(float(chances[at].min()), abs=1e-5)

    def test_skyworks_reads_the_end_of_every_line(self, tmp_path: Path) -> None:
        backbone = checkpoint(tmp_path / "prm", "line")
        bound: Any = judge(f"prm:{tmp_path / 'prm'},by=product")
        found = bound.score(QUESTION, ["One.\n\n", "Two."])
        ids = bound.tokenizer.encode(f"{QUESTION[0]['content']}\nOne.\nTwo.\n", add_special_tokens=False)
        weights = _weights(tmp_path / "prm")
        hidden = backbone(torch.tensor([ids])).last_hidden_state[0]
        chances = (hidden @ weights["v_head.summary.weight"].T + weights["v_head.summary.bias"]).sigmoid()[:, 0]
        newline = bound.tokenizer.encode("\n")[0]
        first, second = [i for i, token in enumerate(ids) if token == newline][-2:]
        assert found == pytest.approx(float(chances[first] * chances[second]), abs=1e-5)

    def test_token_classifiers(self, tmp_path: Path) -> None:
        checkpoint(tmp_path / "prm", "classifier")
        assert 0 < judge(f"prm:{tmp_path / 'prm'}").score(QUESTION, ["One.", "Two."]) < 1

    def test_what_is_none(self, tmp_path: Path) -> None:
        with pytest.raises(ModelNotFound):
            judge(f"prm:{tmp_path / 'nothing'}")
        checkpoint(tmp_path / "prm", "classifier")
        weights = _weights(tmp_path / "prm")
        save_file(
            {n: w for n, w in weights.items() if not n.startswith("score")}, tmp_path / "prm" / "model.safetensors"
        )
        with pytest.raises(UnsupportedModel, match="no head"):
            judge(f"prm:{tmp_path / 'prm'}")
        save_file({n: w for n, w in weights.items() if "mlp.up" not in n}, tmp_path / "prm" / "model.safetensors")
        with pytest.raises(UnsupportedModel, match="no whole qwen2"):
            judge(f"prm:{tmp_path / 'prm'}")

    def test_too_long_and_empty(self, tmp_path: Path) -> None:
        checkpoint(tmp_path / "prm", "classifier")
        bound = judge(f"prm:{tmp_path / 'prm'}")
        with pytest.raises(RequestError, match="context of 256"):
            bound.score(QUESTION, ["word " * 300])
        with pytest.raises(RequestError, match="no step"):
            bound.score(QUESTION, ["\n\n"])


def _weights(folder: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(folder / "model.safetensors")
