"""Names to models and tokenizers: a path, a hub name, or the pair that ships with the package."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoTokenizer

from laconic.errors import ModelError, ModelNotFound
from laconic.models.adapters import adapted
from laconic.models.causal_lm import DECODED, CausalLM
from laconic.models.damage import readable
from laconic.models.defaults import Defaults, end_tokens, read_defaults
from laconic.models.devices import AUTO
from laconic.models.formats import Format
from laconic.models.loading import source
from laconic.models.names import find
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


def load_model(
    name: str | Path,
    *,
    dtype: torch.dtype | None = None,
    device: str = AUTO,
    weights: str = DECODED,
    lora_scale: float | None = None,
) -> CausalLM:
    """Load a model; see CausalLM.load."""
    return CausalLM.load(resolve(name), dtype=dtype, device=device, weights=weights, lora_scale=lora_scale)


def load_text(
    name: str | Path,
    *,
    format: Format | None = None,
    system: str = "",
    keywords: Mapping[str, Any] | None = None,
) -> Text:
    """Load a model's tokenizer, with the end tokens of its generation config, or else of its config; see Text.

    Raises ModelNotFound without a tokenizer, ModelError where one cannot be read or the end tokens are none of its own.
    """
    place = _base(_found(name), "tokenizer_config.json")
    if Path(place).is_dir() and not any(file for form in _TOKENIZERS for file in Path(place).glob(form)):
        raise _no_tokenizer(place)
    with readable("tokenizer", place):
        tokenizer = AutoTokenizer.from_pretrained(**source(place))
    template = Path(resolve(name)) / "chat_template.jinja"  # an adapter with its base's tokenizer may bring its own
    if adapted(resolve(name)) is not None and template.is_file():
        tokenizer.chat_template = template.read_text(encoding="utf-8")
    eos = end_tokens(place)
    _refuse_unknown(place, eos, len(tokenizer))
    text = Text(tokenizer, format=format, eos=eos, system=system, keywords=keywords)
    if not text.encode("x"):  # Transformers makes one without words where the files name its class alone
        raise _no_tokenizer(place)
    return text


def load_defaults(name: str | Path) -> Defaults:
    """How requests to a model are served where they do not say; see models.defaults."""
    return read_defaults(_base(_found(name), "generation_config.json"))


def _found(name: str | Path) -> str:
    place = resolve(name)
    find(place)
    return place


def _base(place: str, file: str) -> str:
    """The folder that a checkpoint's ``file`` is in: an adapter's own, or else that of what it adapts."""
    base = adapted(place)
    return place if base is None or (Path(place) / file).is_file() else resolve(base)


_TOKENIZERS = ("*tok*", "tekken.json", "vocab*", "merges.txt", "*.model")
"""Files that a tokenizer is read from."""


def _no_tokenizer(place: str) -> ModelNotFound:
    return ModelNotFound(
        f"no tokenizer in '{place}'.", "Put the tokenizer.json and tokenizer_config.json of its model there."
    )


def _refuse_unknown(place: str, eos: Sequence[int], words: int) -> None:
    """Refuse end tokens that neither the tokenizer nor the model's output has; the latter may be padded."""
    if not eos or max(eos) < words:
        return
    with readable("configuration", place):
        width = getattr(AutoConfig.from_pretrained(**source(place)).get_text_config(), "vocab_size", None) or 0
    if max(eos) >= max(width, words):
        raise ModelError(
            f"'{place}': eos_token_id {max(eos)} is no token; there are {max(width, words)}.",
            "Correct it in generation_config.json, or in config.json where that does not say.",
        )
