"""Checkpoints and requests that cannot be merged: each is refused by what is wrong, and nothing is written."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from laconic.errors import (
    LaconicError,
    MergeError,
    ModelError,
    ModelNotFound,
    RequestError,
    TokenizerMismatch,
    UnsupportedModel,
)
from laconic.training.merging import Plan
from laconic.training.merging.checkpoint import open_checkpoint
from tests import tiny
from tests.training.merging.checkpoints import HALVES, INDEX, WEIGHTS, changed, config, lora, weights, written


def test_an_adapter_whose_base_holds_more_than_its_model_is_refused(base: str, tmp_path: Path) -> None:
    changed(base, lambda held: held.update(odd=torch.ones(1)))  # which is lost when the adapter is merged into it
    adapter = lora(base, tmp_path / "adapter")
    with pytest.raises(MergeError, match=r"1 only in '.*base': odd"):
        written(tmp_path / "out", [adapter], Plan("task-arithmetic", (0.5,)), base=base)
    assert not (tmp_path / "out").exists()


def cut(folder: str) -> None:
    file = Path(folder) / WEIGHTS
    file.write_bytes(file.read_bytes()[:2000])


def indexed(folder: str, **more: str) -> None:
    index = dict.fromkeys(weights(folder), WEIGHTS) | more
    (Path(folder) / INDEX).write_text(json.dumps({"weight_map": index}))


def without_safetensors(folder: str) -> None:
    (Path(folder) / WEIGHTS).rename(Path(folder) / "pytorch_model.bin")


def other_words(folder: str) -> None:
    file = Path(folder) / "tokenizer.json"
    said = json.loads(file.read_text())
    said["model"]["vocab"]["!"], said["model"]["vocab"]["#"] = said["model"]["vocab"]["#"], said["model"]["vocab"]["!"]
    file.write_text(json.dumps(said))


def fewer_words(folder: str) -> None:
    file = Path(folder) / "tokenizer.json"
    said = json.loads(file.read_text())
    del said["model"]["vocab"]["!"]
    file.write_text(json.dumps(said))


def more_words(folder: str) -> None:
    file = Path(folder) / "tokenizer.json"
    said = json.loads(file.read_text())
    said["model"]["vocab"]["!!"] = 257  # added tokens are numbered after it
    file.write_text(json.dumps(said))


def narrower(folder: str) -> None:
    shutil.rmtree(folder)
    tiny.model(1, vocab=270).save_pretrained(folder)
    tiny.tokenizer().save_pretrained(folder)


def deeper(folder: str) -> None:
    shutil.rmtree(folder)
    tiny.model(1, layers=3).save_pretrained(folder)
    tiny.tokenizer().save_pretrained(folder)


NORM = "model.norm.weight"
BAD: list[tuple[Callable[[str], Any], type[LaconicError], str]] = [
    (lambda f: config(f, model_type="qwen2"), MergeError, "different architectures: model_type is qwen3 in one and qw"),
    (lambda f: config(f, num_attention_heads=8), MergeError, "num_attention_heads is 4 in one and 8"),
    (lambda f: config(f, tie_word_embeddings=True), MergeError, "tie_word_embeddings is False in one and True"),
    (deeper, MergeError, "num_hidden_layers is 2 in one and 3"),
    (narrower, MergeError, r"2 of different shapes: lm_head\.weight is \[264, 32\] and \[270, 32\]"),
    (lambda f: changed(f, lambda w: w.pop(NORM)), MergeError, r"1 only in '.*one': model\.norm\.weight"),
    (lambda f: changed(f, lambda w: w.update(odd=torch.ones(1))), MergeError, r"1 only in '.*two': odd"),
    (other_words, TokenizerMismatch, r"token \d+ is '[!#]' in one and '[!#]' in the other"),
    (more_words, TokenizerMismatch, r"token 257 is '<\|im_end\|>' in one and '!!' in the other"),
    (fewer_words, TokenizerMismatch, r"token \d+ is '!' in one and None in the other"),
    (lambda f: changed(f, lambda w: w[NORM].fill_(float("nan"))), ModelError, r"'model\.norm\.weight' of '.*two' hol"),
    (lambda f: changed(f, lambda w: w[NORM].fill_(float("-inf"))), ModelError, "NaN or infinities"),
    (lambda f: config(f, quantization_config={"quant_method": "gptq", "bits": 4}), UnsupportedModel, "gptq|quantised"),
    (lambda f: config(f, quantization_config={"quant_method": "fp8"}), UnsupportedModel, "two' is quantised"),
    (lambda f: changed(f, lambda w: w.update({NORM: torch.ones(32).to(torch.int8)})), UnsupportedModel, "is I8"),
    (lambda f: (Path(f) / "dfloat11.json").write_text("{}"), UnsupportedModel, "two' are coded"),
    (without_safetensors, UnsupportedModel, "two' has no weights in safetensors files"),
    (lambda f: indexed(f, gone="model-2.safetensors"), ModelNotFound, r"model-2\.safetensors"),
    (lambda f: indexed(f, gone=WEIGHTS), ModelError, "'gone' is in the index of '.*two', and in no file"),
    (cut, ModelError, r"two/model\.safetensors' cannot be read"),
    (lambda f: (Path(f) / "config.json").unlink(), ModelNotFound, r"it has no config\.json"),
    (lambda f: (Path(f) / "tokenizer.json").unlink(), ModelError, "two"),
]


@pytest.mark.parametrize(("spoil", "error", "message"), BAD)
def test_what_cannot_be_merged_is_refused_and_nothing_is_written(
    spoil: Callable[[str], Any], error: type[LaconicError], message: str, pair: list[str], tmp_path: Path
) -> None:
    spoil(pair[1])
    with pytest.raises(error, match=message) as caught:
        written(tmp_path / "deep" / "out", pair)
    assert caught.value.hint
    assert not (tmp_path / "deep" / "out").exists()
    assert not any((tmp_path / "deep").glob("*") if (tmp_path / "deep").exists() else ())


def test_a_request_that_cannot_be_is_refused(pair: list[str], base: str, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("x")
    (tmp_path / "file").write_text("x")
    for out, models, plan, more, message in [
        ("full", pair, HALVES, {}, "not an empty directory"),
        ("file", pair, HALVES, {}, "not an empty directory"),
        ("file/below", pair, HALVES, {}, "cannot make"),
        ("out", pair[:1], HALVES, {}, "1 models and 2 weights"),
        ("out", pair[:1], Plan("linear", (1.0,)), {}, "one model alone"),
        ("out", pair, Plan("ties", (0.5, 0.5)), {}, "'ties' needs the model"),
        ("out", pair, HALVES, {"base": base}, "'linear' has no base"),
        ("out", pair, Plan("lore", (0.6, 0.4)), {"base": base}, "'lore' has no base"),
        ("out", pair[:1], Plan("lore", (1.0,)), {}, "one model alone"),
    ]:
        with pytest.raises(RequestError, match=message):
            written(tmp_path / out, models, plan, **more)
    assert (tmp_path / "full" / "mine").read_text() == "x"
    (tmp_path / "empty").mkdir()
    assert (Path(written(tmp_path / "empty", pair).path) / "config.json").is_file()


def test_numbers_beyond_the_format_are_refused(pair: list[str], tmp_path: Path) -> None:
    half = tmp_path / "half"
    tiny.model(2).half().save_pretrained(half)
    tiny.tokenizer().save_pretrained(half)
    with pytest.raises(MergeError, match=r"merges to numbers beyond torch\.float16"):
        written(tmp_path / "out", [pair[0]], Plan("task-arithmetic", (1e9,)), base=str(half))
    assert not (tmp_path / "out").exists()


def test_large_finite_weights_are_not_taken_for_infinite(pair: list[str]) -> None:
    changed(pair[0], lambda w: w[NORM].fill_(3e38))
    assert torch.isfinite(open_checkpoint(pair[0]).read(NORM)).all()
