"""What becomes of entries that go: by hand, against loops in NumPy, and what it means for rotated keys."""

from __future__ import annotations

import math
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import Qwen3Config
from transformers.models.qwen3.modeling_qwen3 import Qwen3RotaryEmbedding, apply_rotary_pos_emb

import laconic.methods  # noqa: F401  (fills the registry)
from laconic.kv.base import Layer, Merger, Parting, Telling
from laconic.kv.keeping import Evicting, Evictor
from laconic.kv.lots import lots
from laconic.models.causal_lm import CausalLM
from laconic.models.past import Attention, CacheShape, Held
from laconic.policy import registry
from tests import tiny
from tests.kv.methods import fit, opened, policy

E = math.e


def merger(spec: str) -> Merger:
    return cast(Merger, registry.build("merger", spec))


def parting(
    keys: Tensor, values: Tensor, stays: list[list[int]], *, queries: Tensor | None = None, scores: Tensor | None = None
) -> Parting:
    """``keys``, ``values [entries, kv_heads, dim]``; ``stays`` head by head."""
    count, heads = keys.shape[:2]
    at = torch.arange(count, dtype=torch.int32)[:, None].expand(-1, heads)
    asked = torch.zeros(0, heads, keys.shape[-1]) if queries is None else queries
    layer = Layer(0, keys, values, asked, at, count, Attention(1.0), Telling([0] * count, 1, None))
    return Parting(layer, torch.zeros(count, heads) if scores is None else scores, torch.tensor(stays).T, {})


def one(rows: list[list[float]]) -> Tensor:
    """Rows of one key head."""
    return torch.tensor(rows)[:, None]


def attending(weights: list[float], size: int) -> Tensor:
    """A query, of one head, that gives entries with the keys of an identity matrix these weights."""
    logs = torch.full((1, 1, size), -1e4)
    logs[0, 0, : len(weights)] = torch.tensor([math.log(w) if w else -1e4 for w in weights])
    return logs


def near(found: Tensor, expected: Any) -> None:
    torch.testing.assert_close(found, torch.as_tensor(expected, dtype=found.dtype), rtol=1e-5, atol=1e-6)


def test_what_stays_and_what_goes() -> None:
    """Places of two heads that keep others."""
    given = parting(torch.randn(5, 2, 3), torch.randn(5, 2, 3), [[0, 2, 4], [1, 2, 3]])
    assert given.goes.T.tolist() == [[1, 3], [0, 4]]
    assert torch.equal(given.keys(given.goes)[1, 0], given.layer.keys[3, 0])
    assert torch.equal(given.values(given.goes)[1, 1], given.layer.values[4, 1])
    keys, values = merger("drop").merged(given)
    assert torch.equal(keys[2, 1], given.layer.keys[3, 1])
    assert torch.equal(values[2, 0], given.layer.values[4, 0])


def test_d2o_by_hand() -> None:
    """Cosines with the nearest kept key are 1, 0.8 and 0.6; their mean is 0.8, so that the last is dropped."""
    keys = one([[1, 0, 0], [0, 2, 0], [3, 0, 0], [0, 0.8, 0.6], [0.6, 0, 0.8]])
    values = one([[1, 0], [0, 1], [5, 0], [0, 7], [100, 100]])
    given = parting(keys, values, [[0, 1]])
    found = merger("d2o").merged(given)
    w = math.exp(0.8)
    near(given.state["threshold"], [0.8])
    near(found[0][:, 0], [[(1 + 3) / 2, 0, 0], [0, (E * 2 + w * 0.8) / (E + w), w * 0.6 / (E + w)]])
    near(found[1][:, 0], [[(1 + 5) / 2, 0], [0, (E + w * 7) / (E + w)]])
    values_alone = merger("d2o:keys=0").merged(parting(keys, values, [[0, 1]]))
    assert torch.equal(values_alone[0], keys[:2])
    near(values_alone[1], found[1])


