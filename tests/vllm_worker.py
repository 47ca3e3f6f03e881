"""Passes over a batch as vLLM's workers make them, over the hashed model."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from laconic import Sampling
from laconic.speculation.draws import warp
from tests.vllm_fakes import END, MODEL, Direction, Params, Update


@dataclass(eq=False)
class Client:
    """A request. ``output`` is the list that grows in the worker, ``text`` what the client is sent of it."""

    prompt: list[int]
    params: Params
    output: list[int] = field(default_factory=list)
    text: list[int] = field(default_factory=list)
    held: list[int] = field(default_factory=list)
    """What stands behind the placeholders at the end of ``output``."""
    ended: bool = False
    known: bool = False
    """Whether the scheduler has heard that it has ended."""
    untouched: bool = True
    """Whether all of its rows have stayed as they were."""

    def __post_init__(self) -> None:
        self.dice = torch.Generator().manual_seed(self.params.seed or 0)
        self.sampling = Sampling(self.params.temperature, top_p=self.params.top_p)

    def take(self, new: Sequence[int]) -> None:
        """Send the client what is new, up to the end."""
        ends = {END, *(self.params.stop_token_ids or ())}
        for token in new:
            if not self.ended:
                self.text.append(token)
                self.ended = token in ends or len(self.text) == self.params.max_tokens


class Worker:
    """Passes over a batch of few seats: requests come, leave, make way and come back, and change rows.

    Drafts are of random lengths and sometimes wrong. What is written beyond an end stays in the output, as it does in
    vLLM. ``late`` is asynchronous scheduling: a placeholder stands for each new token until the next pass needs it, a
    request that has ended is in one pass more, and one that comes back has a new list of its output.
    """

    def __init__(self, holder: Any, seed: int, *, most: int = 5, seats: int = 4, late: bool = False) -> None:
        self.holder, self.dice, self.most, self.seats, self.late = holder, random.Random(seed), most, seats, late
        self.rows: list[Client | None] = []
        self.waiting: list[Client] = []
        self.preempted = self.moves = 0

    def run(self, clients: Sequence[Client]) -> None:
        """Serve them to their ends."""
        self.waiting = list(clients)
        for _ in range(5000):
            self._change()
            if not self.rows and not self.waiting:
                return
            if self.rows:
                self.step()
        raise AssertionError("it never ends")

    def _change(self) -> None:
        """A step of the scheduler, and what the batch makes of it; all of a request's rows are told in one update."""
        rows, added, moved = self.rows, list[Any](), list[Any]()
        for row, client in enumerate(rows):
            if client is None:
                continue
            ended = client.known if self.late else client.ended
            client.known = client.ended
            if not client.ended and self.dice.random() < 0.04:
                self.preempted += 1
                self.waiting.append(client)
            elif not ended:
                continue
            rows[row] = None
        empty = [row for row, client in enumerate(rows) if client is None]
        while self.waiting and len(rows) - len(empty) < self.seats and self.dice.random() < 0.8:
            client = self.waiting.pop(0)
            if client.held:
                client.output = [token for token in client.output if token != -1] + client.held
                client.held = []
            row = empty.pop(0) if empty else len(rows)
            rows[row : row + 1] = [client]
            added.append((row, client.params, client.prompt, client.output))
        while empty and (last := max((row for row, one in enumerate(rows) if one), default=-1)) > empty[0]:
            row = empty.pop(0)
            rows[row], rows[last] = rows[last], None
            moved.append((last, row, Direction.UNIDIRECTIONAL))
        rows[:] = [client for client in rows if client is not None]
        if len(rows) > 1 and self.dice.random() < 0.3:
            one, other = self.dice.sample(range(len(rows)), 2)
            rows[one], rows[other] = rows[other], rows[one]
            moved.append((one, other, Direction.SWAP))
        self.moves += len(moved)
        if added or moved or empty:
            self.holder.sync_batch(Update(len(rows), empty[::-1], added, moved))

    def step(self) -> None:
        """One pass: drafts, rows, what the holder makes of them, and what is accepted."""
        clients = [client for client in self.rows if client is not None]
        for client in clients:  # what was under way has arrived
            while client.held:
                client.output[client.output.index(-1)] = client.held.pop(0)
        drafts = [self._draft(row, client) for row, client in enumerate(clients)]
        texts = [[*c.prompt, *c.output, *d] for c, d in zip(clients, drafts, strict=True)]
        bonus = torch.stack([MODEL.after(text) for text in texts])
        inner = [
            MODEL.after(t[: len(t) - len(d) + at]) for t, d in zip(texts, drafts, strict=True) for at in range(len(d))
        ]
        target = torch.stack(inner) if inner else torch.zeros(0, 264)
        before = bonus.clone(), target.clone()
        if self.holder.has_tracked_requests():
            self.holder.update_state([client.output for client in clients], drafts, repeat_indices=None)
            bonus = self.holder.apply_to_logits(bonus, bool(inner), drafts)
            if inner:
                target = self.holder.apply_to_logits(target, predict_bonus_token=False, spec_token_ids=drafts)
        first = 0
        for row, (client, draft) in enumerate(zip(clients, drafts, strict=True)):
            mine = slice(first, first + len(draft))
            first += len(draft)
            same = torch.equal(before[0][row], bonus[row]) and torch.equal(before[1][mine], target[mine])
            client.untouched = client.untouched and same
            if client.output or self.dice.random() < 0.8:  # else its prompt has not been read whole
                self._accept(client, draft, [*target[mine], bonus[row]])

    def _accept(self, client: Client, draft: Sequence[int], rows: Sequence[torch.Tensor]) -> None:
        new: list[int] = []
        for at, row in enumerate(rows):
            if client.sampling.greedy:
                new.append(int(row.argmax()))
            else:
                new.append(int(torch.multinomial(warp(row.float(), client.sampling), 1, generator=client.dice)))
            if at == len(draft) or new[-1] != draft[at]:
                break
        client.take(new)
        client.output += [-1] * len(new) if self.late else new
        client.held = new if self.late else []

    def _draft(self, row: int, client: Client) -> list[int]:
        """What is owed, now and then, and what the model would write, with an error here and there."""
        seat = self.holder.seats.rows.get(row)
        following = seat.following if seat is not None else None
        draft = following.owed[: self.most] if following is not None and self.dice.random() < 0.5 else []
        for _ in range(self.dice.randrange(self.most + 1) - len(draft) if client.output else 0):
            right = int(MODEL.after([*client.prompt, *client.output, *draft]).argmax())
            draft.append(right if self.dice.random() < 0.8 else self.dice.randrange(262))
        return draft


