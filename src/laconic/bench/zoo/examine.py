"""Whether a LanguageModel gives the logits of the plain Transformers model, whatever is done to its slots."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from transformers import PreTrainedModel

from laconic.bench.zoo.checks import CHECKS, Truth
from laconic.errors import BrokenLogits, LaconicError, UnsupportedModel
from laconic.models.base import LanguageModel
from laconic.models.causal_lm import CausalLM

TOLERANCE = 1e-3
"""Largest error of a logit that passes, as a share of the largest logit of the text (float32)."""

Outcome = Literal["exact", "refused", "wrong", "crash", "not built"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the examination of one architecture found.

    ``errors`` are the largest errors of the checks that ran, each as a share of the largest logit. ``path`` is the way
    in which the model is decoded, in the LanguageModel's own words; empty where it has none.
    """

    model_type: str
    outcome: Outcome
    reason: str
    errors: dict[str, float]
    path: str

    def __str__(self) -> str:
        return f"{self.outcome}: {self.reason}" if self.reason else self.outcome


def examine(
    model: PreTrainedModel, kind: str = "", load: Callable[[PreTrainedModel], LanguageModel] = CausalLM
) -> Verdict:
    """Hold ``load(model)`` against the model itself, run without a cache over whole texts.

    ``kind`` is what the verdict calls the model; by default its configuration's model type. The model belongs to
    ``load`` afterwards. Every failure is in the verdict ("not built" if the model alone cannot read
    a text); nothing is raised but interrupts.
    """
    kind = kind or str(model.config.model_type)
    try:
        truth = Truth(model)
    except Exception as error:
        return Verdict(kind, "not built", f"does not run on text alone: {_where(error)}", {}, "")
    try:
        lm = load(model)
    except UnsupportedModel as error:
        return Verdict(kind, "refused", error.message, {}, "")
    except Exception as error:
        return Verdict(kind, "crash", f"loading: {_where(error)}", {}, "")
    path = str(getattr(lm, "path", ""))
    if not truth.causal:
        return Verdict(kind, "wrong", "accepted, though a later token changes earlier logits", {}, path)
    return _run_checks(kind, path, lm, truth)


def _run_checks(kind: str, path: str, lm: LanguageModel, truth: Truth) -> Verdict:
    errors: dict[str, float] = {}
    for name, check in CHECKS.items():
        try:
            errors[name] = check(lm, truth)
        except BrokenLogits as error:
            return Verdict(kind, "wrong", f"{name}: {error.message}", errors, path)
        except UnsupportedModel as error:
            return Verdict(kind, "refused", f"{name}: {error.message}", errors, path)
        except LaconicError as error:
            return Verdict(kind, "crash", f"{name}: {error.message}", errors, path)
        except Exception as error:
            return Verdict(kind, "crash", f"{name}: {_where(error)}", errors, path)
    bad = [f"{name} {error:.1e}" for name, error in errors.items() if not error <= TOLERANCE]
    return Verdict(kind, "wrong" if bad else "exact", ", ".join(bad), errors, path)


def _where(error: Exception) -> str:
    """The error in one line, with the file and line that raised it."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    text = (str(error).strip().splitlines() or [""])[0]
    return f"{type(error).__name__}: {text} ({Path(last.filename).name}:{last.lineno})"


def summary(verdicts: Sequence[Verdict]) -> dict[Outcome, int]:
    """How many verdicts there are of each outcome."""
    outcomes: list[Outcome] = ["exact", "refused", "wrong", "crash", "not built"]
    return {outcome: sum(verdict.outcome == outcome for verdict in verdicts) for outcome in outcomes}
