"""The plain, slow loop that the tests trust: no cache, no draft, no batch, no branch.

Every token is drawn from a pass over the whole text so far, and every probe is answered by writing its answer token
by token in the same way. It shares with the fast loop only what decides (sampling, transcript, controllers).
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence as Seq

import torch

from laconic.models.text import Text
from laconic.speculation.draws import Draws, warp
from laconic.thinking.base import Action, Belief, Conclude, Continue, Controller, Inject, Probe, View
from laconic.transcript import Mark, Transcript
from laconic.types import FinishReason, Request

Logits = Callable[[Seq[int]], torch.Tensor]
"""Logits ``[vocab]`` for the token after the given ones."""


def decode(
    logits: Logits, text: Text, request: Request, controllers: Seq[Controller] = (), context: int = 1 << 20
) -> tuple[list[int], FinishReason]:
    """Tokens after the prompt, and why they end."""
    tokens = list(request.prompt)
    transcript = Transcript(text, request, tokens, keep_steps=bool(controllers))
    states = [(controller, controller.start(request)) for controller in controllers]
    draws, prompt = Draws(request.sampling.seed), len(tokens)
    most = min(prompt + request.limits.max_new_tokens, context)
    while True:
        token = draws.pick(warp(logits(tokens), request.sampling), len(tokens))
        mark = transcript.push(token)
        if mark is Mark.FINISHED:
            return tokens[prompt:], "stop"
        limits = [limit for controller, state in states if (limit := controller.limit(state)) is not None]
        thinking = transcript.phase == "thinking"
        if thinking and (mark is Mark.STEP or (limits and transcript.thinking >= min(limits))):
            for token in _ask(logits, text, transcript, states, mark is Mark.STEP):
                if len(tokens) < most:
                    transcript.push(token, injected=True)
        if len(tokens) >= most:
            return tokens[prompt:], "length"


def _ask(
    logits: Logits, text: Text, transcript: Transcript, states: Seq[tuple[Controller, object]], boundary: bool
) -> list[int]:
    """Let the controllers act, in order; the tokens that the first one to act injects."""
    for controller, state in states:
        view = View(transcript.thinking, tuple(transcript.steps), boundary)
        action: Action = controller.decide(state, view)
        while isinstance(action, Probe):
            belief = answer(logits, text, transcript.tokens, action)
            action = controller.decide(state, View(view.thinking, view.steps, boundary, belief))
        if isinstance(action, Continue):
            continue
        written = action.text
        if isinstance(action, Conclude):
            assert text.markup is not None
            written = f"{action.text}{text.markup.close}\n\n"
        assert isinstance(action, (Conclude, Inject))
        return text.encode(written)
    return []


def answer(logits: Logits, text: Text, tokens: Seq[int], probe: Probe) -> Belief:
    """Write a probe's answer greedily, one full pass per token."""
    assert text.markup is not None
    prefix = [*tokens, *text.encode(f"{text.markup.close}\n\n{probe.text}")]
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
        closed = so_far.count("}") > so_far.count("{") if probe.stop == "}" else probe.stop in so_far
        complete = closed or written[-1] in text.eos
    answered = text.decode(written)
    if complete and probe.stop in answered:
        answered = answered[: answered.rfind(probe.stop)]
    return Belief(answered.strip(), tuple(probs), tuple(entropies), complete, len(written))
