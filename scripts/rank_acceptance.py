"""How often the target takes the drafter's first, second, third ... guess: what ``sequoia`` builds its tree for.

    python scripts/rank_acceptance.py --n 21
    python scripts/rank_acceptance.py --n 21 --temperature 0.8 --verifier speculative-sampling

Every pass is given the drafter's ``--ranks`` best guesses at the next token (drawn ones where the verifier wants them),
so every pass tells the rank of one token. Prints the shares, written as the knob takes them.
"""

from __future__ import annotations

import argparse
import sys
from functools import cached_property
from typing import ClassVar

import torch

from laconic import Engine, Limits, Sampling
from laconic.bench.tasks import draw, load
from laconic.policy import Card, knobs
from laconic.speculation.base import Context, LengthPolicy, Verdict
from laconic.speculation.pace import Pace
from laconic.speculation.shape.optimal import acceptance_by_rank


@knobs
class Witness(LengthPolicy):
    """A fixed number of tokens a pass; remembers what became of them."""

    card: ClassVar[Card] = Card(paper="a script's own", lossless=True)

    tokens: int = 8

    @cached_property
    def verdicts(self) -> list[Verdict]:
        """All rounds so far."""
        return []

    def start(self, context: Context, pace: Pace) -> None:
        """Nothing of its own."""

    def budget(self, state: None) -> int:
        """Always the same."""
        return self.tokens

    def observe(self, state: None, verdict: Verdict, seconds: float) -> None:
        """Remember, without the rows."""
        self.verdicts.append(verdict)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=21)
    parser.add_argument("--model", default="bundled")
    parser.add_argument("--draft-model", default="bundled-draft")
    parser.add_argument("--temperature", type=float, default=0.0)
    parser.add_argument("--verifier", default="match")
    parser.add_argument("--ranks", type=int, default=8)
    parser.add_argument("--max-tokens", type=int, default=200)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    witness = Witness(given.ranks)
    engine = Engine.load(
        given.model, draft=given.draft_model, drafter="draft-model", shape=f"k-ary:{given.ranks}",
        verifier=given.verifier, length=witness,
    )  # fmt: skip
    requests = [
        engine.request(item.question, sampling=Sampling(given.temperature, seed=at), limits=Limits(given.max_tokens))
        for at, item in enumerate(draw(load(None), given.n, 0))
    ]
    engine.run(requests, batch=len(requests))
    shares = acceptance_by_rank(witness.verdicts, given.ranks)
    sys.stdout.write(f"{len(witness.verdicts)} passes\n{'/'.join(f'{share:.4f}' for share in shares)}\n")


if __name__ == "__main__":
    main()
