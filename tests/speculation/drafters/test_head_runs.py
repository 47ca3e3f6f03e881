"""Whole runs with draft heads: the text of plain decoding, the law of the target, whatever the head is worth."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from laconic import Limits, Sampling
from laconic.engine import Engine, Methods
from laconic.models.base import ShowsLayers, chain
from laconic.models.causal_lm import CausalLM
from laconic.types import Request
from tests import tiny
from tests.draft_heads import KINDS, head, spec
from tests.speculation.exact import g_excess, plain_law
from tests.speculation.rounds import context_of


class Rows:
    """A model's logits after a text, as the exact laws ask for them."""

    def __init__(self, model: CausalLM) -> None:
        self.model = model

    def after(self, tokens: list[int]) -> torch.Tensor:
        with closing(self.model.open()) as slot:
            return self.model.score([chain(tokens)], [slot]).of(0)[-1]


WAYS = [("chain", "constant:3"), ("best-first", "constant:7"), ("k-ary", "constant:6"), ("chain", "marginal")]
LIMITS = Limits(40, answer_room=0)
PROMPTS = ["Hm?", "What is 3 + 4? " * 12, "x"]


def engine(made: Any, model: CausalLM, folder: Path, **methods: Any) -> Engine:
    made.save(folder)
    return Engine(model, tiny.text(), Methods(drafter=f"head:{folder}", **methods))


def requests(on: Engine, temperature: float) -> list[Request]:
    return [
        on.request(prompt, limits=LIMITS, sampling=Sampling(temperature, seed=seed))
        for seed, prompt in enumerate(PROMPTS)
    ]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("temperature", [0.0, 0.8])
@pytest.mark.parametrize(("shape", "length"), WAYS)
def test_a_batch_with_a_head_writes_what_plain_decoding_writes(
    kind: str, temperature: float, shape: str, length: str, tmp_path: Path
) -> None:
    model = CausalLM(tiny.model())
    drafts = engine(head(kind, model), model, tmp_path, shape=shape, length=length)
    plain = drafts.using(drafter="none", shape="chain")
    expected = [plain.run([request])[0].tokens for request in requests(plain, temperature)]
    alone = [drafts.run([request])[0] for request in requests(drafts, temperature)]
    together = drafts.run(requests(drafts, temperature), batch=3)
    assert [result.tokens for result in alone] == expected
    assert [result.tokens for result in together] == expected
    if length != "marginal":  # which may find that nothing is worth its time
        assert sum(result.usage.drafted for result in together) > 20
    assert not list(model.slots)


@pytest.mark.parametrize("verifier", ["speculative-sampling", "traversal", "block", "specinfer", "k-seq", "importance"])
def test_drafts_drawn_from_a_head_keep_the_target_s_law(verifier: str, tmp_path: Path) -> None:
    torch.manual_seed(5)
    config = LlamaConfig(
        vocab_size=5, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=8, max_position_embeddings=64, eos_token_id=None, bos_token_id=None,
    )  # fmt: skip
    model = CausalLM(LlamaForCausalLM(config))
    with torch.no_grad():
        model.model.get_output_embeddings().weight.mul_(30)
    made = head("eagle3", model, kept=3)  # two tokens that it can never say
    tree = verifier in ("traversal", "specinfer", "k-seq", "importance")
    shape = "stochastic-beam" if verifier == "traversal" else ("k-ary:2" if tree else "chain")
    on = engine(made, model, tmp_path, verifier=verifier, shape=shape, length="constant:4")
    prompt = (1, 2, 3)
    found = []
    drafted = accepted = 0
    for seed in range(600):
        (result,) = on.run([Request(prompt, Sampling(1.0, seed=seed), Limits(4, answer_room=0))])
        found.append(tuple(result.tokens))
        drafted += result.usage.drafted
        accepted += result.usage.accepted
    assert drafted > 600
    assert accepted > 50
    assert g_excess(found, plain_law(Rows(model), context_of(prompt, Sampling(1.0)), 4)) < 1  # type: ignore[arg-type]


def test_text_that_a_controller_writes_or_takes_back_is_read_anew(tmp_path: Path) -> None:
    model = CausalLM(tiny.model(bias={"\n\n": 3.0, "</think>": 1.0}))
    drafts = engine(head("eagle3", model), model, tmp_path, length="constant:3", think=("settled:every=4", "budget:24"))
    plain = drafts.using(drafter="none", shape="chain")
    for prompt in PROMPTS:
        (mine,) = drafts.run([drafts.request(prompt, limits=Limits(60))])
        (theirs,) = plain.run([plain.request(prompt, limits=Limits(60))])
        assert mine.tokens == theirs.tokens
        assert mine.usage.drafted > 0


@pytest.mark.parametrize("temperature", [0.0, 0.8])
@pytest.mark.parametrize("left", [0, 1, 5])
def test_rules_that_leave_few_of_the_tokens_that_a_head_can_say(temperature: float, left: int, tmp_path: Path) -> None:
    model = CausalLM(tiny.model())
    made = head("mtp", model)
    drafts = engine(made, model, tmp_path, length="constant:4", shape="best-first")
    plain = drafts.using(drafter="none", shape="chain")
    banned = tuple((int(token), -torch.inf) for token in made.head.kept[left:])
    sampling = Sampling(temperature, seed=3, logit_bias=banned)
    (mine,), (theirs,) = (on.run([on.request("Hm?", limits=LIMITS, sampling=sampling)]) for on in (drafts, plain))
    assert mine.tokens == theirs.tokens
    assert (mine.usage.drafted > 0) == (left > 0)


def test_the_target_keeps_no_outputs_where_nobody_drafts_from_them(tmp_path: Path) -> None:
    model = CausalLM(tiny.model())
    plain = Engine(model, tiny.text(), Methods(drafter="none"))
    seen = []
    plain.run([plain.request("Hm?", limits=LIMITS)])
    seen.append(model.host.pool.outputs.layers)  # type: ignore[attr-defined]
    engine(head("eagle3", model), model, tmp_path)
    seen.append(model.host.pool.outputs.layers)  # type: ignore[attr-defined]
    assert seen == [(), (0, 1)]
    assert isinstance(model, ShowsLayers)


@pytest.mark.parametrize("kind", ["mtp", "medusa", "mtp@1"])
def test_what_a_look_of_the_head_costs_is_learned(kind: str, tmp_path: Path) -> None:
    target = CausalLM(tiny.model())
    for drafter in (spec(tmp_path, target, kind), f"hybrid:[{spec(tmp_path, target, kind)}]"):
        engine = Engine(target, tiny.text(), Methods(drafter=drafter, length="constant:3"))
        result = engine.generate("abc", limits=Limits(30))
        assert result.usage.draft_passes == 0 or "@" in kind, "there is no draft model"
        assert engine.pace.draft_pass > 0
        assert engine.plan.drafter.looks > 9 or "@" in kind