def test_d2o_remembers_its_threshold() -> None:
    """After a first mean of 0.2 a second one of 0.8 makes 0.7 * 0.8 + 0.3 * 0.2 = 0.62, which 0.6 does not reach."""
    keys = one([[1, 0], [1, 0], [0.6, 0.8]])
    given = parting(keys, keys.clone(), [[0]])
    given.state["threshold"] = before = torch.tensor([0.2])
    found = merger("d2o").merged(given)
    near(given.state["threshold"], [0.62])
    assert before.tolist() == [pytest.approx(0.2)]  # copies of the request share it
    near(found[0][:, 0], [[1, 0]])
    first = merger("d2o:smooth=0.5").merged(parting(keys, keys.clone(), [[0]]))
    near(first[1][:, 0], [[1, 0]])
    lower = parting(keys, keys.clone(), [[0]])
    lower.state["threshold"] = torch.tensor([-1.0])
    assert merger("d2o:smooth=0.5").merged(lower)[1][0, 0, 1] > 0  # 0.5 * 0.8 - 0.5 lets both in


def test_d2o_against_loops() -> None:
    dice = np.random.default_rng(3)
    keys, values = dice.normal(size=(2, 40, 3, 8)).astype(np.float32)
    stays = [sorted(dice.choice(40, 15, replace=False).tolist()) for _ in range(3)]
    found = merger("d2o").merged(parting(torch.from_numpy(keys), torch.from_numpy(values), stays))
    for head, kept in enumerate(stays):
        pairs = []
        for i in sorted(set(range(40)) - set(kept)):
            cosines = [
                keys[i, head] @ keys[j, head] / np.linalg.norm(keys[i, head]) / np.linalg.norm(keys[j, head])
                for j in kept
            ]
            pairs.append((i, int(np.argmax(cosines)), max(cosines)))
        mean = np.mean([u for _, _, u in pairs])
        for which, all_of in enumerate((keys, values)):
            for place, j in enumerate(kept):
                mine = [(i, u) for i, at, u in pairs if at == place and u >= mean]
                total = E * all_of[j, head] + sum(np.exp(u) * all_of[i, head] for i, u in mine)
                expected = total / (E + sum(np.exp(u) for _, u in mine))
                np.testing.assert_allclose(found[which][place, head].numpy(), expected, rtol=1e-4, atol=1e-5)


def test_cam_by_hand() -> None:
    """Entry 1 got more than the mean of the two kept after it, and is spread; entry 4 got nothing."""
    keys, values = torch.eye(6)[:, None], torch.arange(12.0).view(6, 1, 2)
    given = parting(keys, values, [[0, 2, 3, 5]], queries=attending([0.1, 0.5, 0.2, 0.1, 0.0, 0.1], 6))
    found = merger("cam:spread=2").merged(given)
    assert torch.equal(found[0], keys[[0, 2, 3, 5]])
    half = values[1, 0] / 2
    near(found[1][:, 0], torch.stack([values[0, 0], values[2, 0] + half, values[3, 0] + half, values[5, 0]]))
    last = parting(keys, values, [[0, 1, 2, 3]], queries=attending([0.1, 0.1, 0.1, 0.1, 0.3, 0.3], 6))
    assert torch.equal(merger("cam").merged(last)[1], values[:4])  # nothing follows


def test_cam_changes_nothing_on_average() -> None:
    """A third of the attention that kept ones get: by lot one in three is spread.

    900 lots: a frequency further than 0.0707 from 1/3 is 4.5 deviations off.
    """
    keys, values = torch.zeros(1201, 1, 2), torch.ones(1201, 1, 2)
    keys[0::4, :, 1], keys[1200] = -math.log(3), 0.0
    given = parting(keys, values, [[*range(0, 1200, 4), 1200]], queries=torch.tensor([[[0.0, 1.0]]]))
    assert given.goes.shape == (900, 1)
    attended = given.layer.weights[0, 0, 0]
    assert float(attended[1] / attended[4]) == pytest.approx(3, rel=1e-4)
    weighty = merger("cam:spread=1").merged(given)[1].sum() - 2 * 301
    assert weighty.item() == 2 * 900  # goers got three times as much
    keys[0::4, :, 1], keys[1200] = math.log(3), torch.tensor([[0.0, math.log(3)]])
    light = parting(keys, values, [[*range(0, 1200, 4), 1200]], queries=torch.tensor([[[0.0, 1.0]]]))
    spread = (merger("cam:spread=1").merged(light)[1].sum() - 2 * 301) / 2 / 900
    assert spread.item() == pytest.approx(1 / 3, abs=0.0707)
    again = (merger("cam:spread=1,seed=1").merged(light)[1].sum() - 2 * 301) / 2 / 900
    assert again != spread


