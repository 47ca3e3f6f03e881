"""``fit head``: from a target to a draft head for it. Writes texts, notes features along them, trains, measures.

Texts are kept in the folder as they are written, so a run that was stopped goes on where it was.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from laconic.bench.fit import shards
from laconic.bench.fit.draft_head import Learning, learn, measures
from laconic.bench.fit.features import Recorder
from laconic.bench.fit.shards import Noted, Texts
from laconic.bench.fit.split import split
from laconic.bench.fit.teacher import known_parts
from laconic.bench.provenance import provenance
from laconic.engine import Engine
from laconic.errors import HeadError, UnmetNeed
from laconic.models.base import ShowsLayers
from laconic.models.parts import output_rows
from laconic.speculation.drafters.head.contract import DraftHead, Shape
from laconic.speculation.drafters.head.files import Loaded, described
from laconic.speculation.drafters.head.kinds import built, kind
from laconic.speculation.drafters.head.teacher import Teacher
from laconic.speculation.vocabulary import kept_tokens
from laconic.types import Request

Batches = Callable[[int, Sequence[Sequence[int]]], Sequence[Request]]
"""The requests of a batch by its number and the replies of the batch before it; none where there are no more."""

_RIDGE = 0.1
"""Weight of no movement at all, in mean squares of an output row's values over those that have moved."""
_LATE = 0.1
"""Share of the time in which all rows are trained where only some are at first, and of the rate at which."""


@dataclass(frozen=True, slots=True)
class HeadRecipe:
    """What head, and how it is trained. ``tokens`` are written, ``kept`` of the vocabulary can be said.

    Its output rows begin as the target's and are trained with it. The work is in these rows, so with ``taught`` it is
    taught on the ``taught`` most frequent tokens alone; the rows of the others, the target's own, join it for the last
    tenth, in which it learns to tell them from what it says by then.

    ``layers`` are the target's layers whose outputs it reads; none are an early, a middle one and the last. ``early``
    of the target's layers are run over drafted tokens before it hears of them; None: as many as is usual for its kind,
    mostly none. ``knobs`` are the kind's own.
    """

    kind: str = "mtp"
    tokens: int = 400_000
    kept: int = 8192
    taught: int = 0
    layers: tuple[int, ...] = ()
    early: int | None = None
    knobs: Mapping[str, Any] = field(default_factory=dict)
    held_out: float = 0.04
    batch: int = 48
    learning: Learning = field(default_factory=Learning)


def fit_head(
    engine: Engine,
    batches: Batches,
    out: Path,
    recipe: HeadRecipe | None = None,
    *,
    after: Callable[[str], Any] = lambda said: None,
    about: Mapping[str, Any] | None = None,
) -> Loaded:
    """Let ``engine``'s target write texts, train a head on what its layers put out along them, and measure it.

    The head is saved into ``out``. ``after`` is told what has been done, ``about`` goes into the description. Raises
    UnmetNeed for a target that does not show its layers, HeadError for an unknown kind, TaskError for too few texts.
    """
    recipe = recipe or HeadRecipe()
    target = shown(engine)
    shape = shape_of(engine, recipe)
    if 0 < recipe.taught <= len(engine.text.eos):
        raise HeadError(f"{recipe.taught} tokens are too few to teach: the ends alone are {len(engine.text.eos)}.")
    built(recipe.kind, shape, recipe.knobs)  # an unknown kind is refused before anything is written
    begun = time.perf_counter()
    texts = written(engine, batches, out / "texts", recipe.tokens, recipe.batch, shape.layers, after)
    writing = time.perf_counter() - begun
    learned, held = split(list(range(len(texts))), recipe.held_out, "texts")
    training, kept_back = texts.part(learned[0], learned[-1] + 1), texts.part(held[0], held[-1] + 1)
    counts = torch.bincount(training.tokens, minlength=shape.vocab)
    kept = kept_tokens(counts, shape.kept, always=engine.text.eos)
    taught = kept_tokens(counts, min(recipe.taught, shape.kept), always=engine.text.eos) if recipe.taught else kept
    torch.manual_seed(recipe.learning.seed)
    head = built(recipe.kind, replace(shape, kept=len(taught)), recipe.knobs)
    head.keep(taught)
    teacher = Teacher(target, taught)
    agrees = known_parts(teacher, target, taught, texts)
    head.begin_as(teacher.norm.detach().float().cpu(), output_rows(target, taught).float().cpu())
    embed = nn.Embedding.from_pretrained(_embeddings(target).float().cpu())  # type: ignore[no-untyped-call]
    parts = (1 - _LATE, _LATE) if recipe.taught else (1.0,)
    done = learn(head, training, teacher, embed, shortened(recipe.learning, parts[0]), after)
    if recipe.taught:
        head, teacher = widened(head, recipe, shape, kept, target), Teacher(target, kept)
        late = replace(shortened(recipe.learning, _LATE), rate=_LATE * recipe.learning.rate)
        last = learn(head, training, teacher, embed, late, after)
        done = last | {name: done[name] + last[name] for name in ("steps", "tokens", "seconds")}
    after("measuring")
    said = measures(head, kept_back, teacher, embed, kept, recipe.learning)
    covered = float(torch.isin(kept_back.tokens, kept).float().mean())
    made = Loaded(
        head.eval().requires_grad_(False),
        described(
            recipe.kind,
            target.fingerprint(),
            shape,
            dict(recipe.knobs),
            measures=said | {"covered": covered, "teacher_agrees": agrees},
            training={
                **asdict(recipe.learning),
                **done,
                "taught": len(taught),
                "texts": len(training),
                "text_tokens": len(training.tokens),
                "seconds_writing": writing,
                **(about or {}),
            },
            provenance=provenance(),
        ),
    )
    made.save(out)
    return made


