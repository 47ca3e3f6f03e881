"""Names under which there is nothing are refused at once, by what they look like."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub.errors import EntryNotFoundError

from laconic.errors import ModelNotFound
from laconic.models import names
from laconic.models.causal_lm import CausalLM
from laconic.models.load import load_defaults, load_model, load_text
from laconic.models.names import find
from tests import tiny

LOADS = (CausalLM.load, load_model, load_text, load_defaults)


@pytest.fixture(autouse=True)
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """A hub that cannot be reached; the addresses that it is asked for."""
    asked: list[str] = []

    def ask(url: str, **_: Any) -> None:
        asked.append(url)
        raise OSError("no network")

    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", ask)
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda name, file: None)
    names._ask.cache_clear()
    yield asked
    names._ask.cache_clear()


@pytest.mark.parametrize("name", ["/nowhere", "./here", "../x/y", "~/models", "a/b/c"])
def test_what_looks_like_a_folder_must_be_one(name: str, hub: list[str]) -> None:
    for load in LOADS:
        with pytest.raises(ModelNotFound, match=f"there is no folder '{name}'") as caught:
            load(name)
        assert "config.json" in caught.value.hint
    assert hub == []


def test_a_gguf_file_must_be_here_and_other_files_are_none(tmp_path: Path, hub: list[str]) -> None:
    (tmp_path / "weights.bin").write_bytes(b"x")
    for load in LOADS:
        with pytest.raises(ModelNotFound, match=r"there is no file 'some\.gguf'"):
            load("some.gguf")
        with pytest.raises(ModelNotFound, match=r"weights\.bin' is a file"):
            load(tmp_path / "weights.bin")
    assert hub == []


def test_a_folder_without_a_configuration_is_no_model(tmp_path: Path) -> None:
    tiny.tokenizer().save_pretrained(tmp_path)
    with pytest.raises(ModelNotFound, match=r"has no config\.json"):
        CausalLM.load(tmp_path)
    assert load_text(tmp_path).encode("x")  # of a model that a server runs


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("smolm2", "smollm2"),
        ("Bundled", "bundled"),
        ("bundled-drat", "bundled-draft"),
        ("smollm2-reasonr", "smollm2-reasoner"),
    ],
)
def test_a_misspelt_name_is_guessed_before_the_hub_is_asked(name: str, meant: str, hub: list[str]) -> None:
    with pytest.raises(ModelNotFound, match="no model is called") as caught:
        load_text(name)
    assert caught.value.hint.startswith(f"Did you mean '{meant}'?")
    assert hub == []


@pytest.mark.parametrize("name", ["gpt2", "org/name", "no such name!"])
def test_the_hub_is_asked_once_and_without_delay(name: str, hub: list[str]) -> None:
    began = time.monotonic()
    with pytest.raises(ModelNotFound, match=f"no folder here and no model on the hub is called '{name}'"):
        load_text(name)
    assert len(hub) == ("!" not in name)  # which the hub's own client refuses
    assert time.monotonic() - began < 1  # Transformers tries six times and takes 23 seconds


def test_a_repository_without_a_model_is_left_to_what_reads_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def ask(url: str, **_: Any) -> None:
        raise EntryNotFoundError("no config.json")

    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", ask)
    find("org/tokenizer-alone")
    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", lambda url, **_: None)
    find("org/model")
