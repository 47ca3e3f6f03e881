"""The plain, slow loop that the tests trust: no cache, no draft, no batch, no branch.

Every token is drawn from a pass over the whole text so far, and every probe is answered by writing its answer token
by token in the same way. It shares with the fast loop only what decides (sampling, transcript, controllers).
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence as Seq
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import torch

from laconic.grammar.held import Held
from laconic.landing import Landing, fitting, landing, words
from laconic.models.text import Text
from laconic.probe import bounded, opening, watched
from laconic.speculation.draws import Draws, warp
from laconic.speculation.penalty import sampling_rules
from laconic.thinking.base import (
    Action,
    Ban,
    Belief,
    Closing,
    Conclude,
    Controller,
    Inject,
    LogitRule,
    Probe,
    View,
    chances,
)
from laconic.thinking.budget.tag import owed, owes_a_reply
from laconic.transcript import Mark, Transcript
from laconic.types import FinishReason, Request

Logits = Callable[[Seq[int]], torch.Tensor]
"""Logits ``[vocab]`` for the token after the given ones."""


def decode(
    logits: Logits,
    text: Text,
    request: Request,
    controllers: Seq[Controller] = (),
    context: int = 1 << 20,
    hidden: Logits | None = None,
) -> tuple[list[int], FinishReason]:
    """Tokens after the prompt, and why they end. ``hidden`` gives the state behind the logits, where probes need it."""
    tokens = list(request.prompt)
    if request.controllers is not None:
        controllers = request.controllers
    transcript = Transcript(text, request, tokens, keep_steps=bool(controllers))
    states = [(controller, controller.start(request, text)) for controller in controllers]
    rules: list[LogitRule] = [*sampling_rules(request.sampling, len(tokens))]
    rules += [rule for controller, state in states if (rule := controller.rule(state)) is not None]
    rules += [Held(request.grammar, text)] if request.grammar is not None else []
    answers = [most for controller, state in states if (most := controller.answer_limit(state)) is not None]
    ask = partial(answer, logits, text, hidden=hidden)
    draws, prompt = Draws(request.sampling.seed), len(tokens)
    said: list[float] = []
    owing: Ban | None = None
    if owes_a_reply(request, text) and transcript.phase in ("before", "answer"):
        rules.append(owing := owed(text, len(tokens)))
    most = min(prompt + request.limits.max_new_tokens, context)
    land = landing(request, text, context, min(answers, default=None))
    bounds = Bounds(most, context, land.room if land else 1)

    def full() -> bool:
        return len(tokens) >= most or (bool(answers) and transcript.answer >= min(answers))

    while True:
        row = logits(tokens)
        place = transcript.place()
        if owing is not None and not owing.banned(place):
            rules.remove(owing)
            owing = None
        for rule in rules:
            changed = rule(row, place)
            row = row if changed is None else changed
        token = draws.pick(warp(row, request.sampling), len(tokens))
        if token in text.eos and request.limits.answers and transcript.unanswered and owing is None:
            owing = owed(text, len(tokens))  # as it ends the text right behind its thought, another one is drawn
            rules.append(owing)
            changed = rules[-1](row, place)
            row = row if changed is None else changed
            token = draws.pick(warp(row, request.sampling), len(tokens))
        mark = transcript.push(token)
        said += chances(row[None], [token])
        limits = [limit for controller, state in states if (limit := controller.limit(state)) is not None]
        written = None
        thinking, boundary = transcript.phase == "thinking", mark is Mark.STEP
        lands = transcript.thinks and land is not None and land.due(len(tokens) - prompt, boundary=boundary)
        if mark is Mark.FINISHED and not (thinking and (controllers or request.limits.answers)):
            return tokens[prompt:], "stop"
        if mark is Mark.FINISHED or (controllers and mark is Mark.CLOSED):
            written = _end(ask, text, transcript, states, said, bounds, "tag" if mark is Mark.CLOSED else "end")
        elif transcript.thinks and (boundary or lands or (limits and transcript.thinking >= min(limits))):
            written = _ask(ask, text, transcript, states, said, bounds, boundary, land=land if lands else None)
        del said[len(tokens) - prompt :]  # what a controller has taken back
        for token in text.encode(written or ""):
            if not full():
                transcript.push(token, injected=True)
                said.append(1.0)
        if written is not None and transcript.phase == "answer" and request.limits.answers and owing is None:
            rules.append(owing := owed(text, len(tokens)))
        if full():
            return tokens[prompt:], "length"


class Bounds(NamedTuple):
    """Tokens of the whole text at most, those of the model's context, and those that the answer shall have."""

    most: int
    context: int
    answer: int


