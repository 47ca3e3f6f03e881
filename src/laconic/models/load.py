"""Names to models and tokenizers: a path, a hub name, or the pair that ships with the package."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer

from laconic.models.adapters import adapted
from laconic.models.causal_lm import CausalLM
from laconic.models.damage import readable
from laconic.models.defaults import Defaults, end_tokens, read_defaults
from laconic.models.devices import AUTO
from laconic.models.formats import Format
from laconic.models.loading import source
from laconic.models.reasoner import draft_path, target_path
from laconic.models.specimen import located
from laconic.models.specimen.reasoner import adapter_path
from laconic.models.text import Text


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


def load_model(name: str | Path, *, dtype: torch.dtype | None = None, device: str = AUTO) -> CausalLM:
    """Load a model; see CausalLM.load."""
    return CausalLM.load(resolve(name), dtype=dtype, device=device)


def load_text(
    name: str | Path,
    *,
    format: Format | None = None,
    system: str = "",
    keywords: Mapping[str, Any] | None = None,
) -> Text:
    """Load a model's tokenizer, with the end tokens of its generation config, or else of its config; see Text."""
    place = _base(resolve(name), "tokenizer_config.json")
    with readable("tokenizer", place):
        tokenizer = AutoTokenizer.from_pretrained(**source(place))
    template = Path(resolve(name)) / "chat_template.jinja"  # an adapter with its base's tokenizer may bring its own
    if adapted(resolve(name)) is not None and template.is_file():
        tokenizer.chat_template = template.read_text(encoding="utf-8")
    return Text(tokenizer, format=format, eos=end_tokens(place), system=system, keywords=keywords)


def load_defaults(name: str | Path) -> Defaults:
    """How requests to a model are served where they do not say; see models.defaults."""
    return read_defaults(_base(resolve(name), "generation_config.json"))


def _base(place: str, file: str) -> str:
    """The folder that a checkpoint's ``file`` is in: an adapter's own, or else that of what it adapts."""
    base = adapted(place)
    return place if base is None or (Path(place) / file).is_file() else resolve(base)
