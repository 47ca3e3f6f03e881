"""What the model says of a question before its first token: the Reader that an engine lends to routers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from laconic.errors import RequestError, UnmetNeed
from laconic.models.base import chain
from laconic.probe import Ride
from laconic.thinking.base import Belief, Probe
from laconic.types import Limits, Question, Sampling, Usage

if TYPE_CHECKING:
    from laconic.engine import Engine


_CHUNK = 256
"""Tokens that are weighed in one pass: their logits are as wide as the vocabulary."""
_ONE_PASS = 64
"""Longest prompt that is read in one pass, logits of every token included; longer ones are prefilled first."""


class Reading:
    """A Reader for one question; see ``thinking.base.Reader``. What was asked twice is read once.

    ``usage`` counts what reading cost: prompt tokens read, passes, tokens written or scored on the way.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._seen: dict[tuple[int, ...], tuple[torch.Tensor, torch.Tensor | None]] = {}
        self.usage = Usage()

    def hidden(self, question: Question) -> torch.Tensor:
        """``[width]``. Raises UnmetNeed where the model does not show it."""
        _, found = self._end(question)
        if found is None:
            raise UnmetNeed(
                "the target's hidden states are not shown here.", "Use a model that laconic runs itself (CausalLM)."
            )
        return found

    def chances(self, question: Question, options: Sequence[str]) -> list[float]:
        """Read off the logits after the prompt."""
        first = {option: self._first(option) for option in options}
        if len(set(first.values())) < len(options):
            raise RequestError(
                f"{', '.join(map(repr, options))} do not all begin with tokens of their own.", "Use other words."
            )
        return self.token_chances(question, [first[option] for option in options])

    def token_chances(self, question: Question, tokens: Sequence[int]) -> list[float]:
        """The same of tokens."""
        chances = self._end(question)[0].float().softmax(-1)
        return [float(chances[token]) for token in tokens]

    def thought(self, question: Question) -> float:
        """Read off the logits after the prompt."""
        form, begins = self._engine.text.format, self._engine.made(question).phase
        if not form.thinks or begins != "before":
            raise UnmetNeed(
                "whether the model wants to think cannot be read off its first token: "
                + ("it has no thinking phase." if not form.thinks else "the template opens the thought."),
                "Name a token that tells (trigger=...), or use another router.",
            )
        return self.chances(question, [form.opens])[0]

    def answer(self, question: Question, probe: Probe) -> Belief:
        """Follow the greedy answer, one pass a token; a right ``probe.guess`` saves passes."""
        prompt, target, usage = self._engine.prompt(question), self._engine.target, self.usage
        ride = Ride(probe, self._engine.text, prompt[-1])
        if len(prompt) + len(ride.known) + probe.max_tokens > target.context:
            raise RequestError(
                f"the prompt has {len(prompt)} tokens, which leaves no room for an answer.", "Shorten the prompt."
            )
        with torch.inference_mode(), closing(target.open()) as slot:
            usage.prefill_passes += target.prefill(slot, prompt[: len(prompt) - ride.back])
            usage.prompt += len(prompt)
            while (belief := ride.belief()) is None:
                branch = ride.branch
                scores = target.score([chain(branch)], [slot])
                usage.target_passes += 1
                usage.probed += len(branch)
                ride.read(scores.of(0), scores.hidden_of(0))
        return belief

    def likelihood(self, before: Question, after: Question) -> float:
        """How likely the model finds what ``after`` says beyond ``before``: the geometric mean of its tokens'.

        1 where that is nothing.
        """
        begun, prompt = self._engine.prompt(before), self._engine.prompt(after)
        same = next((at for at, (a, b) in enumerate(zip(begun, prompt, strict=False)) if a != b), len(begun))
        target, logs = self._engine.target, 0.0
        if same >= len(prompt):
            return 1.0
        with torch.inference_mode(), closing(target.open()) as slot:
            self.usage.prefill_passes += target.prefill(slot, prompt[: max(same, 1) - 1])
            self.usage.prompt += len(prompt)
            for at in range(max(same, 1), len(prompt), _CHUNK):
                new = prompt[at : at + _CHUNK]
                rows = target.score([chain(prompt[at - 1 : at - 1 + len(new)])], [slot]).of(0).float().log_softmax(-1)
                logs += float(rows.gather(1, torch.tensor(new, device=rows.device)[:, None]).sum())
                slot.commit(range(len(new)))
                self.usage.target_passes += 1
        return math.exp(logs / (len(prompt) - max(same, 1)))

    def write(self, question: Question, max_tokens: int) -> str:
        """Drafted and verified as the engine's own requests are."""
        asked = replace(question, sampling=Sampling(), limits=Limits(max_tokens))
        (result,) = self._engine.run([replace(self._engine.made(asked), controllers=())])
        self.usage.add(result.usage)
        return result.answer

    def cost(self) -> str:
        """What reading has cost, in words; empty if nothing was asked."""
        usage = self.usage
        passes = usage.prefill_passes + usage.target_passes
        if not passes:
            return ""
        scored = usage.probed + usage.generated
        more = f" and {scored} scored below them" if scored else ""
        return f"{usage.prompt} prompt tokens read{more} in {passes} passes"

    def _end(self, question: Question) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Logits ``[vocab]`` and hidden state ``[width]`` (if it is shown) at the prompt's last token."""
        prompt = self._engine.prompt(question)
        if prompt not in self._seen:
            target = self._engine.target
            with torch.inference_mode(), closing(target.open()) as slot:
                begun = 0 if len(prompt) <= _ONE_PASS else len(prompt) - 1
                if begun:
                    self.usage.prefill_passes += target.prefill(slot, prompt[:begun])
                scores = target.score([chain(prompt[begun:])], [slot])
            hidden = scores.hidden_of(0)
            self._seen[prompt] = scores.of(0)[-1].clone(), None if hidden is None else hidden[-1].clone()
            self.usage.target_passes += 1
            self.usage.prompt += len(prompt)
        return self._seen[prompt]

    def _first(self, option: str) -> int:
        tokens = self._engine.text.encode(option)
        if not tokens:
            raise RequestError("an empty word has no first token.", "Name a word.")
        return tokens[0]
