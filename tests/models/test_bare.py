"""The bundled pair is read without Transformers' models, and computes what those do."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from laconic.errors import UnsupportedModel
from laconic.models import bare
from laconic.models.base import chain
from laconic.models.causal_lm import CausalLM, digest
from laconic.models.loading import read_config, read_model
from laconic.models.reasoner import draft_path, target_path

PAIR = {"target": target_path(), "draft": draft_path()}


def scores(model: CausalLM, tokens: list[int]) -> torch.Tensor:
    slot = model.open()
    try:
        return model.score([chain(tokens)], [slot]).of(0)
    finally:
        slot.close()


@pytest.mark.parametrize("which", PAIR)
def test_it_computes_what_transformers_does(which: str) -> None:
    """Every position of a long text, and the whole of what tells a model."""
    torch.manual_seed(1)
    mine, theirs = CausalLM.load(PAIR[which]), CausalLM(read_model(PAIR[which], dtype=torch.float32))
    assert isinstance(mine.model, bare.Bare)
    assert not isinstance(theirs.model, bare.Bare)
    tokens = torch.randint(0, 630, (400,)).tolist()
    assert scores(mine, tokens).allclose(scores(theirs, tokens), atol=1e-4)
    assert mine.fingerprint() == theirs.fingerprint()
    assert mine.fingerprint() in bare.KNOWN
    told, others = mine.describe(), theirs.describe()
    assert told == others


def test_other_weights_have_their_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever puts other weights in the place of the bundled ones gets Transformers' pass and the trial."""
    from safetensors.torch import load_file, save_file

    for file in draft_path().iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    weights = load_file(draft_path() / "model.safetensors")
    weights["model.norm.weight"] = weights["model.norm.weight"] * 1.25
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    monkeypatch.setattr(bare, "shipped", lambda place: Path(place) == tmp_path)
    assert not isinstance(CausalLM.load(tmp_path).model, bare.Bare)
    changed = bare.read(tmp_path, read_config(tmp_path))
    assert digest(changed) not in bare.KNOWN
    with pytest.raises(UnsupportedModel):
        CausalLM(changed)


def test_transformers_models_are_not_imported() -> None:
    """Nor PyTorch's compiler, on the way to an answer of the bundled pair."""
    said = (
        "import sys; from laconic import Engine; e = Engine.load('bundled', draft='bundled-draft'); "
        "print(e.generate('What is 2 + 3?').answer); "
        "print([name for name in ('transformers.modeling_utils', 'torch._dynamo') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", said], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["The answer is \\boxed{5}.", "[]"]
