"""What other packages raise for a checkpoint that they cannot read, turned into errors that name the file at fault."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from laconic.errors import LaconicError, ModelError, ModelNotFound, UnsupportedModel

FIND = "Give a directory with config.json and weights, a .gguf file, a hub name, 'bundled' or 'smollm2'."
AGAIN = "It is damaged or not complete: fetch or save it again."


@contextmanager
def readable(what: str, place: str | Path, *, absent: str = "") -> Iterator[None]:
    """Around reading ``what`` (weights, a tokenizer ...) at ``place``: every failure of it is one of ours.

    ``absent`` is what is said not to be there, where that is more than ``what``.

    Raises ModelNotFound where there is nothing to read, UnsupportedModel for what needs packages or code that are not
    here, and ModelError for everything else, naming the file that cannot be read, if it is one alone. Memory that does
    not suffice is not the checkpoint's fault and passes as it is.
    """
    try:
        yield
    except (LaconicError, MemoryError, torch.OutOfMemoryError):
        raise
    except OSError as error:
        raise ModelNotFound(f"no {absent or what} at '{place}': {first_line(error)}", FIND) from error
    except (ImportError, NotImplementedError) as error:
        raise UnsupportedModel(f"the {what} of '{place}' cannot be read: {first_line(error)}") from error
    except Exception as error:  # parsers raise whatever the first odd byte makes them stumble over
        if found := culprit(Path(place)):
            raise ModelError(f"'{found[0]}' cannot be read: {found[1]}", AGAIN) from error
        why = f"{type(error).__name__}: {first_line(error)}"
        raise ModelError(f"the {what} of '{place}' cannot be read: {why}", AGAIN) from error


def culprit(place: Path) -> tuple[Path, str] | None:
    """The first file of a folder whose form is broken, and how: JSON that is none, or a safetensors file cut short."""
    for file in sorted(place.glob("*")) if place.is_dir() else ():
        try:
            if file.suffix == ".json":
                json.loads(file.read_text(encoding="utf-8"))
            elif file.suffix == ".safetensors":
                _open(file)
        except Exception as error:  # as above; an error here is the answer
            return file, first_line(error)
    return None


def _open(file: Path) -> None:
    from safetensors import safe_open

    with safe_open(file, framework="pt"):
        pass


def first_line(error: Exception) -> str:
    """What an error says, in one line; its name where it says nothing."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return " ".join(lines[:2]) if lines[0].endswith(":") else lines[0]
