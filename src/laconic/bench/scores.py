"""Reading a written thought with a model, for scores that need probabilities; and how well a score tells right ones."""

from __future__ import annotations

import random
from collections.abc import Sequence

import torch

from laconic.bench.along import read
from laconic.errors import RequestError
from laconic.models.base import LanguageModel
from laconic.models.text import Text
from laconic.thinking.scores.trace import Trace, starts, steps


def trace(model: LanguageModel, text: Text, prompt: Sequence[int], tokens: Sequence[int]) -> Trace:
    """The trace of a thought that was written as ``tokens`` after ``prompt``, its tags left out of the text.

    Probabilities are those of ``model`` at temperature 1, whoever wrote the thought; one pass over the text, in chunks.
    Raises RequestError for a thought without a token, and for one that does not fit into the model's context.
    """
    if not tokens or not prompt:
        raise RequestError("there is no thought to read.", "Give a prompt and the tokens of a thought.")
    if len(prompt) + len(tokens) > model.context:
        raise RequestError(
            f"prompt and thought have {len(prompt) + len(tokens)} tokens, the model's context is {model.context}.",
            "Read it with a model of longer context.",
        )
    logprobs: list[float] = []
    entropies: list[float] = []
    slot = model.open()
    try:
        for scores in read(model, slot, prompt, tokens):
            rows = torch.log_softmax(scores.of(0).float(), -1)
            written = torch.tensor(tokens[len(logprobs) : len(logprobs) + len(rows)], device=rows.device)
            logprobs += rows.gather(-1, written[:, None])[:, 0].clamp(max=0).tolist()
            entropies += (-(rows.exp() * rows.nan_to_num(neginf=0.0)).sum(-1)).clamp(min=0).tolist()
    finally:
        slot.close()
    body = without_tags(text.decode(tokens), text)
    places = starts(["" if _is_tag(text, token) else text.piece(token) for token in tokens])
    return Trace(body, tuple(steps(body)), tuple(tokens), tuple(logprobs), tuple(entropies), tuple(places))


def without_tags(thought: str, text: Text) -> str:
    """The text between a thought's tags, either of which may be missing."""
    if not text.format.thinks:
        return thought
    return thought.partition(text.format.closes)[0].rpartition(text.format.opens)[2]


def _is_tag(text: Text, token: int) -> bool:
    return token in (text.open_token, text.close_token)


def auc(scores: Sequence[float], flags: Sequence[bool]) -> float | None:
    """The chance that a true one has the higher score of a pair, ties counting half; None if all flags are alike."""
    pairs = sorted(zip(scores, flags, strict=True))
    true = sum(flag for _, flag in pairs)
    if true in (0, len(pairs)):
        return None
    ranks, at = 0.0, 0
    while at < len(pairs):
        end = at
        while end < len(pairs) and pairs[end][0] == pairs[at][0]:
            end += 1
        ranks += (at + 1 + end) / 2 * sum(flag for _, flag in pairs[at:end])
        at = end
    return (ranks - true * (true + 1) / 2) / (true * (len(pairs) - true))


def auc_interval(
    scores: Sequence[float], flags: Sequence[bool], *, draws: int = 1000, seed: int = 0
) -> tuple[float, float] | None:
    """95 % percentile bootstrap interval of the AUC, true and false ones drawn apart; None if all flags are alike."""
    rng = random.Random(seed)
    sides = [[s for s, flag in zip(scores, flags, strict=True) if flag is side] for side in (True, False)]
    if not all(sides):
        return None
    true, false = sides
    known = [True] * len(true) + [False] * len(false)
    drawn = sorted(
        auc([*rng.choices(true, k=len(true)), *rng.choices(false, k=len(false))], known) or 0.0 for _ in range(draws)
    )
    return drawn[int(0.025 * (draws - 1))], drawn[int(0.975 * (draws - 1)) + 1]
