"""Reading a folder of coded weights, decoded for good or to be kept coded. Transformers' own loader does the work.

It takes tensors by their names in the checkpoint, joins those that a model has joined (the experts of a layer), ties
and checks. What is to stay coded is taken from it as it registers parameters, one at a time.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import get_ident
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from laconic.errors import UnsupportedModel
from laconic.models.dfloat11.codec import Coded, encode
from laconic.models.dfloat11.folder import Stored, stored
from laconic.models.dfloat11.held import hold
from laconic.models.steering import decoder_layers

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

_SEQUENTIAL = "HF_DEACTIVATE_ASYNC_LOAD"
"""Has Transformers read one tensor after the other, where threads would decode ahead of what is taken."""


def read(
    name: str | Path, config: PreTrainedConfig, given: dict[str, Any], *, coded: bool = False
) -> tuple[PreTrainedModel, dict[str, Any]]:
    """The model of a folder, and what Transformers says of the loading; ``given`` are more of its arguments.

    With ``coded`` the weights of decoder layers stay so, and the number format must be bfloat16. Raises ModelError
    naming the file for what is damaged, UnsupportedModel where a model's decoder layers are not found.
    """
    tensors = stored(name)
    if not coded:
        return _load(name, config, tensors, given)
    kept: dict[int, tuple[nn.Parameter, Coded]] = {}
    with _taken(tensors, kept):
        model, info = _load(name, config, tensors, given)
    layers = decoder_layers(model, int(config.get_text_config().num_hidden_layers))
    if layers is None:
        raise UnsupportedModel(
            f"the decoder layers of '{config.model_type}' are not found, so its weights cannot stay coded.",
            "Load them decoded (weights='decoded').",
        )
    if not info["missing_keys"] and not info["mismatched_keys"]:  # else it is refused by these
        hold(model, layers, kept)
    return model, info


def _load(
    name: str | Path, config: PreTrainedConfig, tensors: dict[str, Stored], given: dict[str, Any]
) -> tuple[PreTrainedModel, dict[str, Any]]:
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):  # which class and which part of the configuration it is; tensors alone would not say
        empty = AutoModelForCausalLM.from_config(config)
    try:
        model, info = type(empty).from_pretrained(None, config=empty.config, state_dict=tensors, **given)
    except Exception as error:  # what was wrong with a tensor, of which Transformers may have made another error
        fault = next((tensor.fault for tensor in tensors.values() if tensor.fault is not None), None)
        if fault is None:
            raise
        raise fault from error
    model.config.name_or_path = str(name)  # for what looks for more in the folder, and tells of it
    return model, info


@contextmanager
def _taken(tensors: dict[str, Stored], kept: dict[int, tuple[nn.Parameter, Coded]]) -> Iterator[None]:
    """Within, parameters in bfloat16 are put into ``kept`` coded, by the id of what is registered in their place."""
    here, trail = get_ident(), list[tuple[Tensor, Coded]]()
    for tensor in tensors.values():
        tensor.trail = trail

    def take(_: nn.Module, __: str, parameter: nn.Parameter | None) -> Any:  # PyTorch says None, and takes parameters
        if get_ident() != here or not trail or parameter is None or parameter.is_meta:
            return None  # it is registered as it is
        single = trail[0] if len(trail) == 1 else None
        trail.clear()
        if parameter.dtype != torch.bfloat16:
            return None
        if single is not None and _same(single[0], parameter):
            parts: Coded | None = single[1]
        else:  # made of several tensors, or turned: as it is now it is in no file
            parts = encode(parameter)
        if parts is None:
            return None
        between = nn.Parameter(torch.empty_like(parameter, device="meta"), requires_grad=False)
        between._is_hf_initialized = True  # type: ignore[attr-defined]  # as Transformers marks what it has read
        kept[id(between)] = between, parts
        return between

    before, hook = os.environ.get(_SEQUENTIAL), register_module_parameter_registration_hook(take)
    os.environ[_SEQUENTIAL] = "1"
    try:
        yield
    finally:
        hook.remove()
        if before is None:
            del os.environ[_SEQUENTIAL]
        else:
            os.environ[_SEQUENTIAL] = before


def _same(tensor: Tensor, other: Tensor) -> bool:
    """Whether two tensors are the same memory, read in the same order."""
    return tensor.data_ptr() == other.data_ptr() and (tensor.shape, tensor.stride()) == (other.shape, other.stride())