def test_lots_are_those_of_places() -> None:
    at = torch.arange(300, dtype=torch.int32)[:, None].expand(-1, 2)
    assert torch.equal(lots(at, 0, 1)[100:], lots(at[100:], 0, 1))
    assert not torch.equal(lots(at, 0, 1), lots(at, 1, 1))


def test_ems_by_hand() -> None:
    """Of four goers the two with the best scores may be folded; the second of these is like nobody."""
    keys = one([[2, 0], [0, 1], [4, 0], [1, 0], [0, 1], [-1, 0]])
    values = one([[1, 0], [0, 1], [3, 0], [2, 0], [0, 1], [-1, 0]])
    scores = torch.tensor([[9.0], [9], [2], [1], [0], [3]])
    queries = torch.tensor([[[math.log(2), 0.0]]])  # weights 4, 1, 16, 2, 1, 1/2
    given = parting(keys, values, [[0, 1]], queries=queries, scores=scores)
    keys_, values_ = merger("ems:band=0.5").merged(given)
    near(values_[:, 0], [[(4 * 1 + 16 * 3) / 20, 0], [0, 1]])
    near(keys_[:, 0], [[(4 * 2 + 16 * 4) / 20, 0], [0, 1]])
    assert torch.equal(keys_[1], keys[1])
    more = merger("ems:band=1").merged(parting(keys, values, [[0, 1]], queries=queries, scores=scores))[1]
    near(more[:, 0], [[(4 * 1 + 16 * 3 + 2 * 2) / 22, 0], [0, 1]])  # keys and values turned round are not alike


def test_ems_keeps_lengths_where_directions_differ() -> None:
    """Keys of length 2 and 4 at 60 degrees, weighed evenly: between them, and 3 long; a plain mean were shorter."""
    keys = one([[2, 0, 0], [2, 2 * math.sqrt(3), 0]])
    given = parting(keys, one([[1, 0], [1, 0]]), [[0]], queries=torch.zeros(1, 1, 3), scores=torch.zeros(2, 1))
    found = merger("ems:band=1,alike=0.4").merged(given)[0][0, 0]
    near(found, [3 * math.cos(math.pi / 6), 3 * math.sin(math.pi / 6), 0])
    assert float(keys.mean(0).norm()) < 2.7


def rotated(key: Tensor, positions: list[int]) -> Tensor:
    """``key [dim]`` as a Qwen3 writes it into its cache at each of the positions."""
    config = Qwen3Config(head_dim=len(key), hidden_size=len(key), num_attention_heads=1)
    cos, sin = Qwen3RotaryEmbedding(config)(key, torch.tensor([positions]))
    whole = key.expand(1, 1, len(positions), -1)
    return cast(Tensor, apply_rotary_pos_emb(whole, whole, cos, sin)[0][0, 0])


def test_a_mean_of_rotated_keys_gives_every_query_the_mean_of_its_products() -> None:
    """Each at its own place: which the same mean of keys that were turned to one place does not."""
    torch.manual_seed(0)
    one_, other, query = torch.randn(3, 16)
    here, there = rotated(one_, [40]), rotated(other, [9])
    cached = torch.cat([here, there])[:, None]
    found = merger("d2o").merged(parting(cached, torch.zeros(2, 1, 2), [[0]]))[0][0, 0]
    u = float(torch.cosine_similarity(here[0], there[0], dim=0))
    share = math.exp(u) / (E + math.exp(u))
    moved = (1 - share) * here[0] + share * rotated(other, [40])[0]
    off = 0.0
    for asked in rotated(query, [41, 100, 500]):
        near(asked @ found, (1 - share) * (asked @ here[0]) + share * (asked @ there[0]))
        off = max(off, float((asked @ moved - asked @ found).abs()))
    assert off > 0.5


