"""The C functions of this folder on tensors: a layer of the Llama family in bfloat16."""

from __future__ import annotations

import ctypes
import logging
import os
import platform
from functools import cache
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from laconic.models.native.build import BuildError, load

_SOURCES = [
    Path(__file__).with_name(f"{name}.c")
    for name in ("linear", "layer", "attention", "packed", "stack", "largest", "ngrams", "entries", "units")
]
_FLAGS = {
    "AVX512_BF16": ("-mavx512f", "-mavx512bw", "-mavx512vl", "-mavx512vnni", "-mavx512bf16", "-mfma", "-mf16c"),
    "AVX2": ("-mavx2", "-mfma", "-mf16c"),
}
"""Instructions that the kernels can be made of, the fastest first, and how the compiler is told."""
_OUT = 32
"""OUT of ``linear.c``."""
_POINTER, _LONG, _INT, _FLOAT = ctypes.c_void_p, ctypes.c_long, ctypes.c_int, ctypes.c_float


class Pass(ctypes.Structure):
    """Pass of ``kernels.h``."""

    _fields_ = (
        *((name, _POINTER) for name in ("query", "key", "value", "mask", "starts", "out")),
        *((name, _POINTER) for name in ("shared", "stem_key", "stem_value")),
        *((name, _POINTER) for name in ("past", "past_key", "past_value", "packed", "past_mask", "units")),
        ("pasts", _LONG),
        *((name, _LONG) for name in ("rows", "width", "keys", "heads", "kv_heads", "dim")),
        *((name, _LONG) for name in ("query_node", "cache_row", "cache_key")),
        ("scale", _FLOAT),
    )


class Packed(ctypes.Structure):
    """Packed of ``packed.h``."""

    _fields_ = (
        *((name, _POINTER) for name in ("key", "value", "key_step", "key_middle", "value_step", "value_middle")),
        ("heads", _LONG),
    )


class Units(ctypes.Structure):
    """Units of ``kernels.h``."""

    _fields_ = (*((name, _POINTER) for name in ("starts", "low", "high")), ("units", _LONG), ("most", _LONG))


class Layer(ctypes.Structure):
    """Layer of ``stack.c``."""

    _fields_ = tuple(
        (name, _POINTER)
        for name in (
            *("norm_in", "norm_mid", "head_gain"),
            *("qkv", "qkv_bias", "out", "out_bias", "gate_up", "down"),
            *("key", "value", "mask"),
            *("stem_key", "stem_value", "past_key", "past_value", "packed", "past", "past_mask", "units"),
            "query",
        )
    )


class Stack(ctypes.Structure):
    """Stack of ``stack.c``."""

    _fields_ = (
        ("attention", Pass),
        *((name, _LONG) for name in ("cache", "nodes", "hidden", "inner")),
        *((name, _POINTER) for name in ("cos", "sin", "places")),
        *((name, _FLOAT) for name in ("eps", "head_eps")),
    )


class Grams(ctypes.Structure):
    """Grams of ``kernels.h``."""

    _fields_ = (
        *((name, _POINTER) for name in ("keys", "tokens", "logits", "orders", "starts", "shifts", "factors")),
        ("mix", ctypes.c_uint64),
        *((name, _LONG) for name in ("levels", "k", "heard")),
    )


log = logging.getLogger(__name__)


