"""Probes of difficulty for tests: untrained, but of different minds about different questions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from laconic import Engine, Methods
from laconic.models.causal_lm import CausalLM
from laconic.models.text import Text
from laconic.reading import Reading
from laconic.thinking.route.difficulty import About, Network, Trained

QUESTIONS = ("What is 1+1?", "Why?", "What is 22 times 33, and what is that plus 4?", "So?", "How many of them?")


def probe(target: CausalLM, text: Text, *, units: int = 0, questions: Sequence[str] = QUESTIONS) -> Trained:
    """A random probe for ``target``, by which these questions differ."""
    torch.manual_seed(1)
    network = Network(target.hidden_size, units)
    target.keep_hidden = True
    engine = Engine(target, text, Methods(drafter="none"))
    asked = [engine.request(question).question for question in questions]
    network.settle(torch.stack([Reading(engine).hidden(q) for q in asked if q is not None]))
    return Trained(network.eval().requires_grad_(False), About(target.fingerprint(), target.hidden_size, units))


def spec(folder: Path, target: CausalLM, text: Text) -> str:
    """Write such a probe into ``folder`` and name the router that goes by it."""
    probe(target, text).save(folder / "difficulty")
    return f"route-by-probe:{folder / 'difficulty'}"
