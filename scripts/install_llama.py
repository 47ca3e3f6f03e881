"""Install llama.cpp's Python package in a virtual environment of its own, for ``laconic peers``.

    python scripts/install_llama.py [.venv-llama]

It is compiled here, for this processor, which takes some minutes and needs a C++ compiler.
"""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

PACKAGE = "llama-cpp-python"


def main() -> None:
    """Make the environment, or complete one that is there."""
    place = Path(sys.argv[1] if len(sys.argv) > 1 else ".venv-llama")
    python = place / "bin" / "python"
    if not python.exists():
        venv.create(place, with_pip=True)
    subprocess.run(
        [python, "-m", "pip", "--quiet", "--disable-pip-version-check", "install", "--no-binary", PACKAGE, PACKAGE],
        check=True,
    )
    sys.stdout.write(f"llama.cpp is in {place}; use it with: laconic peers --llama {python}\n")


if __name__ == "__main__":
    main()
