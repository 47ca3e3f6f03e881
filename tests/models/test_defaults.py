"""Requests that do not say how they are sampled are served as the checkpoint says."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch

from laconic import Engine, Limits, Methods, Request, Sampling, reference
from laconic.errors import RequestError
from laconic.models.causal_lm import CausalLM
from laconic.models.defaults import LONG, Defaults, end_tokens, read_defaults
from laconic.models.load import load_defaults


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


def test_a_value_out_of_range_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"generation_config\.json of .*top_p"):
        read_defaults(written(tmp_path, do_sample=True, top_p=1.5))


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
