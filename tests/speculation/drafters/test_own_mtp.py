"""The multi-token-prediction head that a checkpoint brings: found, run as Transformers runs it, and exact."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers.cache_utils import MtpCache

from laconic import Limits, Sampling
from laconic.engine import Engine, Methods
from laconic.errors import UnmetNeed
from laconic.models.causal_lm import CausalLM
from laconic.models.loading import read_model
from laconic.speculation.drafters.head.contract import Span
from laconic.speculation.drafters.head.memory import Memory, causal
from laconic.speculation.drafters.head.own import Brought
from laconic.types import Request
from tests import brought, tiny

TEXT = [(5 * i * i + 3 * i + 1) % 256 for i in range(24)]
WAYS = [("chain", "constant:3"), ("best-first", "constant:7")]


@pytest.mark.parametrize("family", sorted(brought.FAMILIES))
def test_it_says_what_transformers_makes_it_say(family: str, tmp_path: Path) -> None:
    """After the first part of a text, then after the rest; there and one drafted token further."""
    written = brought.write(tmp_path, family)
    target = CausalLM.load(tmp_path)
    found = target.own_head()
    assert all(a.equal(b) for a, b in zip(written.layers.parameters(), found.module.layers.parameters(), strict=True))
    head, memory = Brought(found), Memory()
    plain = read_model(tmp_path, dtype=torch.float32)
    with torch.no_grad():
        states = plain(torch.tensor([TEXT[:-1]]), output_hidden_states=True).hidden_states[-1]
    outputs = target.residuals(TEXT[:-1], [1])[1]
    cache = MtpCache(config=found.module.config)
    read = 0
    for end in (9, len(TEXT) - 1):
        tokens, positions = torch.tensor([TEXT[read + 1 : end + 1]]), torch.arange(read + 1, end + 1)[None]
        theirs, logits, _ = found.module(tokens, states[:, read:end], None, positions, cache)
        span = Span(memory, 0, end - read, torch.arange(read, end), causal(memory, end - read))
        made = head.read(target.embeddings(TEXT[read + 1 : end + 1]), outputs[read:end, None], [span])[-1:]
        memory.commit()
        said = head.logits(made, [0])
        assert said.allclose(logits[0, -1:], atol=1e-4)
        guess = int(said.argmax())
        assert guess == int(theirs)
        read = end
    further = Span(memory, 0, 1, torch.tensor([read]), None)
    deeper = head.logits(head.step(made, target.embeddings([guess]), [0], [further]), [1])
    _, logits, _ = found.module(torch.tensor([[guess]]), made[None], None, torch.tensor([[read + 1]]), cache)
    assert deeper.allclose(logits[0], atol=1e-4)


def requests(on: Engine, temperature: float) -> list[Request]:
    return [
        on.request(prompt, limits=Limits(30, answer_room=0), sampling=Sampling(temperature, seed=seed))
        for seed, prompt in enumerate(["Hm?", "What is 3 + 4? " * 8, "x"])
    ]


@pytest.mark.parametrize("family", sorted(brought.FAMILIES))
@pytest.mark.parametrize("temperature", [0.0, 0.8])
@pytest.mark.parametrize(("shape", "length"), WAYS)
def test_a_batch_writes_what_plain_decoding_writes(
    family: str, temperature: float, shape: str, length: str, tmp_path: Path
) -> None:
    brought.write(tmp_path, family)
    drafts = Engine(CausalLM.load(tmp_path), tiny.text(), Methods(drafter="mtp", shape=shape, length=length))
    plain = drafts.using(drafter="none", shape="chain")
    expected = [plain.run([request])[0].tokens for request in requests(plain, temperature)]
    alone = [drafts.run([request])[0] for request in requests(drafts, temperature)]
    together = drafts.run(requests(drafts, temperature), batch=3)
    assert [result.tokens for result in alone] == expected
    assert [result.tokens for result in together] == expected
    assert sum(result.usage.drafted for result in together) > 20


def test_it_drafts_well_where_the_target_does_what_the_head_foresees(tmp_path: Path) -> None:
    """A head whose block adds nothing, and that passes the embedding on, says what the target says of that token."""
    brought.write(tmp_path, "glm4_moe")
    weights = load_file(tmp_path / "model.safetensors")
    for key in list(weights):
        if key.startswith("model.layers.2."):
            weights[key] = torch.zeros_like(weights[key])
        elif key.startswith("model.layers.") and ("o_proj" in key or "down_proj" in key):
            weights[key] = torch.zeros_like(weights[key])  # the target, too, sees its last token alone
    both = weights["model.layers.2.eh_proj.weight"]
    both[:, : both.shape[0]] = torch.eye(both.shape[0])
    weights["model.layers.2.enorm.weight"] += 1
    weights["model.layers.2.shared_head.norm.weight"] += 1
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    on = Engine(CausalLM.load(tmp_path), tiny.text(), Methods(drafter="mtp", length="constant:4"))
    (result,) = on.run([on.request("Hm?", limits=Limits(40, answer_room=0))])
    assert result.usage.accepted > 25
    assert result.usage.target_passes < 13


def test_what_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnmetNeed, match="type 'qwen3' brings no multi-token-prediction head"):
        Engine(CausalLM(tiny.model()), tiny.text(), Methods(drafter="mtp"))
    brought.write(tmp_path, "deepseek_v3")
    weights = load_file(tmp_path / "model.safetensors")
    left = {key: value for key, value in weights.items() if not key.startswith("model.layers.2.")}
    save_file(left, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(UnmetNeed, match="could not be read"):
        Engine(CausalLM.load(tmp_path), tiny.text(), Methods(drafter="mtp"))
    quantised: dict[str, Any] = json.loads((tmp_path / "config.json").read_text())
    target = CausalLM.load(tmp_path)
    target.model.config.quantization_config = {"quant_method": "fp8"}
    assert "quantization_config" not in quantised
    with pytest.raises(UnmetNeed, match="quantised"):
        target.own_head()


def test_a_head_that_is_not_there_is_looked_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    looked = []

    def look(model: Any) -> Any:
        looked.append(model)
        raise UnmetNeed("none here.", "Train one.")

    monkeypatch.setattr("laconic.models.causal_lm.brought", look)
    target = CausalLM(tiny.model())
    for _ in range(3):
        with pytest.raises(UnmetNeed, match=r"none here. Train one."):
            target.own_head()
    assert len(looked) == 1
