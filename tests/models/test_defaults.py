"""Requests that do not say how they are sampled are served as the checkpoint says."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from laconic import Engine, Limits, Methods, Request, Sampling, reference
from laconic.errors import ModelError
from laconic.models.causal_lm import CausalLM
from laconic.models.defaults import LONG, Defaults, end_tokens, read_defaults
from laconic.models.load import load_defaults, load_text
from tests import tiny


def written(folder: Path, **generation: Any) -> Path:
    (folder / "generation_config.json").write_text(json.dumps(generation))
    return folder


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({}, Sampling()),
        ({"do_sample": True, "temperature": 0.6, "top_p": 0.95, "top_k": 20}, Sampling(0.6, 20, 0.95)),
        ({"temperature": 0.6, "top_p": 0.95}, Sampling(0.6, top_p=0.95)),  # DeepSeek's has no do_sample; vLLM draws
        ({"do_sample": True, "min_p": 0.1}, Sampling(1.0, min_p=0.1)),
        ({"do_sample": False, "temperature": 0.6, "top_k": 3}, Sampling()),
        ({"do_sample": False, "repetition_penalty": 1.1}, Sampling(repetition_penalty=1.1)),
        ({"do_sample": True, "top_k": -1}, Sampling(1.0)),
    ],
)
def test_sampling_is_read_as_vllm_reads_it(tmp_path: Path, said: dict[str, Any], expected: Sampling) -> None:
    found = read_defaults(written(tmp_path, **said))
    assert found.sampling == expected
    assert found.source == ("generation_config.json" if said else "")
    assert found.unheard == ()


def test_limits_and_what_is_not_heard(tmp_path: Path) -> None:
    found = read_defaults(
        written(tmp_path, max_new_tokens=700, no_repeat_ngram_size=3, typical_p=1.0, num_beams=4, use_cache=True)
    )
    assert found.limits == Limits(700)
    assert found.unheard == ("no_repeat_ngram_size", "num_beams")
    assert read_defaults(tmp_path / "nothing").limits == Limits(LONG) == Limits()


def test_max_length_is_named_unless_max_new_tokens_goes_before_it(tmp_path: Path) -> None:
    assert read_defaults(written(tmp_path, max_length=40)).unheard == ("max_length",)
    assert read_defaults(written(tmp_path, max_length=40, max_new_tokens=9)).unheard == ()


def test_numbers_without_a_fraction_are_whole(tmp_path: Path) -> None:
    found = read_defaults(written(tmp_path, do_sample=True, top_k=20.0, max_new_tokens=64.0, eos_token_id=[5.0]))
    assert (found.sampling.top_k, found.max_new_tokens, end_tokens(tmp_path)) == (20, 64, (5,))
    assert [type(value) for value in (found.sampling.top_k, found.max_new_tokens, *end_tokens(tmp_path))] == [int] * 3


@pytest.mark.parametrize(
    ("entry", "value"),
    [
        ("top_p", 1.5), ("top_p", 0), ("temperature", -1), ("temperature", "0.6"), ("temperature", math.nan),
        ("temperature", True), ("top_k", 20.5), ("top_k", "20"), ("top_k", True), ("min_p", [0.1]),
        ("max_new_tokens", 0), ("max_new_tokens", -5), ("max_new_tokens", 64.5), ("max_new_tokens", "64"),
        ("max_length", 0), ("do_sample", "false"), ("do_sample", 1), ("repetition_penalty", 0),
        ("eos_token_id", "<|im_end|>"), ("eos_token_id", -1), ("eos_token_id", [1, -1]), ("eos_token_id", 2.5),
        ("eos_token_id", {}),
    ],
)  # fmt: skip
def test_a_value_of_another_kind_or_out_of_range_names_file_and_entry(tmp_path: Path, entry: str, value: Any) -> None:
    tiny.model().save_pretrained(tmp_path)
    written(tmp_path, **({"do_sample": True} | {entry: value}))
    for read in (read_defaults, CausalLM.load):
        with pytest.raises(ModelError, match=rf"generation_config\.json of .*{entry}") as caught:
            read(tmp_path)
        assert caught.value.hint


@pytest.mark.parametrize("held", ["[1, 2]", '{"temperature": 0.6', "", "3"])
def test_a_file_that_is_no_json_object_is_refused(tmp_path: Path, held: str) -> None:
    (tmp_path / "generation_config.json").write_text(held)
    for read in (read_defaults, end_tokens):
        with pytest.raises(ModelError, match=r"generation_config\.json"):
            read(tmp_path)


def test_end_tokens_must_be_in_the_vocabulary_of_tokenizer_or_model(tmp_path: Path) -> None:
    tiny.model().save_pretrained(tmp_path)
    tiny.tokenizer().save_pretrained(tmp_path)
    last = tiny.model().config.vocab_size - 1
    assert len(tiny.tokenizer()) <= last  # the output is padded
    written(tmp_path, eos_token_id=[257, last])
    assert load_text(tmp_path).eos >= {257, last}
    written(tmp_path, eos_token_id=[257, last + 1])
    with pytest.raises(ModelError, match=f"eos_token_id {last + 1} is no token"):
        load_text(tmp_path)


def test_what_is_reported_is_no_more_than_the_context_holds() -> None:
    assert Defaults().describe(1024)["max_new_tokens"] == 1024
    assert Defaults(max_new_tokens=7).describe(1024)["max_new_tokens"] == 7
    engine = Engine(CausalLM(tiny.model()), tiny.text())
    assert engine.describe()["sampling"]["max_new_tokens"] == engine.target.context < LONG


def test_end_tokens_of_the_models_config_count_where_there_is_no_generation_config(tmp_path: Path) -> None:
    tiny.model().config.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"eos_token_id": [7, 8, 9]}))
    assert end_tokens(tmp_path) == (7, 8, 9)
    assert end_tokens(written(tmp_path, eos_token_id=5)) == (5,)
    assert end_tokens(tmp_path / "nothing") == ()


def test_an_adapter_has_the_defaults_of_its_base_unless_it_has_its_own(tmp_path: Path) -> None:
    base, adapter = tmp_path / "base", tmp_path / "adapter"
    base.mkdir()
    adapter.mkdir()
    written(base, temperature=0.6)
    (adapter / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(base)}))
    assert load_defaults(adapter).sampling == Sampling(0.6)
    written(adapter, temperature=0.3)
    assert load_defaults(adapter).sampling == Sampling(0.3)


def test_the_engine_serves_by_them_and_explicit_options_win() -> None:
    defaults = Defaults(Sampling(0.6, top_k=20), 33)
    engine = Engine(CausalLM(tiny.model()), tiny.text(), defaults=defaults)
    asked = engine.request("2+2?")
    assert (asked.sampling, asked.limits) == (Sampling(0.6, top_k=20), Limits(33))
    assert engine.using(think=()).defaults == defaults
    asked = engine.request("2+2?", sampling=Sampling(), limits=Limits(5))
    assert (asked.sampling, asked.limits) == (Sampling(), Limits(5))
    assert engine.describe()["sampling"]["temperature"] == 0.6


PENALTY = 1.6
MODEL = tiny.model(3, sharpness=3.0)
TEXT = tiny.text()


def logits(tokens: Sequence[int]) -> torch.Tensor:
    with torch.inference_mode():
        return MODEL(torch.tensor([list(tokens)])).logits[0, -1]


def asked(temperature: float) -> list[Request]:
    sampling = [Sampling(temperature, seed=i, repetition_penalty=PENALTY) for i in range(4)]
    return [Request(tuple(TEXT.encode("ab " * (i + 4))), each, Limits(50)) for i, each in enumerate(sampling)]


def test_a_repetition_penalty_is_that_of_transformers() -> None:
    request = asked(0.0)[0]
    prompt = torch.tensor([request.prompt])
    made = MODEL.generate(prompt, max_new_tokens=50, do_sample=False, repetition_penalty=PENALTY,
                          eos_token_id=sorted(TEXT.eos), pad_token_id=0)  # fmt: skip
    found = Engine(CausalLM(copy.deepcopy(MODEL)), TEXT).run([request])[0]
    assert list(found.tokens) == made[0, len(request.prompt) :].tolist()


@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_a_repetition_penalty_is_exact_under_drafts_trees_and_batches(temperature: float) -> None:
    lm = CausalLM(copy.deepcopy(MODEL))
    expected = [reference.decode(logits, TEXT, request, context=512)[0] for request in asked(temperature)]
    assert expected != [
        reference.decode(logits, TEXT, Request(r.prompt, Sampling(temperature, seed=i), r.limits), context=512)[0]
        for i, r in enumerate(asked(temperature))
    ]
    draft = CausalLM(tiny.noisy(MODEL))
    for methods in (
        Methods(drafter="none"),
        Methods(drafter="suffix", length="constant:5"),
        Methods(drafter="draft-model", shape="best-first", length="constant:8"),
        Methods(drafter="draft-model", length="constant:4", verifier="traversal"),
    ):
        engine = Engine(lm, TEXT, methods, draft)
        results = engine.run(asked(temperature), batch=3)
        if methods.verifier == "match":
            assert [list(r.tokens) for r in results] == expected, methods
        assert all(r.lossless for r in results)
        assert methods.drafter != "draft-model" or sum(r.usage.accepted for r in results) > 10