class Kernels:
    """The functions of the library. Tensors are on the CPU, contiguous and bfloat16 unless said otherwise."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._linear = library.linear
        self._linear.argtypes = [_POINTER] * 5 + [_LONG] * 3 + [_INT]
        self._rms_norm = library.rms_norm
        self._rms_norm.argtypes = [_POINTER] * 3 + [_LONG] * 2 + [_FLOAT, _INT]
        self._heads = library.heads
        self._heads.argtypes = [_POINTER] * 8 + [_LONG] * 4 + [_FLOAT, _INT]
        self._swiglu = library.swiglu
        self._swiglu.argtypes = [_POINTER] * 2 + [_LONG] * 2 + [_INT]
        self._attention = library.attention
        self._attention.argtypes = [ctypes.POINTER(Pass), _INT]
        self._largest = library.largest
        self._largest.argtypes = [_POINTER, _INT, *[_LONG] * 3, *[_POINTER] * 2, _INT]
        self.ngrams_look = library.ngrams_look
        """See ``ngrams.c``, as of the next; its tables are NumPy's (speculation.drafters.ngrams)."""
        self.ngrams_look.argtypes = [ctypes.POINTER(Grams), _POINTER, _LONG, ctypes.c_double, _LONG, *[_POINTER] * 3]
        self.ngrams_learn = library.ngrams_learn
        self.ngrams_learn.argtypes = [ctypes.POINTER(Grams), _POINTER, _LONG, *[_POINTER] * 2]
        self.entries_move = library.entries_move
        """See ``entries.c``, as of the next."""
        self.entries_move.argtypes = [_POINTER, _POINTER, _LONG, _LONG, _POINTER, _LONG]
        self.shares_add = library.shares_add
        self.shares_add.argtypes = [_POINTER, _POINTER, _LONG, _LONG, ctypes.c_double, _POINTER]
        self.packs = bool(library.packs())
        """Whether pasts of four bits can be read as they are (kv.codec.four)."""
        self._stack = library.stack
        self._stack.argtypes = [_POINTER, _LONG, ctypes.POINTER(Stack), _POINTER, _INT]

    @staticmethod
    def pack(weight: Tensor) -> Tensor:
        """A weight ``[out, in]``, ``in`` even, as :meth:`linear` reads it: ``[blocks, in / 2, 32, 2]``."""
        out, size = weight.shape
        weight = F.pad(weight, (0, 0, 0, -out % _OUT))
        return weight.view(-1, _OUT, size // 2, 2).transpose(1, 2).contiguous()

    @staticmethod
    def rows(packed: Tensor, outputs: Tensor) -> Tensor:
        """The rows ``[outputs, in]`` of a weight that :meth:`pack` has laid out."""
        picked = packed[outputs // _OUT, :, outputs % _OUT]
        return picked.reshape(len(outputs), -1)

    def linear(self, x: Tensor, packed: Tensor, out: int, bias: Tensor | None = None) -> Tensor:
        """``x W^T + b``: ``[rows, out]`` from ``x [rows, in]`` and a packed weight."""
        x = x.contiguous()
        rows, size = x.shape
        assert 2 * packed.shape[1] == size
        assert x.dtype == packed.dtype == torch.bfloat16
        y = torch.empty(rows, out, dtype=torch.bfloat16)
        b = None if bias is None else bias.data_ptr()
        pointers = x.data_ptr(), packed.data_ptr(), b, None, y.data_ptr()
        if self._linear(*pointers, rows, size, out, torch.get_num_threads()):
            raise MemoryError(f"no memory for a product of {rows} rows")
        return y

    def rms_norm(self, x: Tensor, gain: Tensor, eps: float) -> Tensor:
        """Root-mean-square norm over the last dimension of ``x [..., dim]``; ``gain [dim]`` is float32."""
        assert (x.dtype, gain.dtype) == (torch.bfloat16, torch.float32)
        x = x.contiguous()
        dim = x.shape[-1]
        y = torch.empty_like(x)
        self._rms_norm(x.data_ptr(), gain.data_ptr(), y.data_ptr(), x.numel() // dim, dim, eps, torch.get_num_threads())
        return y

    def heads(
        self,
        x: Tensor,
        gain: Tensor | None,
        eps: float,
        angles: tuple[Tensor, Tensor],
        places: Tensor,
        key: Tensor,
        value: Tensor,
    ) -> Tensor:
        """Queries ``[nodes, heads, dim]`` of ``x [nodes, heads + 2 kv_heads, dim]``, normed and rotated.

        Keys, normed and rotated, and values are written to the ``places [nodes]`` of the buffers ``key`` and
        ``value [..., kv_heads, dim]``. ``gain [heads + kv_heads, dim]`` is float32, None without a norm; ``angles``
        are cosines and signed sines ``[nodes, 1, dim]``; 32 divides ``dim``.
        """
        nodes, every, dim = x.shape
        kv_heads = key.shape[-2]
        cos, sin = angles
        assert x.dtype == key.dtype == value.dtype == cos.dtype == sin.dtype == torch.bfloat16
        assert places.dtype == torch.int64
        assert all(t.is_contiguous() for t in (x, cos, sin, places, key, value))
        query = torch.empty(nodes, every - 2 * kv_heads, dim, dtype=torch.bfloat16)
        factor = None if gain is None else gain.data_ptr()
        pointers = (t.data_ptr() for t in (cos, sin, places, query, key, value))
        sizes = nodes, every - 2 * kv_heads, kv_heads, dim
        self._heads(x.data_ptr(), factor, *pointers, *sizes, eps, torch.get_num_threads())
        return query

    def swiglu(self, x: Tensor) -> Tensor:
        """``silu(gate) * up``: ``[rows, width]`` of ``x [rows, 2 width]``, gate first."""
        assert x.dtype == torch.bfloat16
        assert x.is_contiguous()
        rows, width = x.shape[0], x.shape[1] // 2
        y = torch.empty(rows, width, dtype=torch.bfloat16)
        self._swiglu(x.data_ptr(), y.data_ptr(), rows, width, torch.get_num_threads())
        return y

    def attention(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float) -> Tensor:
        """Scaled dot-product attention of ``query [rows, width, heads, dim]``: the same shape, contiguous.

        ``key`` and ``value [rows, keys, kv_heads, dim]`` may be parts of larger buffers, of the same layout both.
        ``mask`` is boolean, ``[rows, 1, width, keys]``, True where a node sees a key.
        """
        rows, width, heads, dim = query.shape
        keys, kv_heads = key.shape[1:3]
        if query.stride()[2:] != (dim, 1) or query.stride(0) != width * query.stride(1):
            query = query.contiguous()
        assert query.dtype == key.dtype == value.dtype == torch.bfloat16
        assert key.stride() == value.stride()
        assert dim % 2 == 0
        assert key.stride()[2:] == (dim, 1)
        if mask is not None:
            assert (mask.dtype, mask.shape) == (torch.bool, (rows, 1, width, keys))
            mask = mask.contiguous()
        out = torch.empty(rows, width, heads, dim, dtype=torch.bfloat16)
        sizes = rows, width, keys, heads, kv_heads, dim
        strides = query.stride(1), key.stride(0), key.stride(1)
        seen = None if mask is None else mask.data_ptr()
        pointers = query.data_ptr(), key.data_ptr(), value.data_ptr(), seen, None, out.data_ptr()
        if self._attention(Pass(*pointers, *[None] * 9, 0, *sizes, *strides, scale), torch.get_num_threads()):
            raise MemoryError(f"no memory for attention to {keys} keys")
        return out

    def largest(self, rows: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """The ``k`` largest of each row of ``rows [n, width]``, bfloat16 or float32: values in float32 and their
        places, ``[n, k]``, largest first, of equals the first one.

        Where fewer are above minus infinity, that stands with place -1. A row that holds what is no number gives that.
        """
        count, width = rows.shape
        wide = rows.dtype == torch.float32
        assert wide or rows.dtype == torch.bfloat16
        assert rows.is_contiguous()
        assert k > 0
        values = torch.empty(count, k, dtype=torch.float32, device="cpu")  # whatever is the default
        places = torch.empty(count, k, dtype=torch.int64, device="cpu")
        pointers = values.data_ptr(), places.data_ptr()
        self._largest(rows.data_ptr(), wide, count, width, k, *pointers, torch.get_num_threads())
        return values, places

    def stack(self, layers: ctypes.Array[Layer], first: int, count: int, now: Stack, x: Tensor) -> None:
        """Put ``x [nodes, hidden]`` through ``count`` of the layers, in place; see ``stack.c``."""
        assert x.dtype == torch.bfloat16
        assert x.is_contiguous()
        begin = ctypes.addressof(layers) + first * ctypes.sizeof(Layer)
        if self._stack(begin, count, now, x.data_ptr(), torch.get_num_threads()):
            raise MemoryError(f"no memory for a pass of {len(x)} nodes")


def kernels_for(tensor: Tensor) -> Kernels | None:
    """The kernels, if they can be had and ``tensor`` is of their kind: bfloat16 on the CPU."""
    return kernels() if tensor.dtype == torch.bfloat16 and tensor.device.type == "cpu" else None


@cache
def kernels() -> Kernels | None:
    """The kernels, or None where the processor lacks the instructions, no C compiler is there, or a trial fails.

    The environment variable ``LACONIC_NATIVE=0`` turns them off.
    """
    instructions = _supported()
    if os.environ.get("LACONIC_NATIVE") == "0" or instructions is None:
        return None
    try:
        made = Kernels(load("bf16", _SOURCES, _FLAGS[instructions]))
    except BuildError as error:
        log.info("PyTorch's products are used in bfloat16: %s", error)
        return None
    if not _right(made):
        log.warning("the compiled products are wrong on this machine and are not used")
        return None
    return made


def loaded() -> Kernels | None:
    """The kernels if they are at work in this process; they are not looked for."""
    return kernels() if kernels.cache_info().currsize else None


def multiplies() -> bool:
    """Whether this processor has instructions for products of bfloat16."""
    return _supported() == "AVX512_BF16"


def _supported() -> str | None:
    """The best instructions that this processor has; None for none of them."""
    asked = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    if asked and asked():
        return "AVX512_BF16"
    return "AVX2" if torch.backends.cpu.get_cpu_capability() != "DEFAULT" and _x86() else None


def _x86() -> bool:
    return platform.machine().lower() in ("x86_64", "amd64")


def _right(made: Kernels) -> bool:
    """Whether a small product, norm, gate, attention and choice are what PyTorch makes of them."""
    weight = torch.linspace(-1, 1, 40 * 6).bfloat16().view(40, 6)
    x = torch.linspace(-2, 1, 14 * 6).bfloat16().view(14, 6)
    found = [
        (made.linear(x, made.pack(weight), 40), x.float() @ weight.float().T),
        (made.rms_norm(x, torch.ones(6), 1e-6), F.rms_norm(x.float(), (6,), None, 1e-6)),
        (made.swiglu(x), F.silu(x[:, :3].float()) * x[:, 3:].float()),
    ]
    query, key = x.view(1, 7, 2, 6), x.view(1, 14, 1, 6)
    heads = query.float().transpose(1, 2), key.float().transpose(1, 2), key.float().transpose(1, 2)
    attended = F.scaled_dot_product_attention(*heads, scale=0.5, enable_gqa=True).transpose(1, 2)
    found.append((made.attention(query, key, key, None, 0.5), attended))
    found.append((made.largest(x, 4)[0], x.float().topk(4).values))
    return all(torch.allclose(ours.float(), theirs, rtol=2e-2, atol=1e-2) for ours, theirs in found)
