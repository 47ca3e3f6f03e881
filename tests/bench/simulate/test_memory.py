import pytest

from laconic.bench.cost import Anatomy
from laconic.bench.simulate.memory import Memory, Size
from laconic.errors import RequestError
from laconic.models.load import resolve

TARGET, DRAFT = Size(weights=1000, entry=8, logits=40), Size(weights=100, entry=2, logits=40)
BOTH = Memory(TARGET, DRAFT)


def test_bytes_by_hand():
    # Two requests of 10 and 20 tokens with drafts of 3: 8 nodes in the target's cache, 6 in the draft model's.
    caches, logits = 8 * 8 + 6 * 2, 8 * 40 + 6 * 40
    index, mask = 8 * 32, 8 * (20 + 4)
    assert BOTH.buffers(2, 3, 20) == caches + logits + index + mask
    assert BOTH.bytes([10, 20], 3) == 1100 + 30 * 10 + caches + logits + index + mask
    assert Memory(TARGET).bytes([10], 0) == 1000 + 80 + 8 + 40 + 32 + 11
    assert BOTH.bytes([], 5) == 1100


def test_bytes_grow_with_everything():
    base = BOTH.bytes([50, 60], 4)
    assert base < min(BOTH.bytes([50, 61], 4), BOTH.bytes([50, 60], 5), BOTH.bytes([50, 60, 1], 4))


@pytest.mark.parametrize("lengths", [[10], [10, 300], [64] * 32])
def test_the_largest_budget_is_the_largest(lengths):
    budgets = []
    for bound in range(1000, 200_000, 777):
        budget = BOTH.largest_budget(bound, lengths)
        budgets.append(-1 if budget is None else budget)
        if budget is None:
            assert BOTH.bytes(lengths, 0) > bound
        else:
            assert BOTH.bytes(lengths, budget) <= bound < BOTH.bytes(lengths, budget + 1)
    assert budgets == sorted(budgets)
    assert BOTH.largest_budget(1e9, lengths, most=7) == 7
    with pytest.raises(RequestError):
        BOTH.largest_budget(0, lengths)


def test_sizes_of_a_model():
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(resolve("bundled"))
    anatomy = Anatomy.of(config)
    size = Size.of(anatomy, config.vocab_size, weight_bytes=4, cache_bytes=4, logit_bytes=4)
    heads, dim = config.num_key_value_heads, config.head_dim
    assert size.entry == config.num_hidden_layers * 2 * heads * dim * 4
    assert size.weights == 4 * anatomy.parameters
    assert size.logits == 4 * config.vocab_size
