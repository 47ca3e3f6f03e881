"""The replay loop: drafters and length rules at work on a recorded text, without the model that wrote it.

A greedy target that would have written the record stands in for the model: at each place it chooses the recorded
token. Everything else is as in ``laconic.loop``: the same contracts, the same order of calls, one target pass a round.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from laconic.bench.along import follow
from laconic.errors import LaconicError
from laconic.speculation.base import EMPTY, Context, Drafter, LengthPolicy, Tools, TreeShape, Verdict
from laconic.speculation.drafters.history import common_prefix
from laconic.speculation.draws import Draws
from laconic.speculation.pace import Pace
from laconic.types import Request

QUARTERS = 4


class ReplayError(LaconicError):
    """What was decoded is not what was recorded: a fault in a drafter or in the loop."""


@dataclass(frozen=True, slots=True)
class Script:
    """A recording as token ids. Each turn is ``(given, written)``; what is written ends in an end token."""

    id: str
    turns: tuple[tuple[list[int], list[int]], ...]

    @property
    def written(self) -> int:
        """Tokens that the model wrote."""
        return sum(len(written) for _, written in self.turns)

    @property
    def given(self) -> int:
        """Tokens that the model read."""
        return sum(len(given) for given, _ in self.turns)


@dataclass(slots=True)
class Tally:
    """What a replay counted. ``by_place`` holds ``[tokens, passes]`` for each quarter of a record's own output."""

    given: int = 0
    output: int = 0
    passes: int = 0
    drafted: int = 0
    accepted: int = 0
    drafting_seconds: float = 0.0
    """CPU time in the drafter's own calls and the length rule's."""
    seconds: float = 0.0
    """CPU time of the whole replay, loop included."""
    by_place: list[list[int]] = field(default_factory=lambda: [[0, 0] for _ in range(QUARTERS)])

    def add(self, other: Tally) -> None:
        """Add another tally to this one."""
        for name in ("given", "output", "passes", "drafted", "accepted", "drafting_seconds", "seconds"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for mine, theirs in zip(self.by_place, other.by_place, strict=True):
            mine[0] += theirs[0]
            mine[1] += theirs[1]


NODES_PER_PASS = 64
"""There is no model here: for rules that weigh costs, this many nodes cost as much as the rest of a pass."""


def play(
    script: Script, drafter: Drafter, length: LengthPolicy, shape: TreeShape, *, end: int, vocab_size: int
) -> Tally:
    """Replay one record and count. ``end`` is the id that ends a turn; the target stays at it once it is reached.

    A conversation is one context that grows: at each turn the given text is appended and ``prompt_length`` moves
    to its end. Raises ReplayError if the decoded tokens are not those of the record.
    """
    tally = Tally(given=script.given, output=script.written)
    clock = time.perf_counter  # asking for the time of the processor takes a twentieth of a token's time
    begun, cpu = clock(), time.process_time()
    first = script.turns[0][0]
    context = Context(Request(tuple(first)), list(first), Draws(0), len(first))
    state = drafter.start(context, Tools(None, shape, vocab_size))
    pace = Pace()
    knowledge = length.start(context, pace)
    judges = [length.judge(knowledge)]
    tally.drafting_seconds += clock() - begun
    done = 0
    for turn, (given, written) in enumerate(script.turns):
        if turn:
            context.tokens += given
            context.prompt_length = len(context.tokens)
        at = 0
        verdict = None
        while at < len(written):
            t0 = clock()
            budget = length.budgets([knowledge])[0]
            tree = drafter.propose([state], [budget], judges)[0] if budget > 0 else EMPTY
            spent = clock() - t0
            path = follow(tree, written, at)
            after = at + len(path)
            verdict = Verdict(tree, path, written[after] if after < len(written) else end)
            kept = min(len(path) + 1, len(written) - at)
            context.tokens += verdict.tokens[:kept]
            if len(tree):
                t0 = clock()
                drafter.observe([state], [verdict])
                length.observe(knowledge, verdict, spent)
                spent += clock() - t0
            nodes = len(tree) + 1
            pace.record(nodes=nodes, tokens=kept, draft_passes=0, draft=0.0, score=1 + nodes / NODES_PER_PASS, rest=0.0)
            place = tally.by_place[QUARTERS * (done + at) // tally.output]
            place[0] += kept
            place[1] += 1
            tally.passes += 1
            tally.drafted += len(tree)
            tally.accepted += min(len(path), kept)
            tally.drafting_seconds += spent
            at += kept
        if verdict is not None and not len(verdict.tree):
            # More text is about to be given: the drafter must have seen first what was written.
            drafter.observe([state], [verdict])
        done += len(written)
    t0 = clock()
    drafter.finish(state)
    now = clock()
    tally.drafting_seconds += now - t0
    # Time that others had the processor counts for nobody: all is scaled to what this process was given.
    tally.seconds = time.process_time() - cpu
    tally.drafting_seconds *= tally.seconds / (now - begun)
    _assert_same(script, context)
    return tally


def _assert_same(script: Script, context: Context) -> None:
    recorded = [token for given, written in script.turns for token in (*given, *written)]
    if context.tokens == recorded:
        return
    at = common_prefix(recorded, context.tokens)
    raise ReplayError(
        f"'{script.id}': what was decoded is not the record; first difference at token {at} of {len(recorded)}.",
        "This is a fault in the drafter or in laconic, not in the record: please report it.",
    )
