"""Is a way of making passes right for this model? Its own forward pass over the whole text, without a cache, decides.

Asked of every model when it is loaded, since a wrong path gives plausible text. In 16-bit formats the reference is a
float32 pass of the same weights, upcast a layer at a time, and a path may be as far from it as Transformers' own pass
is. Two texts are tried: tokens at random, and what the model itself writes, as natural as a text without a tokenizer
can be.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from laconic.errors import BrokenLogits
from laconic.models.base import ScoreTree, chain
from laconic.models.devices import offloaded
from laconic.models.host import Host
from laconic.models.steering import decoder_layers

_LENGTH = 24
"""Tokens of each text."""
_LONG = 192
"""Tokens of the text that :func:`forgets` reads."""
_DRAFT = 5
"""Tokens of the chain that is scored below a text's beginning, and accepted in part."""
_READINGS = 4
"""Times that a text is replaced by what the model would write in its place."""
_FLOOR = {torch.float32: 1e-4, torch.float64: 1e-9, torch.float16: 1e-3, torch.bfloat16: 8e-3}
"""Errors that rounding alone makes, whatever the reference pass happens to have."""
_SLACK = 1.5
"""How much further from float32 a path may be than Transformers' own pass."""
_CHANCE = 2.0
"""Standard errors that chance is given."""
_USUAL = 0.08
"""Error that a 16-bit pass is taken to have where its weights are not at hand to be upcast. On SmolLM2 it is 0.05 to
0.07; what sees later tokens, or forgets some, is off by a good part of 1."""
_EXACT = (torch.float32, torch.float64)
"""Formats that are their own reference."""
_LOOKAHEAD = 1e-3
"""Error from which a pass that sees later tokens is one that sees them."""


@dataclass(frozen=True, slots=True)
class Truth:
    """A text, its logits ``[tokens, vocab]`` in float32, and the error of Transformers' own pass against them.

    ``own`` are the logits of that pass, where it is another one: few rows are further off than many by chance.
    """

    tokens: list[int]
    logits: Tensor
    error: float
    dtype: torch.dtype
    own: Tensor | None = None

    def allowed(self, rows: Sequence[int]) -> float:
        """How far off a path may be in these rows; the mean of a few is further off than that of many by chance."""
        here = 0.0 if self.own is None else error(self.own[list(rows)], self.logits[list(rows)])
        chance = 1 + _CHANCE / math.sqrt(2 * len(rows))  # the error of a root mean square of so many
        return max(_FLOOR.get(self.dtype, 8e-3), _SLACK * chance * max(self.error, here))


@torch.inference_mode()
def truths(model: Any) -> list[Truth]:
    """What a model says of two texts. It must be as Transformers made it, with its own attention.

    Raises BrokenLogits where that is no number.
    """
    # Padding may make the head wider than the table of embeddings, or the other way round.
    tables = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    vocabulary = min(len(table) for table in tables)
    random = torch.randint(0, vocabulary, (_LENGTH,), generator=torch.Generator().manual_seed(0)).tolist()
    written = random
    for _ in range(_READINGS):  # each makes one more token what the model writes, and the rest more like it
        written = [random[0], *_forward(model, written)[:, :vocabulary].argmax(-1).tolist()[:-1]]
    exact, away = model.dtype in _EXACT, offloaded(model)
    found = []
    for tokens in (written, random):
        own = _forward(model, tokens).float()
        with nullcontext() if exact or away else in_float32(model):
            logits = own if exact or away else _forward(model, tokens)
        if bool((logits.isnan() | (logits == torch.inf)).any()):
            raise BrokenLogits(f"'{model.config.model_type}' gives logits that are not finite.", "Check its weights.")
        rounded = not (exact or away)
        off = _USUAL if away and not exact else error(own, logits)
        found.append(Truth(tokens, logits, off, model.dtype, own if rounded else None))
    return found


@torch.inference_mode()
def looks_ahead(model: Any, truth: Truth) -> bool:
    """Whether what a model says of a token depends on later ones, as in models that are not causal."""
    return _depends(model, truth.tokens, truth.error)


@torch.inference_mode()
def forgets(model: Any) -> bool:
    """Whether what a model says of a long text's middle changes with what follows, though a short text's did not.

    So it is where attention sorts or hashes the whole text into chunks: what came before a token is then no longer all
    that counts.
    """
    most = getattr(model.config.get_text_config(), "max_position_embeddings", None) or 0
    size = min(_LONG, most) if most > 0 else _LONG
    # From the middle of the vocabulary: what is special stands at its ends, and some models mask padding by its id.
    middle = len(model.get_input_embeddings().weight) // 2
    tokens = torch.randint(middle, middle + 16, (size,), generator=torch.Generator().manual_seed(1)).tolist()
    away = model.dtype not in _EXACT and offloaded(model)
    return _depends(model, tokens, _USUAL if away else _FLOOR.get(model.dtype, 8e-3))


def _depends(model: Any, tokens: Sequence[int], error: float) -> bool:
    """Whether what a model says of a text's first half depends on the second; its passes have about this error.

    In 16-bit formats passes over texts of different lengths may round quite differently, by chance further than the
    error that is known: what looks like a dependence there must be one in float32, too, unless the weights are not at
    hand for that; then the error is a guess, a wide one.
    """
    if _changed(model, tokens) <= max(_LOOKAHEAD, 2 * error):
        return False
    if model.dtype in _EXACT or offloaded(model):
        return True
    with in_float32(model):
        return _changed(model, tokens) > _LOOKAHEAD


