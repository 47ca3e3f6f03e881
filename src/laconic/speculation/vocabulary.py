"""Which tokens are worth drafting: output heads of drafts that know a part of the vocabulary only.

Sources: FR-Spec (arXiv 2502.14856: the most frequent tokens of a corpus), VocabTrim (arXiv 2506.22694: those that the
target itself writes most); EAGLE-3's reduced output vocabulary is a third case. They differ in what is counted.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from laconic.errors import HeadError, RequestError

_FORMAT = "laconic-kept-1"
_HINT = "Make one with laconic fit vocab."


def kept_tokens(counts: Tensor, size: int, always: Collection[int] = ()) -> Tensor:
    """The ``size`` tokens that a reduced head keeps, ``[size]`` int64, in ascending order of their ids.

    ``counts [vocab]`` says how often each was seen. Those of ``always`` (end tokens, tags) are kept first, then the
    most frequent; among equals, also among those never seen, the lower id, which in a vocabulary made by merging pairs
    was merged earlier. Raises RequestError for a size that is too small for ``always`` or larger than the vocabulary.

    >>> kept_tokens(torch.tensor([0, 5, 1, 5, 9]), 3, always=[0])
    tensor([0, 1, 4])
    """
    first = sorted(set(always))
    if first and not 0 <= first[0] <= first[-1] < len(counts):
        raise RequestError(f"token {first[0] if first[0] < 0 else first[-1]} is none of the {len(counts)}.")
    if not max(1, len(first)) <= size <= len(counts):
        raise RequestError(
            f"cannot keep {size} of {len(counts)} tokens.", f"Keep between {max(1, len(first))} and all of them."
        )
    ranked = counts.to("cpu", torch.float64, copy=True)
    ranked[first] = torch.inf
    order = torch.argsort(ranked, descending=True, stable=True)
    return order[:size].sort().values


@dataclass(frozen=True, eq=False, slots=True)
class Kept:
    """Tokens that a draft model may draft, ``tokens [kept]`` in ascending order, of a vocabulary of ``vocab_size``.

    ``statistic`` says what was counted, ``counted`` how many tokens that were, and ``covered`` the share of them that
    is kept.
    """

    tokens: Tensor
    vocab_size: int
    statistic: str
    counted: int
    covered: float

    @staticmethod
    def of(counts: Tensor, size: int, statistic: str, always: Collection[int] = ()) -> Kept:
        """The ``size`` tokens of :func:`kept_tokens`, and what share of ``counts [vocab]`` they are."""
        tokens, counted = kept_tokens(counts, size, always), int(counts.sum())
        covered = float(counts[tokens].sum()) / counted if counted else 0.0
        return Kept(tokens, len(counts), statistic, counted, covered)

    def save(self, file: str | Path) -> None:
        """Write it as JSON."""
        told = {"format": _FORMAT, "vocab_size": self.vocab_size, "statistic": self.statistic, "counted": self.counted}
        told |= {"covered": round(self.covered, 6), "tokens": self.tokens.tolist()}
        Path(file).parent.mkdir(parents=True, exist_ok=True)
        Path(file).write_text(json.dumps(told) + "\n", encoding="utf-8")

    @staticmethod
    def load(file: str | Path) -> Kept:
        """Read it back. Raises HeadError for a file that is not there or damaged."""
        try:
            told = json.loads(Path(file).read_text(encoding="utf-8"))
            tokens = torch.tensor(sorted({int(token) for token in told["tokens"]}))
            kept = Kept(
                tokens, int(told["vocab_size"]), str(told["statistic"]), int(told["counted"]), float(told["covered"])
            )
            if told["format"] != _FORMAT or not (len(tokens) and 0 <= tokens[0] <= tokens[-1] < kept.vocab_size):
                raise ValueError("no tokens of a vocabulary")
        except OSError as error:
            raise HeadError(f"no choice of tokens at '{file}': {error.strerror or error}.", _HINT) from error
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise HeadError(f"the choice of tokens at '{file}' is damaged: {error}", _HINT) from error
        return kept

    def check(self, vocab_size: int) -> None:
        """Raise HeadError unless the target has as many tokens as the vocabulary that was counted."""
        if vocab_size != self.vocab_size:
            raise HeadError(
                f"these tokens are of a vocabulary of {self.vocab_size}; the target has {vocab_size}.", _HINT
            )
