"""Names to models and tokenizers: a path, a hub name, or the pair that ships with the package."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import AutoTokenizer, GenerationConfig

from laconic.errors import ModelNotFound
from laconic.models.causal_lm import CausalLM
from laconic.models.loading import adapted, source
from laconic.models.reasoner import draft_path, target_path
from laconic.models.specimen import located
from laconic.models.specimen.reasoner import adapter_path
from laconic.models.text import Markup, Text


def resolve(name: str | Path) -> str:
    """``bundled``, ``bundled-draft``, specimens and ``smollm2-reasoner`` to their directories; others stay as they are.

    Raises ModelNotFound for a specimen that was not made yet. A folder of that name in the way is meant itself.
    """
    if str(name) == "bundled":
        return str(target_path())
    if str(name) == "bundled-draft":
        return str(draft_path())
    if str(name) == "smollm2-reasoner" and not Path(name).exists():
        return str(adapter_path())
    return located(name)


def load_model(name: str | Path, *, dtype: torch.dtype | None = None, device: str = "cpu") -> CausalLM:
    """Load a model; see CausalLM.load."""
    return CausalLM.load(resolve(name), dtype=dtype, device=device)


def load_text(name: str | Path, *, markup: Markup | None = None) -> Text:
    """Load a model's tokenizer, with the end-of-sequence tokens of its generation config.

    An adapter without a tokenizer has its base's, and its own chat template where it brings one.
    """
    place = resolve(name)
    template = None
    if (base := adapted(place)) is not None and not (Path(place) / "tokenizer_config.json").is_file():
        template, place = Path(place) / "chat_template.jinja", base
    try:
        tokenizer = AutoTokenizer.from_pretrained(**source(place))
    except (OSError, ValueError) as error:
        raise ModelNotFound(f"no tokenizer at '{name}': {str(error).splitlines()[0]}") from error
    if template is not None and template.is_file():
        tokenizer.chat_template = template.read_text(encoding="utf-8")
    try:
        ends = GenerationConfig.from_pretrained(place).eos_token_id
    except OSError:
        ends = None  # a checkpoint without generation_config.json ends where its tokenizer says
    eos = [] if ends is None else [ends] if isinstance(ends, int) else list(ends)
    return Text(tokenizer, markup=markup, eos=eos)
