"""``fit difficulty``: from a model's own successes and thoughts to a probe that tells how hard a question is.

Every problem is answered several times, thinking freely and in a quick mode (without a thought, as a rule). What a
question is follows from these answers:

* **easy**: quick answers are right, often enough;
* **hard**: else, answers after a thought are wrong, or the thought is among the longest third;
* **normal**: all others.

DiffAdapt labels by accuracy and by the entropy of the trace, which its authors find to be U-shaped over difficulty:
high where a model overthinks an easy problem, low in the middle, high again on hard ones. Success in a quick mode says
outright what the left arm of the U stands for, that the thought was not needed; so it takes the place of entropy here,
and length that of entropy on the right arm. Entropies are recorded class by class all the same.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from laconic.bench.along import read
from laconic.bench.fit.split import split
from laconic.bench.provenance import provenance
from laconic.bench.tasks import Item
from laconic.engine import Engine
from laconic.errors import TaskError, UnmetNeed
from laconic.intervals import wilson
from laconic.models.base import ShowsHidden
from laconic.reading import Reading
from laconic.thinking.route.difficulty import CLASSES, About, Network, Trained
from laconic.types import Limits, Result, Sampling

EASY, NORMAL, HARD = range(len(CLASSES))
_RATE = 0.01
_STREAM = 1_000_003
"""Seeds of a problem's samples lie so far apart."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a probe is trained. ``held_out`` is the share of problems kept for the measures.

    Each problem is answered ``samples`` times at ``temperature`` (once where that is 0). ``quick`` is the spec of the
    mode that an easy question must be right in, in a share ``right`` of its samples; the same share of free answers
    keeps a question from being hard. ``units`` are those of a hidden layer, 0 for none.
    """

    samples: int = 4
    temperature: float = 0.6
    quick: str = "no-thinking"
    right: float = 0.75
    longest: float = 1 / 3
    units: int = 0
    epochs: int = 200
    decay: float = 3.0
    held_out: float = 0.25
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Observed:
    """One problem: state ``[width]``, share of samples right (quick and free), mean thinking tokens, mean entropy.

    ``entropy`` is of the model's distribution before each token of the first free sample's thought, in nats.
    """

    state: Tensor
    quick: float
    free: float
    thinking: float
    entropy: float


def observe(
    engine: Engine,
    items: Sequence[Item],
    recipe: Recipe,
    *,
    max_tokens: int = 1024,
    batch: int = 16,
    after: Callable[[str], Any] = lambda said: None,
) -> list[Observed]:
    """Let ``engine``'s model answer each of ``items`` in both ways. Raises UnmetNeed and TaskError."""
    target = engine.target
    if not isinstance(target, ShowsHidden):
        raise UnmetNeed("the target shows no hidden states.", "Use a model that laconic runs itself (CausalLM).")
    if any(item.grade is None for item in items):
        raise TaskError("difficulty is learned from problems whose answers are known.", "Give every line an answer.")
    cast(ShowsHidden, target).keep_hidden = True
    free, quick = engine.using(think=("free",)), engine.using(think=(recipe.quick,))
    samples = recipe.samples if recipe.temperature > 0 else 1
    found: list[Observed] = []
    for start in range(0, len(items), batch):
        part = items[start : start + batch]
        seeds = [recipe.seed + start + i + _STREAM * sample for i in range(len(part)) for sample in range(samples)]
        asked = [
            engine.request(part[i // samples].question, sampling=Sampling(recipe.temperature, seed=seed),
                           limits=Limits(max_tokens))
            for i, seed in enumerate(seeds)
        ]  # fmt: skip
        results = free.run(asked, batch=batch), quick.run(asked, batch=batch)
        for i, item in enumerate(part):
            mine = slice(i * samples, (i + 1) * samples)
            question = asked[mine.start].question
            assert question is not None
            thought, hasty = (r[mine] for r in results)
            found.append(
                Observed(
                    Reading(engine).hidden(question).float().cpu(),
                    _right(item, hasty),
                    _right(item, thought),
                    statistics.mean(result.usage.thinking for result in thought),
                    trace_entropy(engine, asked[mine.start].prompt, thought[0]),
                )
            )
        after(f"{len(found)} of {len(items)} problems")
    return found


def _right(item: Item, results: Sequence[Result]) -> float:
    return statistics.mean(float(bool(item.judge(result.answer))) for result in results)


@torch.inference_mode()
def trace_entropy(engine: Engine, prompt: Sequence[int], result: Result) -> float:
    """Mean entropy, in nats, of the model's distribution before each token of a thought; 0 without one."""
    tokens = result.tokens[: result.usage.thinking]  # nothing is injected into a free thought
    if not tokens:
        return 0.0
    with closing(engine.target.open()) as slot:
        parts = [scores.of(0).float() for scores in read(engine.target, slot, prompt, tokens)]
    return float(torch.special.entr(torch.cat(parts).softmax(-1)).sum(-1).mean())


def labels(observed: Sequence[Observed], recipe: Recipe) -> list[int]:
    """The class of each problem, as an index into CLASSES."""
    lengths = sorted(o.thinking for o in observed)
    long = lengths[min(math.ceil((1 - recipe.longest) * len(lengths)), len(lengths) - 1)]

    def label(o: Observed) -> int:
        if o.quick >= recipe.right:
            return EASY
        return HARD if o.free < recipe.right or o.thinking >= long else NORMAL

    return [label(o) for o in observed]


def learn(states: Tensor, wanted: Tensor, recipe: Recipe) -> Network:
    """A network for ``states [examples, width]`` and classes ``wanted [examples]``: AdamW over all examples at once.

    Examples are few beside the width of a state, so weight decay is strong, and all that keeps a regression from
    learning them by heart.
    """
    torch.manual_seed(recipe.seed)
    network = Network(states.shape[1], recipe.units)
    network.settle(states)
    optimiser = torch.optim.AdamW(network.parameters(), lr=_RATE, weight_decay=recipe.decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, recipe.epochs)
    for _ in range(recipe.epochs):
        optimiser.zero_grad()
        F.cross_entropy(network(states), wanted).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
    return network.eval().requires_grad_(False)


def measures(network: Network, states: Tensor, wanted: Tensor, usual: int) -> dict[str, Any]:
    """How often the likeliest class is the right one, beside always saying ``usual``; and what is taken for what.

    ``confusion[i][j]`` counts problems of class i that were called class j. ``loss`` is the mean cross entropy in nats.
    """
    with torch.inference_mode():
        logits = network(states)
    said = logits.argmax(-1)
    confusion = torch.zeros(len(CLASSES), len(CLASSES), dtype=torch.long)
    confusion.index_put_((wanted, said), torch.ones(len(wanted), dtype=torch.long), accumulate=True)
    right = int((said == wanted).sum())
    return {
        "problems": len(wanted),
        "accuracy": right / len(wanted),
        "accuracy_ci": wilson(right, len(wanted)),
        "accuracy_of_the_usual": float((wanted == usual).float().mean()),
        "loss": float(F.cross_entropy(logits, wanted)),
        "classes": list(CLASSES),
        "confusion": confusion.tolist(),
    }


def fit(
    engine: Engine,
    items: Sequence[Item],
    recipe: Recipe | None = None,
    *,
    max_tokens: int = 1024,
    batch: int = 16,
    after: Callable[[str], Any] = lambda said: None,
    about: dict[str, Any] | None = None,
) -> Trained:
    """Observe, label, train, measure. The last problems are held out. Raises UnmetNeed, and TaskError for too few."""
    recipe = recipe or Recipe()
    kept = len(split(items, recipe.held_out, "problems", least=len(CLASSES))[1])
    begun = time.perf_counter()
    observed = observe(engine, items, recipe, max_tokens=max_tokens, batch=batch, after=after)
    seconds = time.perf_counter() - begun
    after("training")
    wanted, states = torch.tensor(labels(observed, recipe)), torch.stack([o.state for o in observed])
    network = learn(states[:-kept], wanted[:-kept], recipe)
    held_out = measures(network, states[-kept:], wanted[-kept:], int(wanted[:-kept].mode().values))
    return Trained(
        network,
        About(
            model=cast(ShowsHidden, engine.target).fingerprint(),
            inputs=states.shape[1],
            units=recipe.units,
            measures=held_out | {"by_class": by_class(observed, wanted)},
            training={**asdict(recipe), "problems": len(items) - kept, "seconds": seconds, **(about or {})},
            provenance=provenance(),
        ),
    )


def by_class(observed: Sequence[Observed], wanted: Tensor) -> dict[str, dict[str, float]]:
    """What problems of each class look like, those of training included; classes without any are left out."""
    found: dict[str, dict[str, float]] = {}
    for at, name in enumerate(CLASSES):
        mine = [o for o, label in zip(observed, wanted.tolist(), strict=True) if label == at]
        if mine:
            means = {key: statistics.mean(getattr(o, key) for o in mine)
                     for key in ("quick", "free", "thinking", "entropy")}  # fmt: skip
            found[name] = {"problems": len(mine), **means}
    return found
