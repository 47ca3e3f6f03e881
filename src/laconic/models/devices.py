"""Where a model runs, and in which number format by default."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from laconic.errors import ModelError, RequestError
from laconic.models.dfloat11.held import decoded, held
from laconic.models.native.bf16 import kernels

AUTO = "auto"
SPREAD = "spread"
KINDS = ("cuda", "xpu", "mps", "cpu")


def named_device(name: str = AUTO) -> torch.device:
    """A device by its name: ``auto`` is the accelerator of this machine, else the CPU; ``cuda:1`` names one of several.

    ``spread`` begins at the first accelerator (see :func:`placed`). Raises RequestError for what is not here.
    """
    if name in (AUTO, SPREAD):
        return best()
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in KINDS:
        raise RequestError(f"no device is called '{name}'.", f"There are: {', '.join((AUTO, *KINDS, SPREAD))}.")
    if device.type == "cpu" and device.index:
        raise RequestError(f"there is no '{name}': all of the CPU is one device, 'cpu'.")
    if device.type != "cpu" and device.type != best().type:
        raise RequestError(f"this machine has no device '{name}', or PyTorch was built without it.",
                           f"'{best().type}' is here.")  # fmt: skip
    if device.type != "cpu" and (device.index or 0) >= torch.accelerator.device_count():
        raise RequestError(f"there is no '{name}'; {torch.accelerator.device_count()} are here, counted from 0.")
    return device


def best() -> torch.device:
    """This machine's accelerator, if PyTorch can use it and laconic knows it, else the CPU."""
    found = torch.accelerator.current_accelerator(check_available=True)
    return found if found is not None and found.type in KINDS else torch.device("cpu")


def preferred(device: torch.device, own: torch.dtype) -> torch.dtype:
    """The number format that a checkpoint stored as ``own`` gets where none is asked for.

    Its own on an accelerator, except bfloat16 on a GPU without it. On a CPU float32, and bfloat16 for bfloat16
    checkpoints where the project's own kernels run, which make it fast there.
    """
    if device.type == "cpu":
        return torch.bfloat16 if own == torch.bfloat16 and kernels() is not None else torch.float32
    if own == torch.bfloat16 and device.type == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
        return torch.float16
    return own


def offloaded(model: Any) -> bool:
    """Whether some weights are elsewhere, and only fetched for a pass."""
    return held(model) is None and any(parameter.is_meta for parameter in model.parameters())


@contextmanager
def fetched(module: Any) -> Iterator[None]:
    """The weights of one module at hand, whether they were elsewhere, or coded, or not."""
    with decoded(module):
        if not any(parameter.is_meta for parameter in module.parameters(recurse=False)):
            yield
            return
        from accelerate.utils import align_module_device

        with align_module_device(module, torch.device("cpu")):
            yield


def placed(model: Any, device: torch.device) -> Any:
    """The model on a device. Raises ModelError where it does not fit."""
    try:
        return model.to(device)
    except torch.OutOfMemoryError as error:
        size = sum(parameter.nbytes for parameter in model.parameters())
        raise ModelError(
            f"{size / 2**30:.1f} GiB of weights do not fit on '{device}'.",
            "Say --device spread (device='spread') to use several devices, or take a smaller number format.",
        ) from error
