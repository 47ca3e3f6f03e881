"""Folders of adapters, as peft writes them: which checkpoint one is for, and that checkpoint with it merged in."""

from __future__ import annotations

import json
import logging
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from laconic.errors import ModelError, ModelNotFound, UnsupportedModel
from laconic.models.damage import AGAIN, FIND, readable
from laconic.models.names import find
from laconic.models.reasoner import draft_path, target_path
from laconic.models.specimen import located

if TYPE_CHECKING:
    from transformers import PreTrainedModel

ADAPTER = "adapter_config.json"
_BUNDLED = {"bundled": target_path, "bundled-draft": draft_path}
_WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")
_log = logging.getLogger(__name__)


def adapted(name: str | Path) -> str | None:
    """The checkpoint that an adapter folder is for; None for anything else.

    Raises ModelError if it names none, or another adapter; ModelNotFound if it is for a specimen that was not made yet,
    or for what is not there (names.find).
    """
    if not _adapts(name):
        return None
    file = Path(name) / ADAPTER
    base = _said(file).get("base_model_name_or_path")
    if not isinstance(base, str) or not base:
        raise ModelError(f"'{file}' does not name the checkpoint that it adapts (base_model_name_or_path).", FIND)
    if _adapts(base):
        raise ModelError(
            f"'{name}' adapts '{base}', which is an adapter itself.", "Merge that one into its base first."
        )
    place = str(_BUNDLED[base]()) if base in _BUNDLED else located(base)
    try:
        find(place)
    except ModelNotFound as error:
        raise ModelNotFound(f"{error.message} The adapter '{name}' is for it.", error.hint) from error
    return place


def merged(name: str | Path, base: PreTrainedModel, scale: float = 1.0) -> PreTrainedModel:
    """``base`` with an adapter in it, one that :func:`check` has let pass; ``base`` is changed.

    ``scale`` is the strength of the update, which is multiplied by it: 0 is the base, 1 the adapter as it was saved
    (CoT-Valve, arXiv:2502.09601, section 3: its alpha, along a direction in which thoughts become shorter).

    Raises ModelError for weights that are damaged, of another shape than the configuration says, or not all there, and
    UnsupportedModel for a ``scale`` where some take the place of the base's own.
    """
    from peft import PeftModel, get_peft_model_state_dict, load_peft_weights

    with readable("adapter", name), warnings.catch_warnings():
        # peft warns of missing weights, which are refused below, and of what it calls in Transformers itself.
        warnings.filterwarnings("ignore", "Found missing adapter keys", UserWarning)
        warnings.filterwarnings("ignore", ".*is_gradient_checkpointing", FutureWarning)
        model = PeftModel.from_pretrained(base, str(name))
        there = set(load_peft_weights(str(name), device="cpu"))
        expected = set(get_peft_model_state_dict(model, save_embedding_layers=False))
        own = {f"base_model.model.{key}" for key in base.state_dict()}
        _complete(name, expected - there, there - expected - own)
        if scale != 1:
            if whole := sorted(there & own):
                raise _no_strength(Path(name), f"weights of its base's own ({whole[0]})")
            from peft.tuners.lora import LoraLayer

            for module in model.modules():
                if isinstance(module, LoraLayer):
                    module.scale_layer(scale)
        made: PreTrainedModel = model.merge_and_unload()
    return made


def check(name: str | Path, base: str, scale: float = 1.0) -> None:
    """Refuse an adapter for what can be known before its base is read.

    Raises UnsupportedModel without peft, for kinds of adapters that cannot be merged, and, where ``scale`` is not 1,
    for those that change their base by more than a LoRA update; ModelNotFound without weights.
    """
    if find_spec("peft") is None:
        raise UnsupportedModel(
            f"'{name}' is an adapter of '{base}', and peft is not installed.", "Install it with: pip install peft."
        )
    file = Path(name) / ADAPTER
    kind = _said(file).get("peft_type")
    if not isinstance(kind, str):
        raise ModelError(f"'{file}' does not say what the adapter is (peft_type).", AGAIN)
    if not _mergeable(kind):
        raise UnsupportedModel(
            f"'{file}': adapters of peft_type {kind!r} cannot be merged into their base.",
            "LoRA and its relatives can (peft_type LORA).",
        )
    if scale != 1 and (more := _beyond_lora(_said(file))):
        raise _no_strength(file, more)
    if not any((Path(name) / weights).is_file() for weights in _WEIGHTS):
        raise ModelNotFound(f"the adapter '{name}' has no weights: no {' or '.join(_WEIGHTS)}.", AGAIN)


def _no_strength(file: Path, more: str) -> UnsupportedModel:
    return UnsupportedModel(
        f"'{file}': an adapter with {more} is more than a LoRA update, and has no strength.", "Leave out the scale."
    )


def _beyond_lora(said: dict[str, Any]) -> str | None:
    """What in an adapter does not go away as its LoRA update goes to 0, by its configuration; None for nothing."""
    if said["peft_type"] != "LORA":
        return f"peft_type {said['peft_type']!r}"
    for key in ("use_dora", "modules_to_save", "trainable_token_indices", "layer_replication", "kasa_config"):
        if said.get(key):
            return key
    if said.get("bias", "none") != "none":
        return f"bias {said['bias']!r}"
    begun = said.get("init_lora_weights", True)  # others take a part of the base's weights into the update at first
    return None if isinstance(begun, bool) or begun in _APART else f"init_lora_weights {begun!r}"


_APART = ("gaussian", "eva", "orthogonal")
"""Ways to begin a LoRA update that leave its base's weights alone, besides zeros and random numbers."""


def _mergeable(kind: str) -> bool:
    from peft.mapping import PEFT_TYPE_TO_TUNER_MAPPING

    return any(
        kind == known.value and hasattr(tuner, "merge_and_unload")
        for known, tuner in PEFT_TYPE_TO_TUNER_MAPPING.items()
    )


def _adapts(name: str | Path) -> bool:
    return (Path(name) / ADAPTER).is_file() and not (Path(name) / "config.json").is_file()


def _said(file: Path) -> dict[str, Any]:
    try:
        said = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelError(f"'{file}' is no JSON: {error}", AGAIN) from error
    if not isinstance(said, dict):
        raise ModelError(f"'{file}' holds no JSON object.", AGAIN)
    return said


def _complete(name: str | Path, missing: set[str], unused: set[str]) -> None:
    """Refuse what would be adapted in part; weights that nothing has a use for are only counted."""
    if missing:
        shown = ", ".join(sorted(missing)[:3]) + (" ..." if len(missing) > 3 else "")
        raise ModelError(
            f"the adapter '{name}' lacks {len(missing)} of the weights that its configuration names: {shown}.",
            "Fetch it again, or take modules without weights out of target_modules.",
        )
    if unused:
        _log.warning("the adapter '%s': %d weights that the model has no use for are left out", name, len(unused))
