"""C sources to shared libraries: compiled once with the C compiler that is there, then kept."""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

FLAGS = ("-O3", "-std=gnu11", "-fPIC", "-fopenmp")
"""For every source. OpenMP's functions are those that PyTorch has loaded: one pool of threads, not two."""
_LIMIT = 60
"""Seconds that a compilation may take."""


class BuildError(RuntimeError):
    """No compiler, or it failed; the message says which."""


def load(name: str, sources: Sequence[Path], flags: Sequence[str] = (), *, folder: Path | None = None) -> ctypes.CDLL:
    """The library of some C files, compiled if it is not kept already. Raises BuildError.

    ``flags`` name the instructions it needs (``-mavx512bf16``), never those of the machine at hand (``-march=native``):
    what is kept may be read by another machine that shares the folder.
    """
    compiler = _compiler()
    command = [compiler, *FLAGS, *flags]
    headers = {header for source in sources for header in source.parent.glob("*.h")}
    texts = [file.read_text() for file in sorted({*sources, *headers})]
    key = hashlib.sha256("\0".join((*command, *texts)).encode()).hexdigest()[:24]
    library = (folder or cache_folder()) / f"{name}-{key}.so"
    try:
        if not library.exists():
            library.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            _compile(command, sources, library)
        return ctypes.CDLL(str(library))
    except (OSError, subprocess.SubprocessError) as error:
        raise BuildError(f"the kernels '{name}' cannot be compiled or loaded: {error}") from error


def cache_folder() -> Path:
    """``$XDG_CACHE_HOME/laconic/native``, or below ``~/.cache``."""
    named = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(named) if os.path.isabs(named) else Path.home() / ".cache") / "laconic" / "native"


def _compiler() -> str:
    for name in (os.environ.get("CC", ""), "cc", "gcc", "clang"):
        if name and (found := shutil.which(name)):
            return found
    raise BuildError("there is no C compiler ($CC, cc, gcc, clang)")


def _compile(command: Sequence[str], sources: Sequence[Path], library: Path) -> None:
    """Compile beside the final place and move there at once: several processes may do this at a time."""
    with tempfile.TemporaryDirectory(dir=library.parent) as place:
        objects = [str(Path(place) / f"{source.stem}.o") for source in sources]
        made = str(Path(place) / "made.so")
        for source, target in zip(sources, objects, strict=True):
            _run([*command, "-c", str(source), "-o", target])
        # Linked without -fopenmp, the library asks for no OpenMP runtime of its own.
        _run([command[0], "-shared", *objects, "-o", made, "-lm"])
        os.replace(made, library)


def _run(command: Sequence[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=_LIMIT)
    if done.returncode:
        raise BuildError(f"'{' '.join(command)}' failed: {done.stderr.strip()[-500:]}")
