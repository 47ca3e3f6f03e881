"""The decode loop at its barest, so that speculation is tested without the engine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch

import laconic.methods
from laconic.models.base import LanguageModel, chain
from laconic.policy import registry
from laconic.speculation.base import (
    HEARD,
    Context,
    Drafter,
    LengthPolicy,
    TargetRows,
    TokenTree,
    Tools,
    TreeShape,
    Verdict,
    Verifier,
    way_down,
)
from laconic.speculation.draws import Draws
from laconic.speculation.pace import Pace
from laconic.types import Request, Sampling
from tests.fakes import FakeModel

assert laconic.methods  # Importing it fills the registry.


def build(family: Any, spec: str) -> Any:
    """A policy from its spec."""
    return registry.build(family, spec)


def heard(model: FakeModel, context: Context, tree: TokenTree) -> Verdict:
    """The verdict that the loop would give a listener."""
    texts = [[*context.tokens, *way_down(tree.tokens, tree.parents, node)] for node in range(-1, len(tree))]
    logits = torch.stack([model.after(text) for text in texts])
    rows = TargetRows(logits, logits.argmax(-1).tolist(), context.sampling, len(context.tokens))
    verdict = build("verifier", "match").verify(rows, tree, context.draws)
    return Verdict(tree, verdict.path, verdict.next_token, rows, tuple(context.tokens[-HEARD:]))


def context_of(prompt: Sequence[int], sampling: Sampling | None = None) -> Context:
    """A fresh context."""
    sampling = sampling or Sampling()
    request = Request(tuple(prompt), sampling)
    return Context(request, list(prompt), Draws(sampling.seed), len(prompt))


def rows_of(target: FakeModel, context: Context, tree: TokenTree) -> TargetRows:
    """The target's logits at the last committed token and at every node."""
    slot = target.open()
    if len(context.tokens) > 1:
        target.prefill(slot, context.tokens[:-1])
    query = chain(context.tokens[-1:])
    nodes = type(query)([*query.tokens, *tree.tokens], [-1, *(parent + 1 for parent in tree.parents)])
    logits = target.score([nodes], [slot]).of(0)
    return TargetRows(logits, logits.argmax(-1).tolist(), context.sampling, len(context.tokens))


def decode(
    target: FakeModel,
    contexts: Sequence[Context],
    count: int,
    drafter: Drafter,
    *,
    draft: LanguageModel | None = None,
    verifier: Verifier | None = None,
    length: LengthPolicy | None = None,
    shape: TreeShape | None = None,
    after: Callable[[list[Any], list[TokenTree]], None] | None = None,
) -> list[list[int]]:
    """Generate ``count`` tokens for each context; ``after`` sees the drafter's states and trees of each round."""
    verifier = verifier or build("verifier", "match")
    length = length or build("length", "constant:4")
    tools = Tools(draft, shape or build("shape", "chain"), target.vocab_size)
    for context in contexts:
        context.drafting = verifier.drafting
    states = [drafter.start(context, tools) for context in contexts]
    lengths = [length.start(context, Pace()) for context in contexts]
    while min(len(c.tokens) - c.prompt_length for c in contexts) < count:
        budgets = length.budgets(lengths)
        judges = [partial(length.go_on, state) for state in lengths]
        trees = length.select(lengths, drafter.propose(states, budgets, judges))
        verdicts = []
        for context, tree, budget, state in zip(contexts, trees, budgets, lengths, strict=True):
            assert len(tree) <= budget
            rows = rows_of(target, context, tree)
            verdict = verifier.verify(rows, tree, context.draws)
            if drafter.listens:
                verdict = replace(verdict, rows=rows, before=context.tokens[-HEARD:])
            context.tokens += verdict.tokens
            verdicts.append(verdict)
            if len(tree):
                length.observe(state, verdict, 0.0)
        drafter.observe(states, verdicts)
        drafter.credit(states, sum(len(verdict.tokens) for verdict in verdicts), 1.0)
        if after:
            after(states, trees)
    for state in states:
        drafter.finish(state)
    return [c.tokens[c.prompt_length :][:count] for c in contexts]


def plain(target: FakeModel, prompt: Sequence[int], count: int, sampling: Sampling | None = None) -> list[int]:
    """Plain decoding, one token a pass."""
    return decode(target, [context_of(prompt, sampling)], count, build("drafter", "none"))[0]
