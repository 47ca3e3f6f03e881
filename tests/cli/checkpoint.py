"""A small random reasoner on disk; and a mark for tests that need the bundled one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from laconic.models.reasoner import target_path
from tests import tiny

needs_bundled = pytest.mark.skipif(
    not (target_path() / "model.safetensors").is_file(), reason="the bundled weights are not there (yet)"
)

TEMPLATE = tiny.TEMPLATE.replace("{% endif %}{% endif %}", "{% else %}<think>\n{% endif %}{% endif %}")
"""Opens the thought in the prompt, as the templates of DeepSeek-R1 do."""


def save(folder: Path, seed: int = 0) -> Path:
    """Write a checkpoint that thinks in short steps, closes its answers and ends.

    Qwen3 has no output bias; a constant first dimension of the embeddings stands in for one.
    """
    model, tokens = tiny.model(seed), tiny.tokenizer(template=TEMPLATE)
    with torch.no_grad():
        model.get_input_embeddings().weight[:, 0] = 0.03
        head = model.get_output_embeddings().weight
        head[:, 0] = 0.0
        for token, bias in tiny.REASONER.items():
            head[tokens.encode(token)[0], 0] = bias / 1.5
    model.save_pretrained(folder)
    tokens.save_pretrained(folder)
    return folder
