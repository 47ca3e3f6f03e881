"""Which model was certified: its name, and hashes of its config and weights."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from laconic.models.load import resolve

_WHOLE = 2 << 30
"""Bytes of weights up to which their contents are hashed; beyond, the index and the files' sizes."""


def identify(name: str | Path) -> dict[str, Any]:
    """Name, and SHA-256 of ``config.json`` and of the weights of a checkpoint that has been loaded by that name.

    ``weights`` maps each file to its size and, up to 2 GiB in all, to its hash; larger ones are told by their index
    and sizes alone, and ``hashed`` says which. Files that cannot be found are None.
    """
    folder = _folder(name)
    if folder is None:
        return {"name": str(name), "config": None, "hashed": "nothing", "weights": {}, "index": None}
    files = sorted(path for pattern in ("*.safetensors", "pytorch_model*.bin") for path in folder.glob(pattern))
    whole = sum(path.stat().st_size for path in files) <= _WHOLE
    index = next(iter(sorted(folder.glob("*.index.json"))), None)
    return {
        "name": str(name),
        "config": _sha256(folder / "config.json"),
        "hashed": "contents" if whole else "index and sizes",
        "weights": {
            path.name: {"bytes": path.stat().st_size} | ({"sha256": _sha256(path)} if whole else {}) for path in files
        },
        "index": _sha256(index) if index else None,
    }


def _folder(name: str | Path) -> Path | None:
    """The directory of a checkpoint: a path, or where the hub's files were put."""
    place = Path(resolve(name))
    if place.is_dir():
        return place
    from transformers.utils import cached_file

    try:
        found = cached_file(str(name), "config.json", local_files_only=True)
    except OSError:
        return None
    return Path(found).parent if found else None


def _sha256(path: Path) -> str | None:
    if not path.is_file():
        return None
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
