"""Making a recording: the target writes greedily, then the draft model reads along and is asked at every token."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any

import torch

from laconic.bench.along import read
from laconic.bench.provenance import provenance
from laconic.bench.simulate.recording import Recording, Script, Stray
from laconic.engine import Engine
from laconic.errors import UnmetNeed
from laconic.models.base import LanguageModel, Scores, Slot, chain
from laconic.types import Request, Result

MOST = 32
"""Tokens recorded of a stray; a draft that strays further is taken to look like its last recorded token."""
_TOGETHER = 32
"""Strays drafted in one batch."""


def record(
    engine: Engine,
    requests: Sequence[Request],
    *,
    batch: int = 16,
    most: int = MOST,
    header: dict[str, Any] | None = None,
    after: Callable[[int], Any] = lambda done: None,
) -> Recording:
    """Let ``engine``'s target answer greedy ``requests``, ``batch`` at once, and record its draft model along them.

    ``after`` is told how many texts are recorded. Ctrl-C keeps those that are, and the header says ``interrupted``;
    raises KeyboardInterrupt before the first, UnmetNeed without a draft model.
    """
    model = engine.draft_model
    if model is None:
        raise UnmetNeed("a recording needs a draft model.", "Name one with --draft-model.")
    writer = engine.using(drafter="draft-model", length="marginal", shape="chain", verifier="match", think=())
    scripts: list[Script] = []
    interrupted = False
    try:
        for start in range(0, len(requests), batch):
            part = requests[start : start + batch]
            for request, result in zip(part, writer.run(part, batch=batch), strict=True):
                limit = min(request.limits.max_new_tokens, engine.target.context - len(request.prompt))
                ties = _ties(engine.target, request, result)
                made = script(model, request, result, limit, engine.text.eos, str(len(scripts)), most)
                scripts.append(replace(made, ties=ties))
                after(len(scripts))
    except KeyboardInterrupt:
        if not scripts:
            raise
        interrupted = True
    said = {"most": most, "interrupted": interrupted, **(header or {}), "provenance": provenance()}
    return Recording(tuple(scripts), said)


@torch.inference_mode()
def script(
    model: LanguageModel,
    request: Request,
    result: Result,
    limit: int,
    ends: Sequence[int] | frozenset[int],
    name: str,
    most: int = MOST,
) -> Script:
    """The draft ``model`` along one written text. Its choices at all positions take one reading of the text."""
    tokens = list(result.tokens)
    best: list[int] = []
    confidence: list[float] = []
    entropy: list[float] = []
    base = len(request.prompt) - 1
    with closing(model.open()) as slot:
        for scores in read(model, slot, request.prompt, tokens):
            chosen, sure, spread = favourites(scores)
            best, confidence, entropy = best + chosen, confidence + sure, entropy + spread
        hits = [guess == token for guess, token in zip(best, tokens, strict=True)]
        refused = [t for t, hit in enumerate(hits) if not hit]
        strays: dict[int, Stray] = {}
        for start in range(0, len(refused), _TOGETHER):
            at = refused[start : start + _TOGETHER]
            strays |= zip(at, _strays(model, slot, [(base + t + 1, best[t]) for t in at], ends, most), strict=True)
    stopped = result.finish_reason == "stop"
    return Script(name, len(request.prompt), limit, hits, confidence, entropy, strays, stopped)


def _ties(target: LanguageModel, request: Request, result: Result) -> list[int]:
    """Written positions at which two tokens are as good as equally likely for the target."""
    found, at = list[int](), 0
    with closing(target.open()) as slot:
        for scores in read(target, slot, request.prompt, result.tokens):
            found += [at + row for row in scores.ties(0)]
            at += scores.sizes[0]
    return found


def favourites(scores: Scores) -> tuple[list[int], list[float], list[float]]:
    """The likeliest token after each node of a pass, its probability, and the entropy of the row in nats."""
    best = [token for i in range(len(scores.sizes)) for token in scores.best(i)]
    rows = torch.cat([scores.of(i) for i in range(len(scores.sizes))]).float().softmax(-1)
    picked = rows.gather(1, torch.tensor(best, device=rows.device)[:, None])[:, 0]
    return best, picked.tolist(), torch.special.entr(rows).sum(-1).tolist()


def _strays(
    model: LanguageModel, text: Slot, places: Sequence[tuple[int, int]], ends: Sequence[int] | frozenset[int], most: int
) -> list[Stray]:
    """What ``model`` writes below each refused token: ``places`` are (committed tokens before it, the token)."""
    found: list[tuple[list[float], list[float], bool]] = [([], [], token in ends) for _, token in places]
    slots: list[Slot] = []
    try:
        for length, _ in places:
            slots.append(text.fork())
            slots[-1].rollback(text.length - length)
        newest = [token for _, token in places]
        live = [i for i, (_, _, ended) in enumerate(found) if not ended and places[i][0] < model.context]
        for depth in range(1, most + 1):
            if not live:
                break
            scores = model.score([chain([newest[i]]) for i in live], [slots[i] for i in live])
            going = []
            for i, token, sure, spread in zip(live, *favourites(scores), strict=True):
                slots[i].commit([0])
                found[i][0].append(sure)
                found[i][1].append(spread)
                newest[i] = token
                if token in ends:
                    found[i] = (*found[i][:2], True)
                elif places[i][0] + depth < model.context:
                    going.append(i)
            live = going
    finally:
        for slot in slots:
            slot.close()
    return [Stray(*each) for each in found]