class Drafting(Worker):
    """A worker that drafts by a proposer, and keeps drafts with their requests."""

    def __init__(self, holder: Any, proposer: Any, seed: int) -> None:
        super().__init__(holder, seed)
        self.proposer = proposer
        self.drafts: dict[int, list[int]] = {}
        self.sampled: dict[int, list[int]] = {}
        self.drafted = self.accepted = 0

    def _draft(self, row: int, client: Client) -> list[int]:
        return self.drafts.pop(id(client), [])

    def _accept(self, client: Client, draft: Sequence[int], rows: Any) -> None:
        before = len(client.output)
        super()._accept(client, draft, rows)
        self.sampled[id(client)] = client.output[before:]
        self.drafted += len(draft)
        self.accepted += len(self.sampled[id(client)]) - 1

    def step(self) -> None:
        self.sampled.clear()
        super().step()
        clients = [client for client in self.rows if client is not None]
        drafts = self.proposer.propose([self.sampled.get(id(client), []) for client in clients], None, None)
        for row, (client, draft) in enumerate(zip(clients, drafts, strict=True)):
            self.drafts[id(client)] = draft
            following = self.holder.seats.rows[row].following
            assert len(draft) <= 8
            assert not draft or len(client.output) + len(draft) < (client.params.max_tokens or 0)
            if following is not None and following.owed and id(client) in self.sampled:
                assert draft == following.owed[:8][: len(draft)]
                assert draft or len(client.output) + 1 >= (client.params.max_tokens or 0)
