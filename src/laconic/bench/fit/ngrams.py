"""``fit ngrams``: what a model thought on average after the last few tokens, in texts that it wrote."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
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
from laconic.errors import HeadError
from laconic.policy import registry
from laconic.speculation.base import HEARD
from laconic.speculation.drafters.few import NOTHING
from laconic.speculation.drafters.head.teacher import Teacher
from laconic.speculation.drafters.index import Index
from laconic.speculation.drafters.learned import About, Beliefs, Learned, Level, table_of, wide
from laconic.speculation.drafters.mixture import Guesses, Mixture
from laconic.speculation.drafters.ngrams import NGrams, half, shares

Ints = NDArray[np.int64]
_ROWS = 512
"""Tokens after which the model is asked at once what it thinks."""
_REHEARSED = 0.03
"""Share of the texts on which it is learned how far to believe what was counted in the others."""


@dataclass(frozen=True, slots=True)
class NGramRecipe:
    """What is counted: contexts of the lengths ``orders``, and after each the ``k`` likeliest tokens.

    ``tokens`` are written, ``batch`` texts at once, those that are drawn at the temperature ``heat``.
    """

    orders: tuple[int, ...] = (1, 2, 3)
    k: int = 8
    tokens: int = 400_000
    batch: int = 48
    heat: float = 0.7


def fit_ngrams(
    engine: Engine,
    batches: Batches | None,
    folder: Path,
    recipe: NGramRecipe | None = None,
    *,
    after: Callable[[str], Any] = lambda said: None,
    about: Mapping[str, Any] | None = None,
) -> Learned:
    """Let ``engine``'s target write texts into ``folder``, and count what it thought along them.

    Texts with their last layer's outputs that are there already, those of a head too, are gone on with; without
    ``batches`` they are all that is counted. Raises HeadError for texts of another model, and where there are none,
    UnmetNeed for a target that does not show its layers, or whose output is not a norm and a linear head behind them.
    """
    recipe = recipe or NGramRecipe()
    target = shown(engine)
    recipe = replace(recipe, k=min(recipe.k, target.vocab_size))
    if batches is None:
        texts = there(target, folder)
    else:
        layers = (shards.of(folder) or {}).get("layers") or (target.num_layers - 1,)
        texts = written(engine, batches, folder, recipe.tokens, recipe.batch, layers, after)
    teacher = Teacher(target, torch.arange(target.vocab_size), narrow=True)
    known_parts(teacher, target, torch.arange(target.vocab_size), texts)
    thought = thoughts(texts, teacher, recipe, after)
    after("learning how far to believe them")
    counted = max(len(texts) - max(1, round(_REHEARSED * len(texts))), 1)
    beliefs = rehearsed(texts, thought, counted, recipe, after)
    levels = levels_of(thought, recipe, after)
    return Learned(
        levels,
        About(
            target.fingerprint(),
            recipe.orders,
            recipe.k,
            len(texts.tokens),
            len(texts),
            tuple(len(each.contexts) for each in levels),
            beliefs,
            dict(about or {}),
            provenance(),
        ),
    )


def there(target: Any, folder: Path) -> Texts:
    """The texts in a folder, of this target."""
    said = shards.of(folder)
    if said is None:
        raise HeadError(f"there are no texts in '{folder}'.", "Name OUT/texts of laconic fit head, or leave it out.")
    if said["model"] != target.fingerprint() or max(said["layers"]) != target.num_layers - 1:
        raise HeadError(f"'{folder}' holds texts of another model.", "Leave it out, and this one writes its own.")
    return shards.read(shards.kept(folder))


@dataclass(frozen=True, slots=True)
class Thoughts:
    """Along texts: ``windows [n, HEARD]`` of the last tokens, ``tokens`` and log-probabilities ``logits [n, k]`` of
    what was likeliest next, and where each text ``begins``, with one more for the end.
    """

    windows: Ints
    tokens: Ints
    logits: NDArray[np.float32]
    begins: list[int]

    def up_to(self, text: int) -> Thoughts:
        """Those of the first texts."""
        end = self.begins[text]
        return Thoughts(self.windows[:end], self.tokens[:end], self.logits[:end], self.begins[: text + 1])


def thoughts(texts: Texts, teacher: Teacher, recipe: NGramRecipe, after: Callable[[str], Any]) -> Thoughts:
    """What the model thought after every token but the last of each text."""
    windows, tokens, logits, begins = [], [], [], [0]
    for done in range(len(texts)):
        text, features = texts.one(done)
        padded = np.array([*(NOTHING,) * (HEARD - 1), *text])
        windows.append(np.lib.stride_tricks.sliding_window_view(padded, HEARD)[: len(features)])
        for begin in range(0, len(features), _ROWS):
            values, found = teacher.likeliest(features[begin : begin + _ROWS, -1], recipe.k)
            tokens.append(found.cpu().numpy())
            logits.append(values.cpu().numpy())
        begins.append(begins[-1] + len(features))
        if done % 100 == 0:
            after(f"{done:,} of {len(texts):,} texts read")
    return Thoughts(np.concatenate(windows), np.concatenate(tokens), np.concatenate(logits), begins)


def levels_of(thought: Thoughts, recipe: NGramRecipe, after: Callable[[str], Any]) -> tuple[Level, ...]:
    """A level for each order."""
    found = []
    for order in recipe.orders:
        after(f"counting contexts of {order}")
        found.append(level(thought.windows[:, -order:], thought.tokens, thought.logits))
    return tuple(found)


def rehearsed(
    texts: Texts, thought: Thoughts, counted: int, recipe: NGramRecipe, after: Callable[[str], Any]
) -> Beliefs:
    """How far ``stand`` would believe the n-grams of the first ``counted`` texts by the end of the others.

    It goes along what was written there as it does while drafting, but that no refused draft teaches.
    """
    stand: Any = registry.build("drafter", "stand")
    table = table_of(levels_of(thought.up_to(counted), recipe, after), recipe.orders, stand.k)
    tables = NGrams(stand.orders, stand.k, stand.bits), table
    levels = len(stand.orders) + len(recipe.orders)
    mixtures = {kind: Mixture(levels, len(stand.text)) for kind in (True, False)}
    for number in range(counted, len(texts)):
        text, prompt = texts.one(number)[0], texts.prompts[number]
        rows = slice(thought.begins[number], thought.begins[number + 1])
        windows, tokens, logits = thought.windows[rows], thought.tokens[rows], thought.logits[rows]
        wrote = np.array(text[1:])
        greedy = bool((tokens[prompt - 1 :, 0] == wrote[prompt - 1 :]).all())
        index = Index(stand.text)
        for at in range(prompt - 1, len(wrote)):
            index.read(text[: at + 1])
            here = windows[at : at + 1]
            guesses = Guesses(*shares(tables, here, 1.0 if greedy else recipe.heat), index.followed(here))
            mixtures[greedy].learn(guesses, wrote[at : at + 1])
            tables[0].learn(
                here,
                wide(tokens[at : at + 1], stand.k, NOTHING),
                wide(logits[at : at + 1] - logits[at, 0], stand.k, -np.inf),
            )
        after(f"{number - counted + 1:,} of {len(texts) - counted:,} texts rehearsed")
    return Beliefs(stand.orders, stand.text, mixtures[True].weights, mixtures[False].weights)


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
    return Level(names[rare].astype(np.int32), found[rare], half(said[rare]))
