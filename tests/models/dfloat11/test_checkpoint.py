"""Folders of coded weights: the same model both ways, small and large, and every damage told by its file."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, LlamaConfig, MixtralConfig, PreTrainedConfig, Qwen3Config, Qwen3MoeConfig

from laconic import Engine, Limits, Methods
from laconic.errors import ModelError, RequestError, UnsupportedModel
from laconic.models.base import chain
from laconic.models.causal_lm import CausalLM
from laconic.models.dfloat11 import folder as folders
from laconic.models.dfloat11 import held, native, read
from laconic.models.dfloat11.write import Compressed, compress
from laconic.models.load import load_text
from laconic.models.loading import read_model
from laconic.models.slot_host import SlotHost
from tests import tiny

SMALL: dict[str, Any] = {
    "vocab_size": 264,
    "hidden_size": 64,
    "num_hidden_layers": 3,
    "intermediate_size": 96,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 512,
    "initializer_range": 0.2,
}
CONFIGS: dict[str, PreTrainedConfig] = {
    "llama": LlamaConfig(**SMALL, tie_word_embeddings=False),
    "qwen3-tied": Qwen3Config(**SMALL, tie_word_embeddings=True),
    "qwen3-moe": Qwen3MoeConfig(**SMALL, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=64),
    "mixtral": MixtralConfig(**SMALL, num_local_experts=4),
}
PLAIN = Methods(drafter="none", length="constant")
FILE = "dfloat11-00001.safetensors"
LAYER = "model.layers.1.mlp.up_proj.weight"


def written(place: Path, config: PreTrainedConfig) -> Path:
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).save_pretrained(place)
    tiny.tokenizer().save_pretrained(place)
    return place


@pytest.fixture(scope="module", params=CONFIGS)
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A checkpoint in bfloat16, and what was written of it."""
    place = tmp_path_factory.mktemp(request.param.replace("-", "_"))
    written(place / "plain", CONFIGS[request.param])
    compress(place / "plain", place / "coded")
    return place / "plain", place / "coded"


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("one")
    written(place / "plain", CONFIGS["llama"])
    compress(place / "plain", place / "coded")
    return place


@pytest.fixture
def coded(llama: Path, tmp_path: Path) -> Path:
    """A folder that a test may damage; what it was made of is beside it, under ``plain``."""
    shutil.copytree(llama, tmp_path, dirs_exist_ok=True)
    return tmp_path / "coded"


def logits(lm: CausalLM) -> torch.Tensor:
    """Of a prompt, a draft that is accepted in part, and what follows it."""
    with closing(lm.open()) as slot:
        lm.prefill(slot, range(3, 20))
        first = lm.score([chain([5, 6, 7])], [slot]).flat
        slot.commit([0, 1])
        return torch.cat([first, lm.score([chain([8, 9])], [slot]).flat])


@pytest.mark.parametrize("written_out", [True, False])
def test_decoded_at_load_it_is_the_same_model(pair: tuple[Path, Path], written_out: bool) -> None:
    plain, other = (CausalLM.load(place, dtype=torch.bfloat16, written_out=written_out) for place in pair)
    assert plain.path == other.path
    assert plain.fingerprint() == other.fingerprint()
    assert torch.equal(logits(plain), logits(other))
    assert other.describe()["weights"] == "decoded"
    assert other.model.config.name_or_path == str(pair[1])


def test_kept_coded_it_is_the_same_model(pair: tuple[Path, Path]) -> None:
    plain = CausalLM.load(pair[0], dtype=torch.bfloat16, written_out=False)
    other = CausalLM.load(pair[1], weights="coded")
    assert other.path == f"{plain.path}, weights coded"
    assert torch.equal(logits(plain), logits(other))
    assert plain.fingerprint() == other.fingerprint()
    told = other.describe()
    assert told["weights"] == "coded"
    assert "slower" in told["notes"][0]
    assert other.parameters == plain.parameters
    tied = plain.config.tie_word_embeddings
    assert (other.model.get_input_embeddings().weight is other.model.get_output_embeddings().weight) == tied


def test_over_slots_bit_for_bit(pair: tuple[Path, Path]) -> None:
    """Whatever the trial would have chosen, which for a mixture of experts in bfloat16 is a matter of luck."""
    found = []
    for place, coded in zip(pair, (False, True), strict=True):
        host = SlotHost(read_model(place, dtype=torch.bfloat16, coded=coded).eval())
        with closing(host.open()) as slot, torch.inference_mode():
            host.prefill(slot, range(3, 20))
            found.append(host.score([chain([5, 6, 7])], [slot], hidden=False).logits)
    assert torch.equal(*found)


