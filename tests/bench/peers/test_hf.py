"""Transformers as a peer: its three ways of generating write what plain decoding writes, and passes are counted."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from laconic import Engine, Limits, Methods, Request, Sampling
from laconic.bench.peers.base import result
from laconic.bench.peers.hf import Checkpoint, TransformersGenerate
from laconic.errors import RequestError
from laconic.models.causal_lm import CausalLM
from tests import tiny

TEXT = tiny.text()
REQUESTS = [Request(tuple(TEXT.encode(f"Hello, hello, hello there {i}!")), limits=Limits(30)) for i in range(3)]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    model = tiny.model(0)
    folders = tmp_path_factory.mktemp("target"), tmp_path_factory.mktemp("draft")
    model.save_pretrained(folders[0])
    tiny.noisy(model, 0.05).save_pretrained(folders[1])
    return folders


@pytest.mark.parametrize("way", ["plain", "assisted", "lookup"])
def test_generate_writes_what_plain_decoding_writes(saved: tuple[Path, Path], way: str) -> None:
    target, draft = (Checkpoint(str(folder)) for folder in saved)
    peer = TransformersGenerate(
        target, TEXT, 512, assistant=draft if way == "assisted" else None, prompt_lookup=way == "lookup"
    )
    ours = Engine(CausalLM.load(saved[0]), TEXT, Methods(drafter="none")).run(REQUESTS)
    theirs = peer.run(REQUESTS, 1).results
    assert [r.tokens for r in theirs] == [r.tokens for r in ours]
    passes, written = sum(r.usage.target_passes for r in theirs), sum(len(r.tokens) for r in theirs)
    if way == "plain":
        assert (passes, sum(r.usage.drafted for r in theirs)) == (written, 0)
    else:
        assert 0 < passes < written
        assert sum(r.usage.accepted for r in theirs) == written - passes
    assert (sum(r.usage.drafted for r in theirs) > 0) == (way == "assisted")
    assert target.passes == passes


def test_sampling_and_number_format_reach_the_model(saved: tuple[Path, Path]) -> None:
    half = Checkpoint(str(saved[0]), torch.bfloat16)
    assert half.model.dtype == torch.bfloat16
    peer = TransformersGenerate(half, TEXT, 512)
    requests = [Request(REQUESTS[0].prompt, Sampling(1.0, seed=seed), Limits(12)) for seed in (1, 1, 2)]
    first, same, other = (r.tokens for r in peer.run(requests, 1).results)
    assert first == same != other


def test_batches_are_refused(saved: tuple[Path, Path]) -> None:
    with pytest.raises(RequestError, match="one request at a time"):
        TransformersGenerate(Checkpoint(str(saved[0])), TEXT, 512).run(REQUESTS, 2)


def test_a_result_is_counted_by_our_own_counter() -> None:
    written = TEXT.encode("<think>\nA.\n</think>\n\nB.<|im_end|>")
    made = result(TEXT, REQUESTS[0], written, passes=4, drafted=9, accepted=5)
    assert (made.thinking, made.answer, made.finish_reason) == ("A.", "B.", "stop")
    assert made.usage.thinking + made.usage.answer == len(written)
    assert (made.usage.target_passes, made.usage.drafted, made.usage.accepted) == (4, 9, 5)
