"""Where a record comes from: command, versions, commit, machine, time."""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sys
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

_PACKAGES = ("laconic", "torch", "transformers", "tokenizers", "numpy", "reasoning-gym", "math-verify")


def provenance(command: str | None = None) -> dict[str, Any]:
    """What a reader needs to judge and repeat a measurement. ``command`` defaults to that of this process."""
    import torch

    from laconic.models import loaded
    from laconic.models.native import bf16

    return {
        "command": command or command_line(sys.argv),
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "versions": {name: version for name in _PACKAGES if (version := _version(name))},
        "commit": commit(),
        "models": loaded.descriptions(),
        "machine": {
            "system": f"{platform.system()} {platform.machine()}",
            "cpu": cpu_model(),
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "kernels": "laconic" if bf16.loaded() else "PyTorch",
        },
    }


def command_line(argv: list[str]) -> str:
    """A command line as one would type it, without the folder of the program."""
    program = Path(argv[0]).name if argv else ""
    return shlex.join(["laconic" if program.startswith("__main__") else program, *argv[1:]])


def cpu_model() -> str:
    """The processor's name, as far as the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())


def commit() -> str | None:
    """The git commit of the checkout that this package runs from, ``+changes`` if files differ; None outside one."""
    here = Path(__file__).resolve().parent
    try:
        head = _git(here, "rev-parse", "--short=12", "HEAD")
        tracked = _git(here, "ls-files", "--error-unmatch", str(here.parent / "__init__.py"))
        changed = _git(here, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return None
    return (head + ("+changes" if changed else "")) if tracked else None


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "--no-optional-locks", "-C", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        if name == "laconic":
            return "source"
        return None