def test_dense_models_kept_coded_run_over_slots(llama: Path) -> None:
    assert CausalLM.load(llama / "coded", weights="coded").path == "slots, weights coded"


def test_without_the_kernel_too(llama: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain, other = (read_model(llama / "coded", dtype=torch.bfloat16, coded=coded) for coded in (False, True))
    prompt = torch.tensor([[3, 4, 5, 6]])
    expected = plain(prompt).logits
    monkeypatch.setattr(native, "decoder", lambda: None)
    assert torch.equal(other(prompt).logits, expected)


def test_between_passes_layers_have_no_weights_and_share_one_buffer(pair: tuple[Path, Path]) -> None:
    lm = CausalLM.load(pair[1], weights="coded")
    kept = held.held(lm.model)
    assert kept is not None
    for _ in range(2):
        assert all(layer.self_attn.q_proj.weight.is_meta for layer in lm.model.model.layers)
        logits(lm)
    layer = sum(p.nbytes for p in lm.model.model.layers[0].parameters())
    assert layer * 0.9 <= kept.buffer.nbytes <= layer * 1.1
    coded = [parts for module in lm.model.modules() for parts in held._OWN.get(module, {}).values()]
    plain = sum(p.nbytes for p in lm.model.parameters() if not p.is_meta)
    assert lm.weights_bytes == plain + kept.buffer.nbytes + sum(parts.nbytes for parts in coded)
    assert sum(parts.nbytes for parts in coded) < 0.75 * sum(p.nbytes for p in lm.model.parameters() if p.is_meta)


def test_what_was_turned_at_load_is_not_taken_for_what_is_stored() -> None:
    square = torch.arange(9).view(3, 3)
    assert read._same(square, torch.nn.Parameter(square, requires_grad=False))
    assert not read._same(square, square.T)
    assert not read._same(square, square.clone())
    assert not read._same(square, square[:2])


def test_weights_are_gone_after_a_pass_that_fails(coded: Path) -> None:
    lm = CausalLM.load(coded, weights="coded")

    def stumble(*_: Any) -> None:
        raise RuntimeError("on purpose")

    hook = lm.model.model.layers[1].mlp.register_forward_hook(stumble)
    with pytest.raises(RuntimeError, match="on purpose"):
        logits(lm)
    hook.remove()
    assert all(p.is_meta for p in lm.model.model.layers[1].mlp.parameters())
    assert logits(lm).isfinite().all()


def test_engines_write_the_same(coded: Path) -> None:
    plain = Engine(CausalLM.load(coded, dtype=torch.bfloat16, written_out=False), load_text(coded), PLAIN)
    kept = Engine.load(coded, weights="coded", drafter="none", length="constant")
    texts = [engine.generate("What is 2 + 3?", limits=Limits(40)).tokens for engine in (plain, kept)]
    assert texts[0] == texts[1]


def test_the_report_counts_bytes(coded: Path, tmp_path: Path) -> None:
    made = compress(tmp_path / "plain", tmp_path / "again")
    assert made.before == sum(t.nbytes for t in load_file(tmp_path / "plain" / "model.safetensors").values())
    assert made.after == sum(t.nbytes for t in load_file(tmp_path / "again" / FILE).values())
    assert 8 + made.entropy < made.bits < 16
    assert json.loads((tmp_path / "again" / "dfloat11.json").read_text())["report"] == made.as_dict()
    assert all("norm" in name for name in made.grown)  # vectors of 64 values, less than the lengths of codes take
    assert made.grown
    assert (made.cast, made.other) == (None, 0)


def test_what_belongs_to_a_checkpoint_is_copied(coded: Path, tmp_path: Path) -> None:
    (tmp_path / "plain" / "LICENSE").write_text("as it is")
    (tmp_path / "plain" / "model.safetensors.index.json.bak").write_text("no")
    compress(tmp_path / "plain", tmp_path / "again")
    names = {file.name for file in (tmp_path / "again").iterdir()}
    assert {"config.json", "tokenizer.json", "tokenizer_config.json", "LICENSE", "dfloat11.json", FILE} <= names
    assert not any(name.startswith("model") for name in names)
    for name in ("config.json", "tokenizer.json"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "plain" / name).read_bytes()


def test_a_checkpoint_in_several_files_is_read_whole(coded: Path, tmp_path: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "plain")
    model.save_pretrained(tmp_path / "many", max_shard_size="50KB")
    assert len(list((tmp_path / "many").glob("*.safetensors"))) > 2
    compress(tmp_path / "many", tmp_path / "again")
    found, expected = folders.stored(tmp_path / "again"), folders.stored(coded)
    assert set(found) == set(expected)
    assert all(torch.equal(found[name][...], expected[name][...]) for name in found)


def test_files_are_written_as_they_fill_up_and_read_together(tmp_path: Path) -> None:
    written(tmp_path / "plain", CONFIGS["qwen3-tied"])
    compress(tmp_path / "plain", tmp_path / "one")
    compress(tmp_path / "plain", tmp_path / "many", shard=30_000)
    files = sorted((tmp_path / "many").glob("*.safetensors"))
    assert len(files) > 3
    assert all(sum(t.nbytes for t in load_file(file).values()) <= 30_000 for file in files[1:])
    with safe_open(files[0], framework="pt") as opened:
        assert opened.metadata() == {"format": "pt", "coding": "dfloat11", "version": "1"}
    found = [CausalLM.load(tmp_path / name) for name in ("one", "many")]
    assert torch.equal(logits(found[0]), logits(found[1]))


def test_other_formats_are_kept_unless_they_are_cast(tmp_path: Path) -> None:
    tiny.model().save_pretrained(tmp_path / "wide")
    with pytest.raises(RequestError, match=r"no weights .*bfloat16"):
        compress(tmp_path / "wide", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    made = compress(tmp_path / "wide", tmp_path / "out", cast=True)
    assert made.cast == "float32"
    weights = load_file(tmp_path / "wide" / "model.safetensors")
    found = CausalLM.load(tmp_path / "out", written_out=False, dtype=torch.bfloat16).model.state_dict()
    assert all(torch.equal(found[name], weight.bfloat16()) for name, weight in weights.items())
    assert json.loads((tmp_path / "out" / "config.json").read_text())["dtype"] == "bfloat16"


def test_a_mixed_checkpoint_keeps_what_is_not_bfloat16(coded: Path, tmp_path: Path) -> None:
    file = tmp_path / "plain" / "model.safetensors"
    weights = load_file(file)
    weights["model.norm.weight"] = weights["model.norm.weight"].float() + 1e-4
    save_file(weights, file, metadata={"format": "pt"})
    assert compress(tmp_path / "plain", tmp_path / "again").other == 1
    found = folders.stored(tmp_path / "again")["model.norm.weight"]
    assert torch.equal(found[...], weights["model.norm.weight"])


def test_what_cannot_be_coded_is_refused(tmp_path: Path, coded: Path) -> None:
    with pytest.raises(RequestError, match="coded already"):
        compress(coded, tmp_path / "again")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    with pytest.raises(RequestError, match="not an empty directory"):
        compress(coded, tmp_path / "full")
    (tmp_path / "plain" / "model.safetensors").rename(tmp_path / "plain" / "pytorch_model.bin")
    with pytest.raises(UnsupportedModel, match="no weights in safetensors"):
        compress(tmp_path / "plain", tmp_path / "again")
    config = json.loads((tmp_path / "plain" / "config.json").read_text()) | {
        "quantization_config": {"quant_method": "x"}
    }
    (tmp_path / "plain" / "config.json").write_text(json.dumps(config))
    with pytest.raises(UnsupportedModel):
        compress(tmp_path / "plain", tmp_path / "again")
    assert not (tmp_path / "again").exists()


def test_ways_that_cannot_be_had_are_refused(tmp_path: Path, coded: Path) -> None:
    with pytest.raises(RequestError, match="float32"):
        CausalLM.load(coded, weights="coded", dtype=torch.float32)
    with pytest.raises(RequestError, match="kept 'code'") as caught:
        CausalLM.load(coded, weights="code")
    assert "Did you mean 'coded'" in caught.value.hint
    with pytest.raises(RequestError, match="are not coded"):
        CausalLM.load(tmp_path / "plain", weights="coded")


def test_transformers_alone_says_that_there_are_no_weights(coded: Path) -> None:
    with pytest.raises(OSError, match="no file named"):
        AutoModelForCausalLM.from_pretrained(coded)


def change_index(key: str, value: Any) -> Callable[[Path], None]:
    def change(place: Path) -> None:
        said = json.loads((place / "dfloat11.json").read_text())
        (place / "dfloat11.json").write_text(json.dumps(said | {key: value}))

    return change


def change_parts(change: Callable[[dict[str, torch.Tensor]], Any], **header: str) -> Callable[[Path], None]:
    def changed(place: Path) -> None:
        tensors = load_file(place / FILE)
        change(tensors)
        save_file(tensors, place / FILE, metadata=folders.HEADER | header)

    return changed


def part(name: str) -> str:
    return folders.part_name(LAYER, name)


def shifted(tensors: dict[str, torch.Tensor]) -> None:
    tensors[part("offsets")][1] -= 1


def flipped(tensors: dict[str, torch.Tensor]) -> None:
    tensors[part("code")][:200] ^= 0xFF


DAMAGE: dict[str, tuple[Callable[[Path], Any], str]] = {
    "cut": (lambda p: (p / FILE).write_bytes((p / FILE).read_bytes()[:-100]), FILE),
    "cut in its header": (lambda p: (p / FILE).write_bytes((p / FILE).read_bytes()[:50]), FILE),
    "empty": (lambda p: (p / FILE).write_bytes(b""), FILE),
    "gone": (lambda p: (p / FILE).unlink(), FILE),
    "no JSON": (lambda p: (p / "dfloat11.json").write_text("{"), "dfloat11.json"),
    "JSON of something else": (lambda p: (p / "dfloat11.json").write_text("[1]"), "dfloat11.json"),
    "no files": (change_index("files", [1]), "dfloat11.json"),
    "files elsewhere": (change_index("files", {"../x": {"coded": [], "plain": []}}), "dfloat11.json"),
    "odd block": (change_index("block", 100), "dfloat11.json"),
    "odd format": (change_index("format", "zip"), "dfloat11.json"),
    "odd version": (change_index("version", "one"), "dfloat11.json"),
    "later version": (change_index("version", 2), "dfloat11.json.*version 2"),
    "later file": (change_parts(lambda t: None, version="2"), f"{FILE}.*version 2"),
    "other file": (change_parts(lambda t: None, coding="x"), FILE),
    "part gone": (change_parts(lambda t: t.pop(part("offsets"))), f"{FILE}.*lacks '{part('offsets')}"),
    "part cut": (change_parts(lambda t: t.update({part("code"): t[part("code")][:-9].clone()})), f"{FILE}.*{LAYER}"),
    "part of another type": (change_parts(lambda t: t.update({part("rest"): t[part("rest")].int()})), f"{FILE}.*rest"),
    "offsets moved": (change_parts(shifted), f"{FILE}.*{LAYER}.*block 0"),
    "offsets negative": (change_parts(lambda t: t[part("offsets")].neg_()), f"{FILE}.*{LAYER}.*offsets"),
    "offsets too large": (change_parts(lambda t: t[part("offsets")].mul_(2**30)), f"{FILE}.*{LAYER}.*offsets"),
    "no code": (change_parts(lambda t: t[part("lengths")].zero_()), f"{FILE}.*{LAYER}.*no complete code"),
    "bits turned": (change_parts(flipped), f"{FILE}.*{LAYER}.*block"),
}


@pytest.mark.parametrize("weights", ["decoded", "coded"])
@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_is_told_by_the_file(coded: Path, kind: str, weights: str) -> None:
    damage, said = DAMAGE[kind]
    damage(coded)
    with pytest.raises(ModelError, match=f"(?s){said}") as caught:
        CausalLM.load(coded, weights=weights)
    assert caught.value.hint


def test_a_tensor_that_no_file_has_is_missed(coded: Path) -> None:
    said = json.loads((coded / "dfloat11.json").read_text())
    said["files"][FILE]["coded"].remove(LAYER)
    (coded / "dfloat11.json").write_text(json.dumps(said))
    for weights in ("decoded", "coded"):
        with pytest.raises(ModelError, match=rf"lacks 1 .*{LAYER}"):
            CausalLM.load(coded, weights=weights)


def test_experts_that_are_damaged_are_told_too(tmp_path: Path) -> None:
    """Transformers notes what goes wrong where it joins tensors, and goes on."""
    written(tmp_path / "plain", CONFIGS["qwen3-moe"])
    compress(tmp_path / "plain", tmp_path / "coded")
    name = folders.part_name("model.layers.1.mlp.experts.2.up_proj.weight", "offsets")
    change_parts(lambda t: t[name].mul_(3))(tmp_path / "coded")
    for weights in ("decoded", "coded"):
        with pytest.raises(ModelError, match=rf"{FILE}.*experts\.2\.up_proj"):
            CausalLM.load(tmp_path / "coded", weights=weights)


def test_a_report_is_ready_for_a_person() -> None:
    made = Compressed("o", "s", 200, 140, 100, 200, 140, 2.5, [], 0, None, 1.0)
    assert (made.ratio, made.bits) == (0.7, 11.2)
