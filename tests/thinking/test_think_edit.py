"""ThinkEdit: what heads bring in is measured, and what is taken out of them is gone."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, BloomConfig, Qwen2Config

from laconic import Engine, Limits, Methods
from laconic.bench.steer import Pair
from laconic.bench.steer.checkpoint import examples, write
from laconic.bench.tasks import Item
from laconic.errors import RequestError, UnsupportedModel
from laconic.models.causal_lm import CausalLM
from laconic.models.load import load_text
from laconic.thinking.steer.edit import Example, Head, directions, edit, outputs, ranked, take_out
from tests.cli import checkpoint

SHORT: list[Example] = [(range(5, 20), range(8, 15)), (range(40, 52), [4, 7])]
LONG: list[Example] = [(range(60, 90), range(9, 25))]


def model(bias: bool = False) -> Any:
    """Random; every head adds something of its own."""
    torch.manual_seed(0)
    config = Qwen2Config(vocab_size=97, hidden_size=32, intermediate_size=48, num_hidden_layers=3,
                         num_attention_heads=4, num_key_value_heads=2, initializer_range=0.2)  # fmt: skip
    made = AutoModelForCausalLM.from_config(config).eval()
    if bias:
        for layer in made.model.layers:
            layer.self_attn.o_proj.bias = torch.nn.Parameter(torch.randn(32))
    return made


def attended(made: Any, example: Example) -> list[torch.Tensor]:
    """Attention outputs of each layer, mean over the places, as the module itself gives them."""
    seen: list[torch.Tensor] = []
    projections = [layer.self_attn.o_proj for layer in made.model.layers]
    hooks = [part.register_forward_hook(lambda m, i, out: seen.append(out[0])) for part in projections]
    with torch.inference_mode():
        made(torch.tensor([list(example[0])]))
    for hook in hooks:
        hook.remove()
    return [part[list(example[1])].mean(0) for part in seen]


@pytest.mark.parametrize("bias", [False, True])
def test_heads_outputs_add_up_to_what_attention_puts_out(bias: bool) -> None:
    made = model(bias)
    found = outputs(made, SHORT)
    for index, layer in enumerate(made.model.layers):
        expected = torch.stack([attended(made, example)[index] for example in SHORT]).mean(0)
        if bias:
            expected = expected - layer.self_attn.o_proj.bias
        assert found[index].shape == (4, 32)
        torch.testing.assert_close(found[index].sum(0).float(), expected, atol=1e-5, rtol=1e-4)
    assert not any(layer.self_attn.o_proj._forward_pre_hooks for layer in made.model.layers)


def test_directions_point_from_short_to_long() -> None:
    made = model()
    short, long = outputs(made, SHORT), outputs(made, LONG)
    for layer, vector in directions(short, long).items():
        assert float(vector.norm()) == pytest.approx(1)
        parted = long[layer].sum(0) - short[layer].sum(0)
        assert float(vector @ parted) == pytest.approx(float(parted.norm()))


def test_an_edited_head_puts_out_nothing_along_the_direction_and_the_others_are_left_alone() -> None:
    made = model()
    vectors = {layer: torch.randn(32, dtype=torch.float64) for layer in range(3)}
    before = outputs(made, LONG)
    weights = copy.deepcopy(made.state_dict())
    take_out(made, [Head(0, 1, 0.0), Head(2, 3, 0.0)], vectors)
    for name, value in made.state_dict().items():
        layer = int(name.split(".")[2]) if name.endswith("o_proj.weight") else -1
        edited = {0: slice(8, 16), 2: slice(24, 32)}.get(layer, slice(0, 0))
        kept = torch.ones(value.shape[-1] if value.dim() else 1, dtype=torch.bool)
        kept[edited] = False
        assert torch.equal(value[..., kept], weights[name][..., kept]), name
        if layer in (0, 2):
            assert not torch.equal(value, weights[name])
            assert float((vectors[layer].float() @ value[:, edited]).abs().max()) < 1e-5, "for any input whatever"
    unit = vectors[0] / vectors[0].norm()
    after = outputs(made, LONG)
    torch.testing.assert_close(after[0][1], before[0][1] - (before[0][1] @ unit) * unit, atol=1e-6, rtol=1e-5)
    assert abs(float(after[2][3] @ vectors[2])) < 1e-5


def test_half_the_weight_takes_half() -> None:
    made = model()
    vectors = {1: torch.randn(32)}
    before = outputs(made, SHORT)[1][2]
    take_out(made, [Head(1, 2, 0.0)], vectors, weight=0.5)
    assert float(outputs(made, SHORT)[1][2] @ vectors[1].double()) == pytest.approx(
        0.5 * float(before @ vectors[1].double()), rel=1e-4
    )


def test_heads_that_bring_most_in_come_first() -> None:
    found = [torch.tensor([[1.0, 0.0], [3.0, 5.0]]), torch.tensor([[2.0, 9.0], [-4.0, 0.0]])]
    heads = ranked(found, {0: torch.tensor([1.0, 0.0]), 1: torch.tensor([1.0, 0.0])})
    assert [(h.layer, h.head, h.score) for h in heads] == [(0, 1, 3.0), (1, 0, 2.0), (0, 0, 1.0), (1, 1, -4.0)]
    assert {h.layer for h in ranked(found, {1: torch.tensor([1.0, 0.0])})} == {1}


@pytest.mark.parametrize("way", ["long", "short"])
def test_the_share_of_heads_that_bring_a_way_in_loses_it(way: Any) -> None:
    made = model()
    short, long = outputs(made, SHORT), outputs(made, LONG)
    sign, mine = (1, long) if way == "long" else (-1, short)
    vectors = {layer: sign * vector for layer, vector in directions(short, long).items()}
    expected = ranked(mine, vectors)[:3]
    heads = edit(made, SHORT, LONG, way=way, share=0.25)
    assert heads == expected
    assert all(head.score > 0 for head in heads)
    first = min(heads, key=lambda head: head.layer)  # heads behind it read another stream
    assert abs(float(outputs(made, LONG)[first.layer][first.head] @ vectors[first.layer])) < 1e-5
    assert len(edit(model(), SHORT, LONG, share=0.0)) == 1


def test_given_directions_are_those_of_long_thinking() -> None:
    vectors = {1: torch.randn(32)}
    heads = edit(model(), SHORT, LONG, share=1.0, vectors=vectors)
    assert {head.layer for head in heads} == {1}
    again = edit(model(), LONG, SHORT, way="short", share=1.0, vectors=vectors)
    assert [head.head for head in again] == [head.head for head in heads[::-1]]


def test_what_cannot_be_edited_is_refused() -> None:
    with pytest.raises(RequestError, match="no examples"):
        edit(model(), [], LONG)
    bloom = BloomConfig(vocab_size=97, hidden_size=32, n_layer=2, n_head=4)
    with pytest.raises(UnsupportedModel, match="o_proj"):
        edit(AutoModelForCausalLM.from_config(bloom), SHORT, LONG)


def test_the_edited_model_is_an_ordinary_checkpoint(tmp_path: Path) -> None:
    source = checkpoint.save(tmp_path / "source")
    text = load_text(source)
    engine = Engine(CausalLM.load(source), text, Methods(drafter="none"))
    items = [Item(f"{i}", "sum", f"What is {i} + 7?", "", lambda answer: len(answer) % 2 > 0) for i in range(3)]
    prompt = text.prompt("What is 1 + 7?")
    pair = Pair("", prompt, tuple(text.encode("So 8.</think>8")), tuple(text.encode("Let me see. 8, or 9?</think>8")))
    short, long = examples(text, [pair, pair])
    assert (len(short), len(long)) == (1, 1), "each text once"
    assert [text.piece(short[0][0][i]) for i in short[0][1]] == [*"So 8.", "</think>"]
    made = write(engine, str(source), tmp_path / "out", [pair], items, Limits(30), share=0.5)
    assert (made.of, len(made.heads)) == (8, 4)
    report = json.loads((tmp_path / "out" / "edit.json").read_text())
    assert report["heads"][0] == {"layer": made.heads[0].layer, "head": made.heads[0].head,
                                  "score": made.heads[0].score}  # fmt: skip
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    expected = AutoModelForCausalLM.from_pretrained(source)
    assert edit(expected, short, long, share=0.5) == list(made.heads)
    for name, value in theirs.state_dict().items():
        assert torch.equal(value, expected.state_dict()[name]), name
    assert AutoTokenizer.from_pretrained(tmp_path / "out").chat_template == text.tokenizer.chat_template
    again = Engine.load(tmp_path / "out", drafter="none")
    results = again.run([again.request(item.question, limits=Limits(30)) for item in items])
    assert made.after.thinking == sum(r.usage.thinking for r in results) / 3
    with pytest.raises(RequestError, match="not an empty"):
        write(engine, str(source), tmp_path / "out", [pair], items, Limits(30))
