"""What stands where vLLM's V1 workers keep their thinking budgets: both samplers ask it, with the drafts in hand.

vLLM asks in this order, once a pass: ``sync_batch`` with who came and left, ``update_state`` with what was written and
what is drafted, ``apply_to_logits`` with one row a request (the row after a whole draft, where there are drafts), and
where there are drafts again with one row for each of their tokens.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch

from laconic.vllm.host import Host, log
from laconic.vllm.seats import Seat, Seats


class Holder:
    """Control of the requests that ask for it; all others are left to ``theirs``, vLLM's own holder, if it has one."""

    def __init__(self, theirs: Any, host: Host) -> None:
        self.theirs, self.host = theirs, host
        self.seats = Seats(self._taken)
        self._count = 0
        self._drafts: list[list[int]] = []
        self._whole = False
        """Whether the rows after whole drafts have been asked about, so that those of the drafts come next."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["theirs"], name)

    def has_tracked_requests(self) -> bool:
        """Whether vLLM must say what is written and ask about rows."""
        return self._controls() or (self.theirs is not None and bool(self.theirs.has_tracked_requests()))

    def sync_batch(self, update: Any) -> None:
        """Requests came, left or changed places."""
        if not update:
            return
        self.seats.sync(update)
        if self.theirs is not None:
            self.theirs.sync_batch(self._left(update))

    def update_state(
        self,
        output_token_ids: Sequence[list[int]],
        spec_token_ids: Sequence[list[int]] | None,
        repeat_indices: torch.Tensor | None = None,
    ) -> None:
        """What has been written, and what is drafted in the pass that rows will be asked about."""
        self._drafts, self._whole = self.seats.drafts(spec_token_ids), False
        for row, seat in self.seats:
            seat.catch_up()
            draft = self._drafts[row]
            seat.try_to(lambda following, draft=draft: following.plan(draft))  # type: ignore[misc]
        if self.theirs is not None:
            self.theirs.update_state(output_token_ids, spec_token_ids, repeat_indices=repeat_indices)

    def apply_to_logits(
        self, logits: torch.Tensor, predict_bonus_token: bool, spec_token_ids: Sequence[list[int]] | None
    ) -> torch.Tensor:
        """Make of the rows what they shall be, in place."""
        of_drafts = self._whole and not predict_bonus_token
        self._whole = self._whole or predict_bonus_token
        looks = any(seat.following is not None and seat.following.looks for seat in self.seats.rows.values())
        best = logits.argmax(-1).tolist() if looks else None  # one look at the device for all rows
        first = 0
        for row, draft in enumerate(self._drafts):
            size = len(draft) if of_drafts else 1
            offset = 0 if of_drafts or not predict_bonus_token else len(draft)
            seat = self.seats.rows.get(row)
            if seat is not None:
                for at in range(size):
                    self._shape(logits, first + at, seat, offset + at, best)
            first += size
        if self.theirs is not None:
            logits = self.theirs.apply_to_logits(logits, predict_bonus_token, spec_token_ids)
        return logits

    def _shape(self, logits: torch.Tensor, index: int, seat: Seat, at: int, best: Sequence[int] | None) -> None:
        if index >= len(logits):
            return
        if seat.following is not None and at < len(seat.following.rows):
            likeliest = None if best is None else best[index]
            seat.try_to(lambda following: _write(logits, index, following.shaped(at, logits[index], likeliest)))
        if seat.failed:
            only = torch.full_like(logits[index], -torch.inf)
            only[self.host.fault] = 0.0
            _write(logits, index, only)

    def _controls(self) -> bool:
        return any(seat.following is not None or seat.failed for seat in self.seats.rows.values())

    def _taken(self, params: Any, prompt: Sequence[int] | None, output: list[int]) -> Seat:
        """A request that came. What cannot be controlled should have been refused by the server: here it ends."""
        seat = Seat.of(params, prompt, output)
        try:
            asked = self.host.asked(params)
            if asked is not None and prompt:
                self._count += 1
                seat.following = self.host.follow(asked, prompt, params, self._count)
        except Exception as error:
            log.exception("a request cannot be controlled, it is ended")
            seat.failed = f"{type(error).__name__}: {error}"
        return seat

    def _left(self, update: Any) -> Any:
        """The update without the budgets that are kept here."""
        added = []
        for row, params, prompt, output in update.added:
            mine = any(seat.output is output and (seat.following or seat.failed) for seat in self.seats.rows.values())
            if mine:
                params = copy.copy(params)
                params.thinking_token_budget = None
            added.append((row, params, prompt, output))
        return type(update)(update.batch_size, update.removed, added, update.moved)


def _write(logits: torch.Tensor, index: int, row: torch.Tensor | None) -> None:
    if row is not None:
        logits[index] = row