def _changed(model: Any, tokens: Sequence[int]) -> float:
    """How much what a model says of a text's first half changes with the second."""
    half = len(tokens) // 2
    return error(_forward(model, tokens[:half]).float(), _forward(model, tokens).float()[:half])


def error(found: Tensor, expected: Tensor) -> float:
    """Root mean square of the difference, as a share of the spread of ``expected``; NaN is infinitely wrong.

    Tokens that a model itself rules out, at minus infinity, do not count.
    """
    allowed = expected > -torch.inf
    found, expected = found[allowed].float(), expected[allowed].float()
    spread = expected.std().clamp_min(1e-12)
    off = float((found - expected).square().mean().sqrt() / spread)
    return off if off == off else float("inf")


@torch.inference_mode()
def fault(host: Host, truth: Truth, *, brief: bool = False) -> str:
    """What a host gets wrong of a text: a sentence, or nothing.

    One pass over the text as a chain, and no more if ``brief``; then its beginning committed, a branching tree scored
    below it and accepted in part, and the rest scored behind that; then a rollback and the rest once more.
    """
    tokens, begun = truth.tokens, _LENGTH - 2 * _DRAFT
    wrong: list[tuple[str, float, float]] = []

    def check(what: str, found: Tensor, rows: Sequence[int]) -> None:
        wrong.append((what, error(found, truth.logits[list(rows)]), truth.allowed(rows)))

    with closing(host.open()) as slot:
        check("a pass over a text", _score(host, slot, chain(tokens)), range(_LENGTH))
        if not brief:
            host.prefill(slot, tokens[:begun])
            stop = begun + _DRAFT
            other = tokens[begun] if tokens[begun] != tokens[begun + 1] else tokens[0]
            # A chain of the text itself, and a sibling of its second token, before it in the order of the nodes.
            draft = tokens[begun:stop]
            tree = ScoreTree([draft[0], other, *draft[1:]], [-1, 0, 0, *range(2, _DRAFT)])
            nodes = [0, *range(2, _DRAFT + 1)]
            check("a tree", _score(host, slot, tree)[nodes], range(begun, stop))
            slot.commit(nodes[:3])
            check("a pass behind a partly accepted draft", _score(host, slot, chain(tokens[begun + 3 :])),
                  range(begun + 3, _LENGTH))  # fmt: skip
            slot.commit(range(4))
            slot.rollback(5)
            check("a pass after a rollback", _score(host, slot, chain(tokens[begun + 2 :])), range(begun + 2, _LENGTH))
    first = next((found for found in wrong if not found[1] <= found[2]), None)
    return "" if first is None else f"{first[0]} is {first[1]:.2g} off, {first[2]:.2g} is allowed"


def _score(host: Host, slot: Any, tree: ScoreTree) -> Tensor:
    return host.score([tree], [slot], hidden=False).logits[: len(tree)].float()


def _forward(model: Any, tokens: Sequence[int]) -> Tensor:
    """Logits ``[tokens, vocab]`` of a text, with no cache."""
    given: dict[str, Any] = {"input_ids": torch.tensor([list(tokens)], device=model.device)}
    if "use_cache" in inspect.signature(model.forward).parameters:
        given["use_cache"] = False
    logits: Tensor = model(**given).logits[0]
    return logits


@contextmanager
def in_float32(model: Any) -> Iterator[None]:
    """Let a model compute in float32: each part's weights are upcast while it works, one part at a time.

    A part is a decoder layer, or a module outside of them with weights of its own.
    """
    layers = decoder_layers(model, int(model.config.get_text_config().num_hidden_layers))
    inside = {id(module) for layer in layers or () for module in layer.modules()}
    outside = [module for module in model.modules() if id(module) not in inside]
    hooks = [hook for layer in layers or () for hook in _upcast(layer, whole=True)]
    hooks += [hook for module in outside if module._parameters for hook in _upcast(module, whole=False)]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _upcast(module: nn.Module, *, whole: bool) -> list[Any]:
    """``whole`` is with the modules inside."""
    kept: list[tuple[nn.Parameter, Tensor]] = []

    def before(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
        # Asked now: weights that are kept coded are there only while a layer works.
        kept[:] = [(parameter, parameter.data) for parameter in module.parameters(recurse=whole)]
        for parameter, _data in kept:
            if parameter.dtype in (torch.bfloat16, torch.float16):
                parameter.data = parameter.data.float()
        return tuple(map(_wide, args)), {name: _wide(value) for name, value in kwargs.items()}

    def after(*_: Any) -> None:
        for parameter, data in kept:
            parameter.data = data

    return [
        module.register_forward_pre_hook(before, with_kwargs=True),
        module.register_forward_hook(after, always_call=True),
    ]


def _wide(value: Any) -> Any:
    """Activations in float32; masks, positions and the like as they are."""
    if isinstance(value, Tensor) and value.dtype in (torch.bfloat16, torch.float16):
        return value.float()
    if isinstance(value, tuple):
        return tuple(map(_wide, value))
    return value
