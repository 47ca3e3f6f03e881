"""A batch of vLLM's under laconic's holder: each request writes what laconic's own engine writes, others their own."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
import torch

from laconic import Format, Limits
from laconic.models.text import Text
from laconic.vllm.holder import Holder
from laconic.vllm.seats import Seat
from tests import tiny
from tests.vllm_fakes import END, TEXT, Params, Update, fakes_of_methods, host, own, plain, prompts, think
from tests.vllm_worker import Client, Worker

THINK = {
    "budget": ("budget:24",),
    "landing": ("budget:40,landing=0.5", "loop-break:every=16"),
    "answer": ("budget:16,answer=12",),
    "kept open": ("budget:60,minimum=24,waits=2", "loop-break:every=16"),
    "nothing": (),
}


@dataclass
class Theirs:
    """vLLM's own holder, which only notes what it is told."""

    budgets: dict[int, int] = field(default_factory=dict)
    calls: list[tuple[Any, ...]] = field(default_factory=list)

    def has_tracked_requests(self) -> bool:
        return bool(self.budgets)

    def sync_batch(self, update: Any) -> None:
        for row in update.removed:
            self.budgets.pop(row, None)
        for row, params, _, _ in update.added:
            self.budgets.pop(row, None)
            if params.thinking_token_budget is not None:
                self.budgets[row] = params.thinking_token_budget

    def update_state(self, outputs: Any, drafts: Any, repeat_indices: Any = None) -> None:
        self.calls.append((outputs, drafts, repeat_indices))

    def apply_to_logits(self, logits: torch.Tensor, bonus: bool, drafts: Any) -> torch.Tensor:
        self.calls.append((len(logits), bonus, drafts))
        return logits + 1


def holding(theirs: Any = None, **options: Any) -> Holder:
    return Holder(theirs, host(**options))


def check(client: Client, methods: tuple[str, ...], limits: Limits) -> None:
    """The text is that of laconic's own engine, but for the end token that makes vLLM stop an answer."""
    right = own(methods, client.prompt, limits)
    text, expected = list(client.text), list(right.tokens)
    if right.finish_reason == "length" and len(expected) < limits.max_new_tokens:
        assert text.pop() == END
    assert text == expected


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("most", [0, 5])
@pytest.mark.parametrize("name", THINK)
def test_texts_are_those_of_laconics_engine(name: str, most: int, late: bool) -> None:
    methods = THINK[name]
    for seed in range(3):
        gone: list[Seat] = []
        holder = holding()
        holder.seats.left = gone.append
        mine = [Client(prompt, think("+".join(methods) or "none")) for prompt in prompts(6)]
        others = [Client(prompt, Params(max_tokens=40 + 9 * n)) for n, prompt in enumerate(prompts(3))]
        worker = Worker(holder, seed, most=most, late=late)
        worker.run([client for both in zip(mine, others, strict=False) for client in both] + mine[3:])
        assert worker.preempted > 0
        assert worker.moves > 5
        for client in mine:
            check(client, methods, Limits(128))
            assert not client.untouched
        for client in others:
            assert client.untouched
            assert client.text == plain(client.prompt, client.params.max_tokens or 0)[: len(client.text)]
        assert len({id(seat) for seat in gone}) == len(gone) == 9
        assert not holder.seats.rows
        assert not holder.has_tracked_requests()


@pytest.mark.parametrize("late", [False, True])
def test_drawn_texts_keep_their_budgets_and_are_answered(late: bool) -> None:
    gone: list[Seat] = []
    holder = holding(theirs := Theirs(), think="budget:24+loop-break:every=16")
    holder.seats.left = gone.append
    clients = [Client(prompt, Params(temperature=0.9, top_p=0.95, seed=n)) for n, prompt in enumerate(prompts(12))]
    Worker(holder, 1, late=late).run(clients)
    assert len(gone) == 12
    for seat in gone:
        assert seat.following is not None
        transcript = seat.following.sequence.transcript
        assert transcript.thinking <= 24
        assert transcript.parts().answer.strip()
    assert theirs.budgets == {}


def test_the_same_seeds_write_the_same_whatever_else_is_there() -> None:
    texts = []
    for seed in (1, 2):
        clients = [Client(p, think("budget:24", temperature=0.9, seed=n)) for n, p in enumerate(prompts(4))]
        others = [Client(p, Params()) for p in prompts(seed)]
        Worker(holding(), seed, most=0).run([*others, *clients])
        texts.append([client.text for client in clients])
    assert texts[0] == texts[1]


