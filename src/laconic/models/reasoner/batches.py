"""From training examples to padded batches of tokens and loss weights."""

import itertools
from collections.abc import Iterator
from random import Random
from typing import TYPE_CHECKING

import torch

from .corpus import Example

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

WORDS = 0.3  # the weight of what is no digit: which of many wordings comes next is noise that drowns the sums

Batch = tuple[torch.Tensor, torch.Tensor]  # tokens and loss weights, [batch, length]


def batches(tokenizer: "PreTrainedTokenizerFast", source: Iterator[Example], size: int, seed: int) -> Iterator[Batch]:
    """Endless batches of about `size` tokens, examples of like length together, padded on the right."""
    rng, pad = Random(seed), tokenizer.pad_token_id
    digits = frozenset(tokenizer.convert_tokens_to_ids(list("0123456789")))
    while True:
        rows = sorted(
            (_encode(tokenizer, one, digits) for one in itertools.islice(source, 1024)), key=lambda row: len(row[0])
        )
        pool: list[list[tuple[list[int], list[float]]]] = [[]]
        for row in rows:
            if pool[-1] and (len(pool[-1]) + 1) * len(row[0]) > size:
                pool.append([])
            pool[-1].append(row)
        rng.shuffle(pool)
        for group in pool:
            longest = max(len(tokens) for tokens, _ in group)
            tokens = torch.tensor([tokens + [pad] * (longest - len(tokens)) for tokens, _ in group])
            weights = torch.tensor([weights + [0.0] * (longest - len(weights)) for _, weights in group])
            yield tokens, weights


def _encode(
    tokenizer: "PreTrainedTokenizerFast", one: Example, digits: frozenset[int]
) -> tuple[list[int], list[float]]:
    encoding = tokenizer.backend_tokenizer.encode("".join(text for text, _ in one.pieces), add_special_tokens=False)
    ends = list(itertools.accumulate(len(text) for text, _ in one.pieces))
    tokens: list[int] = encoding.ids
    weights: list[float] = []
    piece = 0
    for token, (_, end) in zip(tokens, encoding.offsets, strict=True):
        while ends[piece] < end:
            piece += 1  # a token belongs to the piece in which it ends
        weight = one.pieces[piece][1]
        weights.append(weight if token in digits else weight * WORDS)
    return tokens, weights
