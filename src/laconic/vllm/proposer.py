"""A drafter for vLLM's ``custom_class``: laconic's own drafters and lengths, request by request, down to no draft.

    vllm serve MODEL --speculative-config \\
      '{"method": "custom_class", "model": "laconic.vllm.proposer.Proposer", "num_speculative_tokens": 16}'
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from laconic.engine import Methods, policies
from laconic.errors import UnmetNeed
from laconic.speculation.base import EMPTY, Context, Drafting, TokenTree, Tools, Verdict
from laconic.speculation.drafters.history import common_prefix
from laconic.speculation.draws import Draws
from laconic.speculation.pace import Pace
from laconic.types import Request
from laconic.vllm.holder import Holder
from laconic.vllm.host import Host
from laconic.vllm.seats import Seat
from laconic.vllm.workers import listen


@dataclass(slots=True)
class Drafted:
    """What is kept about one request: the policies' states, and the draft that is being verified."""

    context: Context
    drafter: Any
    length: Any
    tree: TokenTree = EMPTY
    """The drafter's last draft; a text that somebody else expects is none of its drafts."""
    nodes: int = 0
    """How many tokens were drafted for the pass under way."""


class Proposer:
    """vLLM makes one of these a worker, with its configuration, and asks it after every pass.

    Drafter and length are those of laconic's settings (:class:`laconic.vllm.host.Settings`). Raises UnmetNeed for
    methods that need a draft model, or look into either.
    """

    def __init__(self, vllm_config: Any) -> None:
        host = Host.of(vllm_config)
        methods = Methods(drafter=host.settings.drafter, length=host.settings.length)
        plan = methods.plan()
        for policy in policies(plan):
            needs = policy.needs
            hidden = needs.target_hidden or needs.draft_hidden or needs.target_layers or needs.target_parts
            if needs.draft_model or needs.draft_distribution or needs.target_rows or hidden:
                raise UnmetNeed(
                    f"'{policy.name}' needs a draft model, hidden states or logits, which laconic's proposer does not "
                    "have.",
                    "Use suffix, prompt-lookup or history methods, or vLLM's own draft models.",
                )
        if plan.drafter.choices:
            raise UnmetNeed(f"'{plan.drafter.name}' chooses among ways to draft, which vLLM's rounds do not tell it.")
        self.pace = Pace()
        self.most = int(vllm_config.speculative_config.num_speculative_tokens)
        self.context = host.context
        self._drafter, self._length = plan.drafter, plan.length
        self._tools = Tools(None, plan.shape, host.rows, self.pace)
        self._holder: Holder = listen(self._gone)
        self._asked_at = self._left_at = 0.0
        self._before: dict[int, Seat] = {}
        """Who was in the last pass, by the identity of their outputs."""

    def load_model(self, *args: Any, **kwargs: Any) -> None:
        """Nothing to load."""

    def propose(
        self,
        sampled_token_ids: Sequence[Sequence[int]],
        num_tokens_no_spec: Any,
        token_ids_cpu: Any,
        slot_mappings: Any = None,
    ) -> list[list[int]]:
        """A draft for each row of the batch, given what the pass that is over has sampled for it."""
        begun = time.perf_counter()
        seats = self._holder.seats.rows
        rows = [row for row, sampled in enumerate(sampled_token_ids) if len(sampled) and row in seats]
        writing = [(row, seats[row]) for row in rows]
        for row, seat in writing:
            seat.catch_up()
            self._learn(seat, list(sampled_token_ids[row]))
        new = sum(len(sampled_token_ids[row]) for row in rows)
        self._record(writing, len(sampled_token_ids), new, begun)
        drafts: list[list[int]] = [[] for _ in sampled_token_ids]
        free: list[tuple[int, Seat, int]] = []
        for row, seat in writing:
            room = self._room(seat)
            state = cast(Drafted, seat.drafting)
            state.tree = EMPTY
            known = self._known(seat)
            if known and room > 0:
                drafts[row] = known[:room]
            elif room > 0:
                free.append((row, seat, room))
        self._draft(free, drafts)
        for row, seat in writing:
            seat.drafting.nodes = len(drafts[row])
        self._before = {id(seat.output): seat for _, seat in writing}
        self._asked_at, self._left_at = begun, time.perf_counter()
        return drafts

    def _draft(self, free: Sequence[tuple[int, Seat, int]], drafts: list[list[int]]) -> None:
        states = [cast(Drafted, seat.drafting) for _, seat, _ in free]
        wished = self._length.budgets([state.length for state in states])
        asked = [
            (row, state, min(wish, room))
            for (row, _, room), state, wish in zip(free, states, wished, strict=True)
            if wish > 0
        ]
        if not asked:
            return
        judges = [self._length.judge(state.length) for _, state, _ in asked]
        trees = self._drafter.propose([state.drafter for _, state, _ in asked], [n for _, _, n in asked], judges)
        trees = self._length.select([state.length for _, state, _ in asked], trees)
        for (row, state, _), tree in zip(asked, trees, strict=True):
            state.tree = tree
            drafts[row] = list(tree.tokens)

    def _learn(self, seat: Seat, sampled: list[int]) -> None:
        """Take in what was sampled, and what it says of the last draft."""
        if seat.drafting is None:
            request = Request(tuple(seat.prompt) or (0,))
            context = Context(request, [*seat.prompt, *seat.output], Draws(0), len(seat.prompt), Drafting.SAMPLE)
            seat.drafting = Drafted(
                context, self._drafter.start(context, self._tools), self._length.start(context, self.pace)
            )
            return
        state = cast(Drafted, seat.drafting)
        written = len(state.context.tokens) - len(seat.prompt)
        state.context.tokens += seat.output[written:]
        if len(state.tree):
            held = common_prefix(list(state.tree.tokens), sampled[:-1])
            verdict = Verdict(state.tree, range(held), sampled[held])
            self._drafter.observe([state.drafter], [verdict])
            self._length.observe(state.length, verdict, self.pace.last)

    def _record(self, writing: Sequence[tuple[int, Seat]], rows: int, tokens: int, begun: float) -> None:
        """Measure the pass that is over: from the end of the last call to this one, if all who were in it were in that.

        Prompts of unknown length make a pass useless for this, and so does a time of idleness before it.
        """
        same = len(writing) == rows and all(id(seat.output) in self._before for _, seat in writing)
        if not same or not writing:
            return
        nodes = sum(1 + seat.drafting.nodes for _, seat in writing)
        self.pace.record(
            nodes=nodes,
            tokens=tokens,
            draft_passes=0,
            draft=self._left_at - self._asked_at,
            score=begun - self._left_at,
            rest=0.0,
        )

    def _known(self, seat: Seat) -> list[int]:
        """What will come next whatever the model thinks, or probably: forced text, an answer that a probe has seen."""
        if seat.following is not None and (owed := seat.following.owed):
            return list(owed)
        written = len(seat.output)
        if written < len(seat.expected) and list(seat.expected[:written]) == seat.output:
            return list(seat.expected[written:])
        return []

    def _room(self, seat: Seat) -> int:
        """Tokens that are worth drafting at most."""
        room = min(self.most, seat.most - len(seat.output) - 1, self.context - len(seat.prompt) - len(seat.output) - 1)
        if seat.following is not None and not seat.following.owed:
            room = min(room, seat.following.sequence.room(self.context))
        return max(room, 0)

    def _gone(self, seat: Seat) -> None:
        """A request has ended: what it wrote is kept for those to come."""
        if seat.drafting is not None:
            state, seat.drafting = cast(Drafted, seat.drafting), None
            self._drafter.finish(state.drafter)
