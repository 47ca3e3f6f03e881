"""``fit``: from a pair of models and some problems to a trained head with its measures."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Literal, cast

import torch
import torch.nn.functional as F

from laconic.bench.fit.examples import Examples, acceptance, lengths
from laconic.bench.fit.learn import acceptance_measures, learn, length_measures, weighted_cross_entropy
from laconic.bench.fit.split import split
from laconic.bench.fit.texts import Text, write
from laconic.bench.provenance import provenance
from laconic.engine import Engine
from laconic.errors import UnknownMethod, UnmetNeed, did_you_mean
from laconic.models.base import LanguageModel, ShowsHidden
from laconic.speculation.heads import About, Trained
from laconic.types import Request

METHODS = ("specdec++", "ada-eagle")
"""Methods that go by a trained head."""
_WIDEST = 512
"""Most units of a hidden layer of ``ada-eagle``'s head."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a head is trained. ``held_out`` is the share of texts kept for the measures.

    ``weight`` (of refusals) and ``mixing`` (share of tokens read that are the target's) are SpecDec++'s and have the
    paper's values, as has ``state`` (see About); ``most`` is the longest draft that ``ada-eagle`` learns to tell from
    shorter ones, in tokens.
    """

    epochs: int = 20
    layers: int = 3
    weight: float = 6.0
    mixing: float = 0.15
    state: Literal["at", "before"] = "at"
    most: int = 20
    held_out: float = 0.2
    seed: int = 0


def fit(
    method: str,
    engine: Engine,
    requests: Sequence[Request],
    recipe: Recipe | None = None,
    *,
    batch: int = 16,
    after: Callable[[str], Any] = lambda said: None,
    about: dict[str, Any] | None = None,
) -> Trained:
    """Let ``engine``'s target answer ``requests``, read along with its draft model, and train ``method``'s head.

    ``after`` is told what has been done, ``about`` goes into the head's description. The last texts are held out.
    Raises UnknownMethod, UnmetNeed where a model is missing or shows no hidden states, and TaskError for too few texts.
    """
    if method not in METHODS:
        raise UnknownMethod(f"no method with a trained head is called '{method}'.", did_you_mean(method, METHODS))
    recipe = recipe or Recipe()
    target, draft = engine.target, engine.draft_model
    if draft is None:
        raise UnmetNeed("a head is trained on what a draft model guesses.", "Name one with --draft-model.")
    reads: Literal["draft model", "target"] = "draft model" if method == "specdec++" else "target"
    model, other = shown(draft, "draft model"), shown(target, "target")
    if method == "ada-eagle":
        model, other = other, model
    model.keep_hidden = True
    begun = time.perf_counter()
    texts = write(engine, draft, requests, batch=batch, after=lambda n: after(f"{n} of {len(requests)} texts"))
    written = time.perf_counter() - begun
    texts = [text for text in texts if len(text.tokens) > 1]
    learned, kept = split(texts, recipe.held_out, "texts")
    after("training")
    begun = time.perf_counter()
    torch.manual_seed(recipe.seed)
    made = _examples(method, target, draft, recipe)
    training, held_out = made(learned), made(kept)
    width = min(training.inputs.shape[1] // 2, _WIDEST)
    mean = float(training.labels.mean())
    described = About(method, reads, model.fingerprint(), other.fingerprint(), training.inputs.shape[1], recipe.layers,
                      width, mean, recipe.state if method == "specdec++" else "at")  # fmt: skip
    head = described.network()
    if method == "specdec++":
        learn(head, training, partial(weighted_cross_entropy, weight=recipe.weight), epochs=recipe.epochs,
              seed=recipe.seed)  # fmt: skip
        measures = acceptance_measures(head, held_out, recipe.weight)
    else:
        learn(head, training, F.smooth_l1_loss, epochs=recipe.epochs, seed=recipe.seed)
        measures = length_measures(head, held_out, mean)
    said = asdict(described) | {
        "measures": measures,
        "training": {
            **asdict(recipe),
            "texts": training.texts,
            "tokens": len(training),
            "seconds_writing": written,
            "seconds_training": time.perf_counter() - begun,
            **(about or {}),
        },
        "provenance": provenance(),
    }
    return Trained(head, About(**said))


def shown(model: LanguageModel, role: str) -> ShowsHidden:
    """The model as one that shows hidden states. Raises UnmetNeed for one that does not."""
    if not isinstance(model, ShowsHidden):
        raise UnmetNeed(f"the {role} shows no hidden states.", "Use a model that laconic runs itself (CausalLM).")
    return cast(ShowsHidden, model)


def _examples(
    method: str, target: LanguageModel, draft: LanguageModel, recipe: Recipe
) -> Callable[[Sequence[Text]], Examples]:
    if method == "specdec++":
        return lambda texts: acceptance(draft, texts, recipe.mixing, recipe.seed, recipe.state)
    return lambda texts: lengths(target, texts, recipe.most)
