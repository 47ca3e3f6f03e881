"""What a model behind a server says of a question before its first token: the Reader that a RemoteEngine lends."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from laconic.errors import NoLogprobs
from laconic.reading import Reading
from laconic.remote.probe import believe
from laconic.thinking.base import Belief, Probe
from laconic.types import Question, Sampling

if TYPE_CHECKING:
    from laconic.remote.engine import RemoteEngine


class RemoteReading(Reading):
    """Asks by short completions, which count as passes. There are no hidden states.

    What a server says in part is filled up: tokens outside the likeliest share the rest of the probability evenly.
    Raises NoLogprobs where it gives no probabilities: routers go by them.
    """

    def __init__(self, engine: RemoteEngine) -> None:
        super().__init__(engine)
        self._remote = engine

    def answer(self, question: Question, probe: Probe) -> Belief:
        """A probe's completion below the prompt."""
        engine, prompt = self._remote, self._remote.prompt(question)
        asked = believe(engine.writer, probe, prompt, max(engine.writer.asking.logprobs, 1), "a router")
        belief, tokens = engine.model.wait(asked)
        self.usage.prompt += len(prompt)
        self.usage.probed += tokens
        self.usage.target_passes += belief.passes
        return belief

    def _end(self, question: Question) -> tuple[torch.Tensor, None]:
        """Log probabilities ``[vocab]`` after the prompt: those that the server gives, and all others as equals."""
        engine, prompt = self._remote, self._remote.prompt(question)
        if prompt not in self._seen:
            asked = engine.writer.write(
                prompt, most=1, sampling=Sampling(), logprobs=max(engine.writer.asking.logprobs, 1)
            )
            said = engine.model.wait(asked).said
            if not said:
                raise NoLogprobs("a router looks at probabilities, which the server does not give.")
            known = {self._id(name): value for name, value in (said[0].top or {said[0].token: said[0].logprob}).items()}
            size = max(engine.target.vocab_size, *(token + 1 for token in known))
            rest = max(1 - sum(map(math.exp, known.values())), 0.0) / max(size - len(known), 1)
            row = torch.full((size,), math.log(rest) if rest else -math.inf)
            for token, value in known.items():
                row[token] = value
            self._seen[prompt] = row, None
            self.usage.prompt += len(prompt)
            self.usage.target_passes += 1
        return self._seen[prompt][0], None

    def _id(self, name: int | str) -> int:
        return name if isinstance(name, int) else self._remote.text.encode(name)[0]
