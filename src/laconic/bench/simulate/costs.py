"""What passes cost a simulated server: fitted to measured passes, or predicted by a roofline."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Protocol

from laconic.bench.cost import Anatomy, CostModel, Hardware, Knobs, hardware, pass_time
from laconic.bench.cost.model import Cell
from laconic.bench.cost.roofline import DEFAULT
from laconic.errors import ModelNotFound, RequestError

CHUNK = 512
"""Prompt tokens in one prefill pass, as in ``models.causal_lm``."""


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
        """In passes of ``CHUNK`` tokens."""
        read, pair = self.prompts or self.model, self.model.per_pair
        passes = ((min(CHUNK, tokens - start), start) for start in range(0, tokens, CHUNK))
        return sum(read.seconds(n, 0) + (self.model.per_key + pair * n) * start for n, start in passes)


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
        """In passes of ``CHUNK`` tokens, each attending to half of its own besides what came before."""
        headless = replace(self.anatomy, head=0)
        passes = ((min(CHUNK, tokens - start), start) for start in range(0, tokens, CHUNK))
        return sum(pass_time(headless, self.device, n, at + n / 2, 1, self.knobs).seconds for n, at in passes)


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


def of_file(path: str | Path) -> Measured:
    """A cost model that ``laconic cost --json`` wrote. Raises RequestError."""
    hint = "Name a file that 'laconic cost --json FILE' wrote, 'measured', or roofline:HARDWARE:CONFIG."
    try:
        return Measured(cost_model(json.loads(Path(path).read_text(encoding="utf-8"))["cost"]))
    except OSError as error:
        raise RequestError(f"cannot read the cost model '{path}': {error.strerror}.", hint) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RequestError(f"'{path}' holds no cost model ({type(error).__name__}: {error}).", hint) from error


def cost_model(values: Any) -> CostModel:
    """A CostModel from its fields. Raises ValueError, KeyError, TypeError or AttributeError for what is none."""
    known = {field.name: values[field.name] for field in fields(CostModel)}
    known |= {name: tuple(map(float, values[name])) for name in ("knots", "base")}
    known["cells"] = tuple(Cell(**cell) for cell in values["cells"])
    made = CostModel(**known)
    if not 2 <= len(made.knots) == len(made.base):
        raise ValueError("its knots are not whole")
    return made


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