@pytest.mark.parametrize(("late", "most"), [(False, 0), (False, 5), (True, 5)])
@pytest.mark.parametrize("where", ["", ":ruling=true"])
def test_a_controller_that_raises_ends_its_own_request_alone(
    where: str, late: bool, most: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    fakes_of_methods(monkeypatch)
    fault = host().fault
    bad = [Client(prompts(4)[n], think(f"faulty{where}", stop_token_ids=[fault])) for n in (1, 3)]
    good = [Client(p, think("budget:24")) for p in prompts(5)[2:]]
    other = Client(prompts(1)[0], Params())
    holder = holding()
    Worker(holder, 4, most=most, late=late).run([bad[0], good[0], other, bad[1], *good[1:]])
    for client in bad:
        assert client.text[-1] == fault
        assert client.text[:-1] == plain(client.prompt, 128)[: len(client.text) - 1]
        assert 13 - most <= len(client.text) <= 13  # it is found out with the draft in hand
    for client in good:
        check(client, ("budget:24",), Limits(128))
    assert other.untouched
    assert [record.exc_info[0] for record in caplog.records if record.exc_info] == [ValueError, ValueError]


def test_rows_of_a_failed_request_allow_the_fault_alone(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    fakes_of_methods(monkeypatch)
    holder, (prompt, output) = holding(), (prompts(1)[0], [65] * 12)
    holder.sync_batch(Update(1, added=[(0, think("faulty"), prompt, output)]))
    assert holder.has_tracked_requests()
    holder.update_state([output], [[65, 66]])
    bonus = holder.apply_to_logits(torch.zeros(1, 264), predict_bonus_token=True, spec_token_ids=[[65, 66]])
    rows = holder.apply_to_logits(torch.zeros(2, 264), predict_bonus_token=False, spec_token_ids=[[65, 66]])
    for row in (*bonus, *rows):
        assert row.isfinite().nonzero().tolist() == [[263]]
    assert "no decision" in holder.seats.rows[0].failed
    assert holder.has_tracked_requests()


def test_what_the_server_let_through_wrongly_ends_here(caplog: pytest.LogCaptureFixture) -> None:
    holder = holding(theirs := Theirs())
    wrong = think("settled", thinking_token_budget=9)
    holder.sync_batch(Update(1, added=[(0, wrong, prompts(1)[0], output := [])]))
    assert theirs.budgets == {}
    holder.update_state([output], None)
    row = holder.apply_to_logits(torch.zeros(1, 264), predict_bonus_token=False, spec_token_ids=None)[0]
    assert row.isfinite().nonzero().tolist() == [[263]]
    assert "UnmetNeed" in holder.seats.rows[0].failed


def test_vllms_holder_keeps_the_budgets_that_laconic_does_not() -> None:
    unknown = Text(tiny.tokenizer(), format=Format("", ""))
    (prompt, outputs) = prompts(1)[0], [list[int]() for _ in range(3)]
    for text, left in ((TEXT, {}), (unknown, {0: 7, 1: 8})):
        holder = Holder(theirs := Theirs(), host(text))
        params = [Params(thinking_token_budget=7), Params(thinking_token_budget=8), Params()]
        given = [(row, one, prompt, out) for row, (one, out) in enumerate(zip(params, outputs, strict=True))]
        holder.sync_batch(Update(3, added=given))
        assert theirs.budgets == left
        assert [one.thinking_token_budget for one in params] == [7, 8, None]
        assert holder.has_tracked_requests()


def test_vllms_holder_is_asked_as_vllm_asks() -> None:
    holder = Holder(theirs := Theirs(), host())
    repeat, outputs, drafts = torch.tensor([0, 0]), [[65]], [[65, 66]]
    holder.sync_batch(Update(1, added=[(0, Params(), prompts(1)[0], outputs[0])]))
    holder.update_state(outputs, drafts, repeat_indices=repeat)
    assert torch.equal(holder.apply_to_logits(torch.zeros(1, 264), True, drafts), torch.ones(1, 264))
    assert torch.equal(holder.apply_to_logits(torch.zeros(2, 264), False, drafts), torch.ones(2, 264))
    assert theirs.calls == [(outputs, drafts, repeat), (1, True, drafts), (2, False, drafts)]
    assert holder.budgets is theirs.budgets
    holder.sync_batch(None)
    with pytest.raises(AttributeError):
        _ = holder.think_end_token_ids
