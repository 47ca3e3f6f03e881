"""The score of each method, on entries whose weights can be said by hand."""

from __future__ import annotations

import math
from typing import cast

import pytest
import torch
from torch import Tensor

import laconic.methods  # noqa: F401  (fills the registry)
from laconic.kv.base import Allocator, Layer, Telling, fitted
from laconic.kv.evict.rkv import redundancy
from laconic.kv.evict.steps import step_ends
from laconic.kv.keeping import Evicting, coarse
from laconic.models.past import Attention, CacheShape
from laconic.policy import registry
from tests import tiny

TEXT = tiny.text()


def layer(keys: Tensor, queries: Tensor, *, positions: list[int] | None = None, scale: float = 1.0) -> Layer:
    """One key head. ``keys [entries, dim]``; ``queries [n, heads, dim]`` are those of the last n tokens."""
    places = list(range(len(keys))) if positions is None else positions
    at = torch.tensor(places, dtype=torch.int32)[:, None]
    told = Telling([0] * (places[-1] + 1), 2, TEXT)
    return Layer(0, keys[:, None], keys[:, None].clone(), queries, at, places[-1] + 1, Attention(scale), told)


def weighted(*rows: list[float]) -> Layer:
    """Entries of which query i, one for each row, has the weights ``rows[i]``, as far as it can see."""
    size = len(rows[0])
    logs = torch.tensor([[math.log(w) if w else -1e4 for w in row] for row in rows])
    return layer(torch.eye(size), logs[:, None, :])


def score(spec: str, given: Layer) -> list[float]:
    policy = cast(Evicting, registry.build("kv", f"{spec},budget=64,every=2,sinks=0,recent=0" if ":" in spec else spec))
    return cast("list[float]", policy.score(given)[:, 0].tolist())


def test_weights_are_softmax_over_what_a_query_can_see() -> None:
    keys = torch.tensor([[1.0, 0], [0, 1], [1, 1], [2, 0]])
    queries = torch.tensor([[[1.0, 0], [0, 1]], [[0, 1], [1, 1]]])  # of the tokens at 2 and 3, two heads each
    found = layer(keys, queries, scale=0.5).weights[0]
    for head, at in ((0, 0), (0, 1), (1, 0), (1, 1)):
        logits = [float(queries[at, head] @ key) / 2 for key in keys[: 3 + at]]
        expected = [math.exp(x) / sum(map(math.exp, logits)) for x in logits] + [0.0] * (1 - at)
        assert found[head, at].tolist() == pytest.approx(expected, abs=1e-6)


def test_weights_go_by_positions_where_entries_have_gaps() -> None:
    """Entries of tokens 0, 5 and 6; the query of token 5 does not see 6."""
    found = layer(torch.eye(3), torch.zeros(2, 1, 3), positions=[0, 5, 6])
    assert found.asked_at.tolist() == [5, 6]
    assert found.weights[0, 0].tolist() == [pytest.approx([0.5, 0.5, 0]), pytest.approx([1 / 3] * 3)]


def test_streaming_keeps_the_newest() -> None:
    assert score("streaming-llm", layer(torch.eye(4), torch.zeros(0, 1, 4))) == [0, 1, 2, 3]


def test_key_norm_keeps_the_shortest_keys() -> None:
    keys = torch.tensor([[3.0, 4], [1, 0], [0, 2]])
    assert score("key-norm", layer(keys, torch.zeros(0, 1, 2))) == [-5, -1, -2]


def test_random_is_a_lot_for_each_place_head_and_seed() -> None:
    given = layer(torch.eye(300), torch.zeros(0, 1, 300))
    one, other = score("random:seed=1", given), score("random:seed=2", given)
    assert one == score("random:seed=1", given)
    assert len(set(one)) > 295
    assert 0.4 < sum(one) / 300 < 0.6
    assert abs(torch.corrcoef(torch.tensor([one, other]))[0, 1]) < 0.2
    later = layer(torch.eye(200), torch.zeros(0, 1, 200), positions=list(range(100, 300)))
    assert score("random:seed=1", later) == one[100:]


def test_tova_reads_the_last_query_alone() -> None:
    assert score("tova", weighted([0.7, 0.2, 0.1, 0], [0.1, 0.2, 0.3, 0.4])) == pytest.approx([0.1, 0.2, 0.3, 0.4])