def test_one_content_is_the_less_alike_the_further_apart_it_was_written() -> None:
    """And a mean of it is shorter than it was, unless lengths are kept apart from directions."""
    key = torch.ones(16)
    cached = rotated(key, [0, 1, 8, 60])
    alike = [float(torch.cosine_similarity(cached[0], other, dim=0)) for other in cached]
    assert alike[0] == pytest.approx(1)
    assert alike[0] > alike[1] > alike[2] > alike[3]
    pair = cached[[0, 3]][:, None]
    found = merger("d2o").merged(parting(pair, torch.zeros(2, 1, 2), [[0]]))[0]
    assert found.norm() < 0.9 * key.norm()


@pytest.mark.parametrize("evictor", ["snapkv", "h2o", "r-kv", "tova", "streaming-llm"])
@pytest.mark.parametrize("name", ["d2o", "cam:window=20", "ems:window=20,alike=0.1"])
@torch.inference_mode()
def test_a_merger_has_no_say_in_who_stays(evictor: str, name: str) -> None:
    """The score reads its own queries, however many the merger wants to see; and something is merged."""
    model = CausalLM(tiny.model())
    tokens = [(7 * i) % 200 for i in range(60)]
    places, entries = [], []
    for merge in ("drop", name):
        slot = opened(model, policy(evictor, f"merge=[{merge}]"), tokens, 60)
        model.prefill(slot, tokens[:59])
        fit(slot)
        assert slot.past is not None
        places.append(cast(Evictor, slot.keeper)._positions)
        entries.append([layer.dense()[1] for layer in slot.past.layers if layer is not None])
        slot.close()
    for one_, other in zip(*places, strict=True):
        assert one_ is not None
        assert other is not None
        assert torch.equal(one_, other)
    assert not any(torch.equal(one_, other) for one_, other in zip(*entries, strict=True))


@pytest.mark.parametrize("name", ["d2o", "cam", "ems:alike=0.01"])
def test_a_layer_of_which_nothing_goes_stays_as_it_is(name: str) -> None:
    """Of 36 entries in two layers a pyramid would give the first 34, which is more than the 20 that it has."""
    spec = f"key-norm:budget=20,every=2,sinks=0,recent=1,layers=[pyramid],merge=[{name}]"
    made = cast(Evicting, registry.build("kv", spec))
    dice = torch.Generator().manual_seed(0)
    held = []
    for _ in range(2):
        keys, values = torch.randn(2, 20, 1, 4, generator=dice)
        held.append(Held(keys, values, torch.zeros(min(made.looks, 20), 1, 4), 0, Attention(1.0)))
    keeper = made.start(Telling([0] * 30, 2, None))
    assert keeper.stop == 20
    past = keeper.reduce(20, held)
    assert past is not None
    first, second = past.layers
    assert first is not None
    assert second is not None
    assert (first.count, second.count) == (20, 16)
    assert torch.equal(first.dense()[0], held[0].keys)
    assert torch.equal(first.dense()[1], held[0].values)
    stays = keeper._positions[1]
    assert stays is not None
    assert not torch.equal(second.dense()[1], held[1].values[stays[:, 0].long()])


def test_a_merger_looks_at_queries_that_its_evictor_does_not() -> None:
    made = cast(Evicting, registry.build("kv", "streaming-llm:merge=[cam:window=20]"))
    assert (made.reads, made.looks) == (0, 20)
    snap = cast(Evicting, registry.build("kv", "snapkv:window=32,merge=[cam:window=20]"))
    assert (snap.reads, snap.looks) == (32, 32)
    shape = CacheShape(layers=4, heads=8, kv_heads=2, head_dim=32, itemsize=2)
    plain = cast(Evicting, registry.build("kv", "streaming-llm:budget=1e6")).within(1 << 20, shape)
    each = 4 * (shape.entry_nbytes + 4 * 2)
    looking = cast(Evicting, registry.build("kv", "streaming-llm:budget=1e6,merge=[cam:window=20]"))
    assert plain.budget - looking.within(1 << 20, shape).budget == pytest.approx(20 * 8 * 32 * 2 * 4 / each, abs=1)
