"""``fit ngrams``: what a model thought on average after the last few tokens, in texts that it wrote."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from laconic.bench.fit import shards
from laconic.bench.fit.head_run import Batches, shown, written
from laconic.bench.fit.shards import Texts
from laconic.bench.fit.teacher import known_parts
from laconic.bench.provenance import provenance
from laconic.engine import Engine
from laconic.models.largest import largest
from laconic.speculation.drafters.few import NOTHING
from laconic.speculation.drafters.head.teacher import Teacher
from laconic.speculation.drafters.learned import About, Learned, Level

Ints = NDArray[np.int64]
_ROWS = 512
"""Tokens after which the model is asked at once what it thinks."""


@dataclass(frozen=True, slots=True)
class NGramRecipe:
    """What is counted: contexts of the lengths ``orders``, and after each the ``k`` likeliest tokens.

    ``tokens`` are written, ``batch`` texts at once.
    """

    orders: tuple[int, ...] = (1, 2, 3)
    k: int = 8
    tokens: int = 400_000
    batch: int = 48


def fit_ngrams(
    engine: Engine,
    batches: Batches,
    folder: Path,
    recipe: NGramRecipe | None = None,
    *,
    after: Callable[[str], Any] = lambda said: None,
    about: Mapping[str, Any] | None = None,
) -> Learned:
    """Let ``engine``'s target write texts into ``folder``, and count what it thought along them.

    Texts with their last layer's outputs that are there already, those of a head too, are gone on with. Raises
    UnmetNeed for a target that does not show its layers, or whose output is not a norm and a linear head behind them.
    """
    recipe = recipe or NGramRecipe()
    target = shown(engine)
    layers = shards.layers(folder) or (target.num_layers - 1,)
    texts = written(engine, batches, folder, recipe.tokens, recipe.batch, layers, after)
    teacher = Teacher(target, torch.arange(target.vocab_size))
    known_parts(teacher, target, torch.arange(target.vocab_size), texts)
    windows, tokens, logits = thoughts(texts, teacher, recipe, after)
    levels = []
    for order in recipe.orders:
        after(f"counting contexts of {order}")
        levels.append(level(windows[:, -order:], tokens, logits))
    return Learned(
        tuple(levels),
        About(
            target.fingerprint(),
            recipe.orders,
            recipe.k,
            len(texts.tokens),
            len(texts),
            tuple(len(each.contexts) for each in levels),
            dict(about or {}),
            provenance(),
        ),
    )


def thoughts(
    texts: Texts, teacher: Teacher, recipe: NGramRecipe, after: Callable[[str], Any]
) -> tuple[Ints, Ints, NDArray[np.float32]]:
    """Along all texts: windows ``[n, most]`` of the last tokens, the ``k`` likeliest next ones, and their
    log-probabilities ``[n, k]``.
    """
    most = max(recipe.orders)
    windows, tokens, logits = [], [], []
    for done, (text, features) in enumerate(_parts(texts)):
        values, found = largest(teacher(features[:, -1]), min(recipe.k, teacher.width))
        padded = np.array([*(NOTHING,) * (most - 1), *text])
        windows.append(np.lib.stride_tricks.sliding_window_view(padded, most)[: len(features)])
        tokens.append(found.numpy())
        logits.append(values.numpy())
        if done % 100 == 0:
            after(f"{done:,} of {len(texts):,} texts read")
    return np.concatenate(windows), np.concatenate(tokens), np.concatenate(logits)


def _parts(texts: Texts) -> Iterator[tuple[list[int], torch.Tensor]]:
    for i in range(len(texts)):
        tokens, features = texts.one(i)
        for begin in range(0, len(features), _ROWS):
            # Contexts that reach back beyond a part are lost, which are few.
            yield tokens[begin : begin + _ROWS], features[begin : begin + _ROWS]


def level(contexts: Ints, tokens: Ints, logits: NDArray[np.float32]) -> Level:
    """The mean distribution after each different context, ``k`` tokens of it, rare contexts first.

    Of a token that was not among the likeliest at some places, those places count as nothing.
    """
    k = tokens.shape[1]
    whole = (contexts != NOTHING).all(1)
    contexts, tokens, chances = contexts[whole], tokens[whole], np.exp(logits[whole].astype(np.float64))
    names, numbers, often = np.unique(contexts, axis=0, return_inverse=True, return_counts=True)
    width = int(tokens.max(initial=0)) + 1
    pairs, places = np.unique((numbers.reshape(-1, 1) * width + tokens).ravel(), return_inverse=True)
    sums = np.bincount(places.ravel(), weights=chances.ravel())
    of, which = pairs // width, pairs % width
    order = np.lexsort((-sums, of))
    of, which, sums = of[order], which[order], sums[order]
    rank = np.arange(len(of)) - np.searchsorted(of, of)
    kept = rank < k
    found = np.full((len(names), k), NOTHING, dtype=np.int32)
    shares = np.zeros((len(names), k))
    found[of[kept], rank[kept]], shares[of[kept], rank[kept]] = which[kept], sums[kept]
    with np.errstate(divide="ignore"):
        said = np.log(shares / often[:, None])
    said -= said[:, :1].copy()
    rare = np.argsort(often, kind="stable")
    return Level(names[rare].astype(np.int32), found[rare], np.maximum(said[rare], -60_000.0).astype(np.float16))