def test_h2o_adds_up_and_goes_on_adding() -> None:
    given = weighted([0.7, 0.2, 0.1, 0], [0.1, 0.2, 0.3, 0.4])
    assert score("h2o", given) == pytest.approx([0.8, 0.4, 0.4, 0.4])
    assert given.memory["attended"][:, 0].tolist() == pytest.approx([0.8, 0.4, 0.4, 0.4])
    assert score("h2o", given) == pytest.approx([1.6, 0.8, 0.8, 0.8])
    # four, three, two and one query could see them
    again = weighted([0.7, 0.2, 0.1, 0], [0.1, 0.2, 0.3, 0.4])
    assert score("h2o:mean=1", again) == pytest.approx([0.8 / 4, 0.4 / 3, 0.4 / 2, 0.4])


def test_global_local_scales_the_last_queries_to_the_sum_over_all() -> None:
    """Sums 0.8, 0.4, 0.4, 0.4, of mean 0.5; the last query has a mean of 0.25, so that it counts twice."""
    given = weighted([0.7, 0.2, 0.1, 0], [0.1, 0.2, 0.3, 0.4])
    found = score("global-local:window=1", given)
    assert found == pytest.approx([0.8 + 0.2, 0.4 + 0.4, 0.4 + 0.6, 0.4 + 0.8])
    assert given.memory["attended"][:, 0].tolist() == pytest.approx([0.8, 0.4, 0.4, 0.4])
    both = weighted([0.7, 0.2, 0.1, 0], [0.1, 0.2, 0.3, 0.4])
    assert score("global-local:window=2", both) == pytest.approx([1.6, 0.8, 0.8, 0.8])


def test_snapkv_averages_over_the_window_and_its_neighbours() -> None:
    """Means of the two queries: 0.4, 0.2, 0.2 for the entries before the window; pooled over three, padded with 0."""
    given = weighted([0.6, 0.2, 0.1, 0.1, 0], [0.2, 0.2, 0.3, 0.1, 0.2])
    found = score("snapkv:window=2,kernel=3", given)
    assert found[:3] == pytest.approx([(0 + 0.4 + 0.2) / 3, (0.4 + 0.2 + 0.2) / 3, (0.2 + 0.2 + 0) / 3])
    assert found[3] == found[4] > max(found[:3])


def test_snapkv_averages_over_the_heads_of_a_group() -> None:
    keys, queries = torch.eye(3), torch.zeros(1, 2, 3)
    queries[0, 0, 0], queries[0, 1, 1] = math.log(2), math.log(2)  # weights 1/2 1/4 1/4 and 1/4 1/2 1/4
    assert score("snapkv:window=1,kernel=1", layer(keys, queries))[:2] == pytest.approx([0.375, 0.375])


def test_r_kv_weighs_attention_against_repetition() -> None:
    """Two pairs of equal keys: of each the newer one is not redundant, and what is attended to comes before."""
    keys = torch.tensor([[1.0, 0], [0, 1], [1, 0], [0, 1], [1, 1]])
    found = redundancy(keys[:, None], 0.9, 1)[0].tolist()
    # a key like another loses it to the newer: the column of the newer one is 0 in the row of the older
    half = math.sqrt(0.5)
    raw = [(1 + half) / 5, (1 + half) / 5, half / 5, half / 5, 4 * half / 5]
    shares = [math.exp(x) for x in raw]
    assert found == pytest.approx([x / sum(shares) for x in shares], abs=1e-6)
    queries = torch.tensor([[[0.0, math.log(3)]]])
    scores = score("r-kv:window=1,kernel=1,weight=0.5,alike=0.9", layer(keys, queries))
    assert scores[3] > scores[1] > scores[0]
    assert scores[3] > scores[2] > scores[0]
    assert scores[4] > scores[3]


def test_lazy_eviction_measures_by_an_entrys_own_pauses() -> None:
    """Queries of tokens 2 to 5. Entry 0 is looked at at 2 and 5 (pauses 2, 3), entry 1 at 2 alone (pause 1)."""
    rows = [[0.5, 0.4, 0.1, 0, 0, 0], [0, 0, 0.9, 0.1, 0, 0], [0, 0, 0.1, 0.8, 0.1, 0], [0.9, 0, 0, 0, 0, 0.1]]
    given = weighted(*rows)
    found = score("lazy-eviction:spike=0.3", given)
    assert given.memory["last"][:, 0].tolist() == [5, 2, 3, 4, 4, 5]
    assert given.memory["pause"][:, 0].tolist() == [3, 1, 1, 1, 0, 0]
    assert found == pytest.approx([-1 / 3, -4, -3, -2, -2, -1])