def shortened(learning: Learning, share: float) -> Learning:
    """The same for a share of the time."""
    return replace(learning, epochs=learning.epochs * share, minutes=learning.minutes * share)


def widened(head: DraftHead, recipe: HeadRecipe, shape: Shape, kept: Tensor, target: Any) -> DraftHead:
    """The same head for all the ``kept`` tokens.

    Its rows have become other than the target's. Those of the tokens that it could not say are the target's, moved by
    the linear map (ridge regression) that says best how the others have moved.
    """
    made = built(recipe.kind, shape, recipe.knobs)
    rest = {name: part for name, part in head.state_dict().items() if not name.startswith(("lm_head.", "d2t"))}
    made.load_state_dict(rest, strict=False)
    made.keep(kept)
    with torch.no_grad():
        begun = output_rows(target, kept).float().cpu()
        taught = torch.searchsorted(kept, head.kept)
        known, moved = begun[taught], head.lm_head.weight - begun[taught]
        products = known.T @ known
        ridge = _RIDGE * products.diagonal().mean() * torch.eye(len(products))
        rows = begun + begun @ torch.linalg.solve(products + ridge, known.T @ moved)
        rows[taught] = head.lm_head.weight
        made.lm_head.weight.copy_(rows)
    return made


def shown(engine: Engine) -> Any:
    """The engine's target, if a head can be trained on it. Raises UnmetNeed."""
    target = engine.target
    if not (isinstance(target, ShowsLayers) and target.shows_layers):
        raise UnmetNeed(
            "a draft head reads the outputs of the target's layers, which this model does not show.",
            "Use a model that laconic runs over slots (laconic inspect says how passes are made).",
        )
    return cast(Any, target)


def shape_of(engine: Engine, recipe: HeadRecipe) -> Shape:
    """Sizes of a head for this target: those of its own layers."""
    target = shown(engine)
    config, count = target.config, target.num_layers
    layers = recipe.layers or tuple(sorted({min(2, count - 1), count // 2, count - 1}))
    if max(layers) != count - 1:
        raise HeadError(
            f"the last layer read is {max(layers)}, and a head is taught from layer {count - 1}.",
            "Name the target's last layer too.",
        )
    early = kind(recipe.kind).early if recipe.early is None else recipe.early
    if not 0 <= early < count:
        raise HeadError(f"drafted tokens cannot go through {early} of {count} layers first.", "Name fewer.")
    layers = tuple(sorted({*layers, *([early - 1] if early else [])}))
    heads = int(config.num_attention_heads)
    rope = getattr(config, "rope_parameters", None) or {}
    return Shape(
        width=target.hidden_size,
        layers=layers,
        vocab=target.vocab_size,
        kept=min(recipe.kept, target.vocab_size),
        heads=heads,
        kv_heads=int(getattr(config, "num_key_value_heads", None) or heads),
        head_dim=int(getattr(config, "head_dim", None) or config.hidden_size // heads),
        inner=int(config.intermediate_size),
        theta=float(rope.get("rope_theta") or getattr(config, "rope_theta", None) or 10_000.0),
        eps=float(getattr(config, "rms_norm_eps", 1e-5)),
        early=early,
    )


def written(
    engine: Engine,
    batches: Batches,
    folder: Path,
    most: int,
    at_once: int,
    layers: Sequence[int],
    after: Callable[[str], Any],
) -> Texts:
    """Texts of ``most`` tokens or all that ``batches`` give, those that the folder holds already included.

    ``at_once`` are written side by side.
    """
    shards.begin(folder, shown(engine).fingerprint(), layers)
    there = shards.kept(folder)
    tokens, number = sum(map(shards.count, there)), len(there)
    replies: list[Sequence[int]] = [*shards.replies(there[-1])] if there else []
    while tokens < most and (requests := batches(number, replies)):
        noted: list[Noted] = []
        recorder = Recorder(tuple(layers), lambda *text, noted=noted: noted.append(text))
        engine.using(drafter=recorder, length="constant:1", think=()).run(requests, batch=at_once)
        shards.save(folder, number, noted)
        tokens += sum(len(text) for text, _, _ in noted)
        replies = [text[prompt:] for text, _, prompt in noted]
        number += 1
        after(f"{tokens:,} of {most:,} tokens written")
    return shards.read(shards.kept(folder))


def _embeddings(target: Any) -> Tensor:
    return cast(Tensor, target.model.get_input_embeddings().weight)