def _end(
    ask: Callable[[Seq[int], Probe], Belief],
    text: Text,
    transcript: Transcript,
    states: Seq[tuple[Controller, object]],
    said: Seq[float],
    bounds: Bounds,
    closing: Closing,
) -> str | None:
    """Ask those who mind the end of the thought; text in its place, which is then taken back, or None to leave it."""
    point, left = transcript.before_the_end()
    ended = transcript.tokens[point.length :]
    transcript.restore(point)
    minding = [(controller, state) for controller, state in states if controller.closing]
    written = _ask(ask, text, transcript, minding, said, bounds, False, closing, left=left)
    if written is not None:
        return left + written
    if closing == "end":
        return f"{left}{text.format.ending}"
    for token in ended:
        transcript.push(token)
    return None


def _ask(
    ask: Callable[[Seq[int], Probe], Belief],
    text: Text,
    transcript: Transcript,
    states: Seq[tuple[Controller, object]],
    said: Seq[float],
    bounds: Bounds,
    boundary: bool,
    closing: Closing = "",
    land: Landing | None = None,
    left: str = "",
) -> str | None:
    """Let the controllers act, in order; the text that the first one to act writes, or None.

    Where the thought must end for want of room (``land``) none may write into it, and it ends if none ends it.
    """
    written = tuple(transcript.tokens[transcript.prompt_length :])
    for controller, state in states:
        view = View(
            transcript.thinking, tuple(transcript.steps), boundary, None, written, closing, said[: len(written)]
        )
        action: Action = controller.decide(state, view)
        while isinstance(action, Probe):
            probe = bounded(action, text, len(transcript.tokens), bounds.context)
            if probe is None:
                break
            belief = ask(transcript.tokens, probe).until(probe.hopeless)
            action = controller.decide(state, replace(view, belief=belief))
        if isinstance(action, Conclude):
            room = bounds.most - len(transcript.tokens)
            return fitting(action.text, left, text, room, bounds.answer) + text.format.ending
        if isinstance(action, Inject) and land is None:
            return action.text
    if land is not None:
        return f"{words(land, boundary=boundary)}{text.format.ending}"
    return None


def answer(logits: Logits, text: Text, tokens: Seq[int], probe: Probe, *, hidden: Logits | None = None) -> Belief:
    """Write a probe's answer greedily, one full pass per token."""
    prefix = [*tokens, *opening(probe, text)]
    eyed = text.encode(probe.watch)[0] if probe.watch else None
    seen = watched(logits(prefix), eyed)
    state = None if hidden is None else hidden(prefix)
    written: list[int] = []
    probs: list[float] = []
    entropies: list[float] = []
    complete = False
    while not complete and len(written) < probe.max_tokens:
        row = logits(prefix + written).float().softmax(-1)
        written.append(int(row.argmax()))
        probs.append(float(row.max()))
        entropies.append(float(torch.special.entr(row).sum()))
        so_far = text.decode(written)
        deep = so_far.count("{") - so_far.count("}") - len(probe.opens)
        closed = (deep < 0 and not so_far.isspace()) if probe.stop == "}" else probe.stop in so_far
        complete = closed or written[-1] in text.eos
    answered = probe.bare(text.decode(written), complete)
    return Belief(answered, tuple(probs), tuple(entropies), complete, len(written), seen, state)
