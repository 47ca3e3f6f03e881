"""The C decoder, compiled when first needed, as the project's other kernels are."""

from __future__ import annotations

import ctypes
import logging
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from laconic.models.native import build

_SOURCE = Path(build.__file__).with_name("dfloat11.c")
_POINTER, _LONG, _INT, _WIDE = ctypes.c_void_p, ctypes.c_long, ctypes.c_int, ctypes.c_int64
_log = logging.getLogger(__name__)

Decode = Callable[
    [
        NDArray[np.uint8], int, NDArray[np.int64], NDArray[np.uint16], NDArray[np.uint8], int, int, NDArray[np.uint16],
    ],
    int,
]  # fmt: skip
"""Code, its bits, offsets, table, rest, first and last block, what they go into: -1, or the first damaged block.

The sizes of these arrays must be those of ``codec.Coded``; what is in them is checked.
"""


@cache
def decoder() -> Decode | None:
    """The compiled decoder; None without a C compiler, or with ``LACONIC_NATIVE=0`` in the environment."""
    if os.environ.get("LACONIC_NATIVE") == "0":
        return None
    try:
        function = build.load("dfloat11", [_SOURCE]).dfloat11_decode
    except build.BuildError as error:
        _log.info("NumPy decodes coded weights: %s", error)
        return None
    function.argtypes = [_POINTER, _WIDE, *[_POINTER] * 3, _WIDE, _LONG, _LONG, _POINTER, _INT]
    function.restype = _LONG

    def decode(
        code: NDArray[np.uint8],
        bits: int,
        offsets: NDArray[np.int64],
        table: NDArray[np.uint16],
        rest: NDArray[np.uint8],
        first: int,
        last: int,
        out: NDArray[np.uint16],
    ) -> int:
        arrays = (array.ctypes.data for array in (offsets, table, rest))
        sizes = len(rest), first, last, out.ctypes.data, torch.get_num_threads()
        return int(function(code.ctypes.data, bits, *arrays, *sizes))

    return decode
