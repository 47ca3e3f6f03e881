"""Is laconic exact on a model? Held to Transformers' own pass over the whole text, which keeps no cache."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from laconic.errors import LaconicError
from laconic.models.base import ScoreTree, Slot, chain
from laconic.models.causal_lm import CausalLM

TOLERANCE = 1e-3
"""Largest error that is put down to rounding, as a share of the largest logit."""
_PROMPT, _PLAIN = 30, 44
"""Tokens of a prompt, and tokens written one by one behind it: well beyond the zoo's windows of 16."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of an examination: ``exact``, ``refused``, ``wrong`` or ``crash``, on which path, and why."""

    outcome: str
    path: str = ""
    reason: str = ""


class _Wrong(Exception):
    """A check found logits off."""


def examine(model: PreTrainedModel) -> Verdict:
    """Load a copy of ``model`` and check every promise of models.base on it.

    Plain decoding, chains accepted in part, trees, branches off earlier points, rollbacks near and far, forks, a ragged
    batch, slots closed in between, and a prompt of several passes.
    """
    truth = _Truth(copy.deepcopy(model))
    try:
        lm = CausalLM(copy.deepcopy(model))
    except LaconicError as error:
        return Verdict("refused", reason=error.message)
    except Exception as error:  # what the examination is for
        return Verdict("crash", reason=f"loading: {_brief(error)}")
    name = ""
    try:
        for name, check in CHECKS.items():
            check(lm, truth)
            if lm.slots:
                return Verdict("wrong", lm.path, f"{name}: a slot stayed open")
    except _Wrong as error:
        return Verdict("wrong", lm.path, f"{name}: {error}")
    except Exception as error:  # what the examination is for
        return Verdict("crash", lm.path, f"{name}: {_brief(error)}")
    return Verdict("exact", lm.path, "; ".join(lm.notes))


class _Truth:
    """The model itself, over whole texts."""

    def __init__(self, model: PreTrainedModel) -> None:
        self.model = model
        self.vocabulary = int(min(len(model.get_input_embeddings().weight), len(model.get_output_embeddings().weight)))

    def text(self, count: int, seed: int) -> list[int]:
        """Tokens at random."""
        generator = torch.Generator().manual_seed(seed)
        return torch.randint(3, self.vocabulary - 3, (count,), generator=generator).tolist()

    @torch.inference_mode()
    def __call__(self, tokens: Sequence[int]) -> Tensor:
        """Logits ``[tokens, vocab]``."""
        logits: Tensor = self.model(input_ids=torch.tensor([list(tokens)])).logits[0]
        return logits

    def check(self, found: Tensor, tokens: Sequence[int]) -> None:
        """Compare ``found [rows, vocab]`` with the last rows of a text's logits."""
        expected = self(tokens)[-len(found) :]
        allowed = expected > -1e30  # what a model rules out does not count
        off = float((found - expected)[allowed].abs().max() / expected[allowed].abs().max())
        if not off <= TOLERANCE:
            raise _Wrong(f"{off:.1e} off after {len(tokens)} tokens")


def plain(lm: CausalLM, truth: _Truth) -> None:
    """Token by token."""
    text = truth.text(_PROMPT + _PLAIN, 1)
    with filled(lm, text[:_PROMPT]) as slot:
        for at in range(_PROMPT, len(text)):
            truth.check(lm.score([chain(text[at : at + 1])], [slot]).of(0), text[: at + 1])
            slot.commit([0])


def chains(lm: CausalLM, truth: _Truth) -> None:
    """Drafts of five, accepted in part, then rolled back by one, by some and by many tokens."""
    text = truth.text(_PROMPT, 2)
    with filled(lm, text) as slot:
        for round_ in range(12):
            draft = truth.text(5, 10 + round_)
            truth.check(lm.score([chain(draft)], [slot]).of(0), text + draft)
            kept = (3 * round_ + 1) % 6
            slot.commit(range(kept))
            text += draft[:kept]
        for back in (1, 7, len(text) - 12):
            slot.rollback(back)
            del text[len(text) - back :]
            more = truth.text(2, 30 + back)
            truth.check(lm.score([chain(more)], [slot]).of(0), text + more)
            slot.commit([0])
            text.append(more[0])