def test_steps_keep_question_results_and_the_step_under_way() -> None:
    said = "What is 2+2?" + "First I add.\n\n" + "It is 4.\n\n" + "So"
    tokens = TEXT.encode(said)
    prompt = len(TEXT.encode("What is 2+2?"))
    told = Telling(tokens, prompt, TEXT)
    ends = step_ends(told, len(tokens))
    assert [TEXT.decode(tokens[:end]) for end in ends] == [said[: said.index("It")], said[: said.index("So")]]
    given = layer(torch.eye(len(tokens)), torch.zeros(1, 1, len(tokens)))
    given.told = told
    found = score("steps:result=4,window=1", given)
    # the question is more than a quarter of the text, and stays by its attention alone; results and the rest come first
    last, before = found[ends[1] - 4 : ends[1]], found[ends[0] - 4 : ends[0]]
    assert min(found[ends[1] :]) > max(last)
    assert min(last) > max(before)
    assert min(before) > max(found[: ends[0] - 4])


def test_equal_scores_stay_equal_whatever_rounding_did() -> None:
    near = torch.tensor([[1.0], [1.0 + 1e-6], [0.5], [math.inf], [-2.0]])
    found = coarse(near)
    assert found[0] == found[1]
    assert found.flatten().tolist() == pytest.approx([1, 1, 0.5, math.inf, -2], rel=1e-3)


def shares(spec: str, total: int, scores: list[list[float]], least: int = 1) -> list[int]:
    made = cast(Allocator, registry.build("allocator", spec))
    return made.shares(total, [torch.tensor(each)[:, None] for each in scores], least)


def test_layers_share_evenly_or_as_a_pyramid() -> None:
    flat = [[0.0] * 20] * 4
    assert shares("uniform", 40, flat) == [10, 10, 10, 10]
    assert shares("uniform", 41, [[0.0] * 3, *flat[:3]]) == [3, 13, 13, 12]
    # beyond one each: a mean of 9, the highest layer 9/3, the lowest 15, in even steps of 4
    assert shares("pyramid:beta=3", 40, flat) == [16, 12, 8, 4]
    assert shares("pyramid:beta=1", 40, flat) == [10, 10, 10, 10]
    assert shares("pyramid:beta=20", 72, flat)[0] == 20


def test_prefix_keeps_one_share_of_every_layers_importance() -> None:
    """One layer has all of it in one entry, the other evenly in ten: a threshold of one half is 1 and 5 of them."""
    peaked, even = [1.0] + [0.0] * 9, [0.0] * 10
    found = shares("prefix", 8, [peaked, even], least=1)
    assert sum(found) == 8
    assert found[1] > 2 * found[0]


def test_dynamic_goes_by_where_the_best_lie() -> None:
    """Shares of their sums: 0.9 and the rest of 0.1 over nine; 0.2 five times, nothing else."""
    one, other = [0.9] + [0.1 / 9] * 9 + [0.0], [0.2] * 5 + [0.0] * 6
    assert shares("dynamic", 6, [one, other]) == [1, 5]


def test_numbers_that_sum_up_within_their_bounds() -> None:
    assert fitted([1, 1, 2], 8, [10, 10, 10], 0) == [2, 2, 4]
    assert fitted([5, 5], 100, [3, 4], 1) == [3, 4]
    assert sum(fitted([0.1, 0.7, 0.7], 5, [9, 9, 9], 0)) == 5
    assert fitted([0, 0, 9], 6, [9, 9, 9], 2) == [2, 2, 2]


def test_a_budget_of_bytes_counts_all_that_is_held() -> None:
    shape = CacheShape(layers=4, heads=8, kv_heads=2, head_dim=32, itemsize=2)
    assert shape.token_nbytes == 4 * 2 * 2 * 32 * 2
    made = cast(Evicting, registry.build("kv", "h2o:budget=1e6,every=16,recent=8,seen=32")).within(1 << 20, shape)
    each = 2 * 2 * 32 * 2 + 4 * 2 * 2  # keys and values; a position and a sum for each key head
    assert made.budget == ((1 << 20) - 32 * 8 * 32 * 2 * 4) // (4 * each)
    assert made.stepwise
    windowed = CacheShape(layers=4, heads=8, kv_heads=2, head_dim=32, itemsize=2, windows=(128, 128))
    assert (
        cast(Evicting, registry.build("kv", "key-norm:budget=1e6")).within(1 << 20, windowed).budget < 2 * made.budget
    )
