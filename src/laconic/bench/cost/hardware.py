"""Hardware by name: how fast it reads memory and multiplies, from data sheets, or measured for this machine's CPU.

Numbers are the makers' peaks, dense (without structured sparsity, where sheets print both), in bytes and operations a
second. What a real program reaches of them is another matter: see ``roofline.Knobs``.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from dataclasses import dataclass

from laconic.errors import RequestError, did_you_mean


@dataclass(frozen=True, slots=True)
class Hardware:
    """One device. ``fp8`` is None where its matrix units have no such format: weights then only save memory traffic."""

    name: str
    title: str
    bandwidth: float
    """Bytes a second from main memory."""
    bf16: float
    """16-bit multiply-adds with 32-bit sums, counted as two operations each, a second."""
    fp8: float | None
    memory: float
    """Bytes."""
    source: str
    reached: bool = False
    """Whether these are rates that a program has reached, not peaks."""


_G, _T = 1e9, 1e12

PRESETS = {
    device.name: device
    for device in (
        # NVIDIA A100 Tensor Core GPU data sheet (2021), column "A100 80GB SXM".
        Hardware("a100", "A100 80GB SXM", 2039 * _G, 312 * _T, None, 80 * _G, "NVIDIA A100 data sheet"),
        # NVIDIA H100 data sheet, SXM; the sheet prints 1,979 and 3,958 with sparsity, which doubles them.
        Hardware("h100", "H100 SXM", 3350 * _G, 989.5 * _T, 1979 * _T, 80 * _G, "NVIDIA H100 data sheet"),
        # NVIDIA H200 data sheet, SXM: the compute of the H100 with more and faster memory.
        Hardware("h200", "H200 SXM", 4800 * _G, 989.5 * _T, 1979 * _T, 141 * _G, "NVIDIA H200 data sheet"),
        # NVIDIA DGX B200 data sheet, an eighth of the system: 64 TB/s, 1,440 GB, 72 PFLOPS of FP8 with sparsity.
        Hardware("b200", "B200", 8000 * _G, 2250 * _T, 4500 * _T, 180 * _G, "NVIDIA DGX B200 data sheet, per GPU"),
        # NVIDIA L4 data sheet: 242 and 485 with sparsity.
        Hardware("l4", "L4", 300 * _G, 121 * _T, 242.5 * _T, 24 * _G, "NVIDIA L4 data sheet"),
        # NVIDIA L40S data sheet: prints dense | sparse.
        Hardware("l40s", "L40S", 864 * _G, 362.05 * _T, 733 * _T, 48 * _G, "NVIDIA L40S data sheet"),
        # NVIDIA A10 data sheet: 125 dense (250 with sparsity).
        Hardware("a10", "A10", 600 * _G, 125 * _T, None, 24 * _G, "NVIDIA A10 data sheet"),
        # NVIDIA Ada GPU architecture white paper, appendix A: dense, sums in 32 bits, which GeForce halves.
        Hardware("rtx4090", "GeForce RTX 4090", 1008 * _G, 165.2 * _T, 330.3 * _T, 24 * _G,
                 "NVIDIA Ada white paper"),
        # NVIDIA RTX Blackwell GPU architecture white paper, appendix A: dense, sums in 32 bits.
        Hardware("rtx5090", "GeForce RTX 5090", 1792 * _G, 209.5 * _T, 419 * _T, 32 * _G,
                 "NVIDIA RTX Blackwell white paper"),
        # AMD Instinct MI300X data sheet.
        Hardware("mi300x", "Instinct MI300X", 5300 * _G, 1307.4 * _T, 2614.9 * _T, 192 * _G,
                 "AMD Instinct MI300X data sheet"),
        # Apple names bandwidth and memory (M4 Max, 40 GPU cores). It names no compute: 40 cores of 128 lanes at about
        # 1.8 GHz, two operations each.
        Hardware("m4max", "Apple M4 Max, 40 GPU cores", 546 * _G, 18.4 * _T, None, 128 * _G,
                 "Apple press release; compute from cores and clock"),
    )
}  # fmt: skip


def hardware(name: str) -> Hardware:
    """A preset by name, whatever its case, dashes and spaces; ``cpu`` measures this machine. Raises RequestError."""
    plain = name.lower().replace("-", "").replace("_", "").replace(" ", "")
    if plain == "cpu":
        return measured_cpu()
    if plain not in PRESETS:
        raise RequestError(f"no hardware is called '{name}'.", did_you_mean(plain, [*PRESETS, "cpu"]))
    return PRESETS[plain]


@functools.cache
def measured_cpu() -> Hardware:
    """This machine's CPU with the threads that torch uses, measured in about a second in 32-bit floats.

    Bandwidth is that of a matrix-vector product, which reads a matrix far larger than the caches once; compute that of
    a product of large matrices. The best of several tries counts. These are rates reached, not peaks.
    """
    import torch

    from laconic.bench.provenance import cpu_model

    rows, columns, size = 8192, 4096, 768
    with torch.inference_mode():
        matrix, vector = torch.ones(rows, columns), torch.ones(columns)
        reading = rows * columns * 4 / _fastest(lambda: matrix @ vector, 5)
        square = torch.ones(size, size)
        compute = 2 * size**3 / _fastest(lambda: square @ square, 5)
    title = f"{cpu_model()}, {torch.get_num_threads()} threads"
    return Hardware("cpu", title, reading, compute, None, _main_memory(), "measured here, float32", reached=True)


def _fastest(work: Callable[[], object], tries: int) -> float:
    """Seconds of the fastest of several runs, after one to warm up."""
    work()
    times = []
    for _ in range(tries):
        begun = time.perf_counter()
        work()
        times.append(time.perf_counter() - begun)
    return min(times)


def _main_memory() -> float:
    """Bytes of memory, infinite where the system does not tell."""
    import os

    try:
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, ValueError, OSError):
        return float("inf")