def trees(lm: CausalLM, truth: _Truth) -> None:
    """Branches, one of them accepted that is not the first; and one off an earlier point that takes over."""
    text = truth.text(_PROMPT, 3)
    a, b, c, d, e, f = truth.text(6, 4)
    with filled(lm, text) as slot:
        tree = ScoreTree([a, b, c, d, e, f], [-1, 0, 0, 2, -1, 4], [-1, -1, -1, -1, _PROMPT - 6, -1])
        rows = lm.score([tree], [slot]).of(0)
        ways = {0: [a], 1: [a, b], 2: [a, c], 3: [a, c, d]}
        for node, way in ways.items():
            truth.check(rows[node : node + 1], text + way)
        truth.check(rows[4:6], [*text[: _PROMPT - 6], e, f])
        slot.commit([0, 2])
        text += [a, c]
        truth.check(lm.score([chain([d, e])], [slot]).of(0), [*text, d, e])
        slot.commit([0])
        lm.score([ScoreTree([a, b, c], [-1, -1, 1], [-1, _PROMPT - 3, -1])], [slot])
        slot.rollback(slot.length - (_PROMPT - 3))
        slot.commit([1, 2])
        truth.check(lm.score([chain([f])], [slot]).of(0), [*text[: _PROMPT - 3], b, c, f])


def batches(lm: CausalLM, truth: _Truth) -> None:
    """Three sequences of different lengths and drafts, one closed in between, one forked."""
    texts = [truth.text(count, 40 + count) for count in (_PROMPT, 7, 19)]
    slots = [lm.open() for _ in texts]
    try:
        for slot, text in zip(slots, texts, strict=True):
            lm.prefill(slot, text)
        for round_ in range(3):
            drafts = [truth.text(count, 50 + 10 * round_ + count) for count in (4, 1, 3)]
            scores = lm.score([chain(draft) for draft in drafts], slots)
            for i, (slot, text, draft) in enumerate(zip(slots, texts, drafts, strict=True)):
                truth.check(scores.of(i), text + draft)
                kept = min(len(draft), 1 + (i + round_) % 3)
                slot.commit(range(kept))
                text += draft[:kept]
        slots.pop(1).close()
        del texts[1]
        twin = slots[0].fork()
        slots.append(twin)
        texts.append(texts[0].copy())
        tokens = truth.text(3, 90)
        scores = lm.score([chain([token]) for token in tokens], slots)
        for i, (text, token) in enumerate(zip(texts, tokens, strict=True)):
            truth.check(scores.of(i), [*text, token])
    finally:
        for slot in slots:
            slot.close()


def long_prompt(lm: CausalLM, truth: _Truth) -> None:
    """A prompt that takes two passes, and a draft behind it; left out where the context is too short."""
    if lm.context < 560:
        return
    text = truth.text(540, 5)
    with filled(lm, text) as slot:
        draft = truth.text(3, 6)
        truth.check(lm.score([chain(draft)], [slot]).of(0), text + draft)


CHECKS: dict[str, Callable[[CausalLM, _Truth], None]] = {
    "plain": plain,
    "chain": chains,
    "tree": trees,
    "batch": batches,
    "long prompt": long_prompt,
}


@contextmanager
def filled(lm: CausalLM, tokens: Sequence[int]) -> Iterator[Slot]:
    """A slot that holds ``tokens``, closed at the end."""
    with closing(lm.open()) as slot:
        lm.prefill(slot, tokens)
        yield slot


def _brief(error: Exception) -> str:
    text: Any = " ".join(f"{type(error).__name__}: {error}".split())
    return text if len(text) <= 160 else f"{text[:160]}..."
