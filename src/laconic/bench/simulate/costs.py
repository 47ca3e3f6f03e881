"""What passes cost a simulated server: fitted to measured passes, or predicted by a roofline."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from laconic.bench.cost import Anatomy, CostModel, Hardware, Knobs, hardware, load, pass_time
from laconic.bench.cost.roofline import DEFAULT
from laconic.errors import ModelNotFound, RequestError
from laconic.models.causal_lm import PREFILL_CHUNK


class PassCost(Protocol):
    """The time of passes of one model, in seconds."""

    def seconds(self, sizes: Sequence[int], contexts: Sequence[int], later: bool = False) -> float:
        """A pass over ``sizes[i]`` nodes of request i, after its ``contexts[i]`` committed tokens.

        ``later`` says that this model made the pass before, too: its weights may be in a cache.
        """
        ...

    def prefill(self, tokens: int) -> float:
        """Reading a prompt of ``tokens``, no logits."""
        ...


@dataclass(frozen=True, slots=True)
class Measured:
    """A fitted cost model of laconic's own engine.

    Its attention works on a rectangle: every request is padded to the most nodes and the longest context of the pass.
    ``prompts`` is the cost of reading text at the start of a request, ``repeated`` that of passes made right after
    another of the same model; ``model`` stands in where they were not measured.
    """

    model: CostModel
    prompts: CostModel | None = None
    repeated: CostModel | None = None

    def seconds(self, sizes: Sequence[int], contexts: Sequence[int], later: bool = False) -> float:
        """By the fit; the terms of attention for the padded rectangle."""
        model = self.repeated if later and self.repeated is not None else self.model
        n = len(sizes)
        pairs = model.per_key * n + model.per_pair * n * max(sizes)
        return model.seconds(sum(sizes), 0, n) + pairs * max(contexts)

    def prefill(self, tokens: int) -> float:
        """In passes of ``PREFILL_CHUNK`` tokens."""
        read, model = self.prompts or self.model, self.model
        return sum(read.seconds(n, 0) + (model.per_key + model.per_pair * n) * at for n, at in _chunks(tokens))


@dataclass(frozen=True, slots=True)
class Roofline:
    """Predicted passes on named hardware; see docs/cost.md for what is assumed. Contexts count with their mean."""

    anatomy: Anatomy
    device: Hardware
    knobs: Knobs = DEFAULT
    vocab_size: int = 0

    def seconds(self, sizes: Sequence[int], contexts: Sequence[int], later: bool = False) -> float:
        """The longer of reading and multiplying, and a fixed cost."""
        n = len(sizes)
        return pass_time(self.anatomy, self.device, sum(sizes), sum(contexts) / n, n, self.knobs).seconds

    def prefill(self, tokens: int) -> float:
        """In passes of ``PREFILL_CHUNK`` tokens, each attending to half of its own besides what came before."""
        headless = replace(self.anatomy, head=0)
        return sum(pass_time(headless, self.device, n, at + n / 2, 1, self.knobs).seconds for n, at in _chunks(tokens))


@dataclass(frozen=True, slots=True)
class Line:
    """Passes of ``fixed`` seconds and ``node`` seconds a node, whatever the context; for examples and tests."""

    fixed: float = 0.0
    node: float = 0.0

    def seconds(self, sizes: Sequence[int], contexts: Sequence[int], later: bool = False) -> float:
        """Fixed cost and nodes."""
        return self.fixed + self.node * sum(sizes)

    def prefill(self, tokens: int) -> float:
        """One pass."""
        return self.fixed + self.node * tokens if tokens else 0.0


def _chunks(tokens: int) -> Iterator[tuple[int, int]]:
    """Prefill passes over so many tokens: the tokens of each, and how many come before them."""
    return ((min(PREFILL_CHUNK, tokens - at), at) for at in range(0, tokens, PREFILL_CHUNK))


def of_file(path: str | Path) -> Measured:
    """A cost model that ``laconic cost --json`` wrote. Raises RequestError."""
    hint = "Name a file that 'laconic cost --json FILE' wrote, 'measured', or roofline:HARDWARE:CONFIG."
    try:
        return Measured(load(Path(path)))
    except OSError as error:
        raise RequestError(f"cannot read the cost model '{path}': {error.strerror}.", hint) from error
    except (ValueError, KeyError, TypeError) as error:
        raise RequestError(f"'{path}' holds no cost model ({type(error).__name__}: {error}).", hint) from error


def of_roofline(spec: str) -> Roofline:
    """``HARDWARE:CONFIG``, the config of a checkpoint's path or hub name. Raises RequestError and ModelError."""
    from transformers import AutoConfig

    from laconic.models.load import resolve

    device, _, name = spec.partition(":")
    if not name:
        raise RequestError(f"'roofline:{spec}' names no model.", "Say roofline:h100:PATH, a folder with config.json.")
    found = hardware(device)
    try:
        config = AutoConfig.from_pretrained(resolve(name))
    except (OSError, ValueError) as error:
        raise ModelNotFound(f"no config at '{name}': {str(error).splitlines()[0]}") from error
    return Roofline(Anatomy.of(config), found, vocab_size=int(config.get_text_config().vocab_size))
