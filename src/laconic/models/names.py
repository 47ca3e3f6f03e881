"""What a name can be: a folder or file that is here, a model that laconic brings, or one on the hub."""

from __future__ import annotations

import difflib
from functools import lru_cache
from pathlib import Path

from laconic.errors import ModelNotFound, did_you_mean
from laconic.models.damage import FIND, first_line
from laconic.models.specimen import NAMES

KNOWN = ("bundled", "bundled-draft", *NAMES, "smollm2-reasoner")
"""Names that laconic knows by itself."""
_TIMEOUT = 10.0
"""Seconds that the hub has to answer; it is asked once, where Transformers would ask for half a minute."""


def find(name: str | Path) -> None:
    """Raise ModelNotFound, saying what is missing where, unless there is something under a name.

    What looks like a path (from its beginning, several slashes, ``.gguf``) must be here. A plain word that is nearly
    one of our own names is taken for a misspelt one. All else must be on the hub, or kept from there.
    """
    if (path := Path(name)).exists() and str(name):
        if path.is_file() and path.suffix != ".gguf":
            raise ModelNotFound(f"'{name}' is a file, and no .gguf file.", FIND)
        return
    word = str(name)
    if word.startswith(("/", ".", "~")) or word.count("/") > 1 or path.suffix == ".gguf" or not word:
        kind = "file" if path.suffix == ".gguf" else "folder"
        raise ModelNotFound(f"there is no {kind} '{name}'.", FIND)
    if "/" not in word and difflib.get_close_matches(word, KNOWN, n=1, cutoff=0.7):
        raise ModelNotFound(f"no model is called '{name}'.", did_you_mean(word, KNOWN))
    _ask(word)


@lru_cache
def _ask(name: str) -> None:
    """Raise ModelNotFound unless the hub, or its cache here, has a checkpoint or a tokenizer of that name."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_url, try_to_load_from_cache
    from huggingface_hub.errors import EntryNotFoundError

    try:
        if any(try_to_load_from_cache(name, file) for file in ("config.json", "tokenizer_config.json")):
            return
        get_hf_file_metadata(hf_hub_url(name, "config.json"), timeout=_TIMEOUT)
    except EntryNotFoundError:  # a tokenizer alone, say; what reads it says what it lacks
        return
    except Exception as error:  # of the hub's client and of the HTTP package below it, which changes with its version
        raise ModelNotFound(
            f"no folder here and no model on the hub is called '{name}': {first_line(error)}", FIND
        ) from error
