"""Who sits where in vLLM's batch, as its updates tell."""

from __future__ import annotations

from typing import Any

import pytest

from laconic.vllm.asked import EXPECTED
from laconic.vllm.seats import Seat, Seats
from tests.vllm_fakes import END, Direction, Params, Update, host, prompts, think

ONE_WAY, SWAP = Direction.UNIDIRECTIONAL, Direction.SWAP
PROMPT = prompts(1)[0]


class Hall:
    """Seats of requests ``a``, ``b`` ..., whose names are their prompts."""

    def __init__(self) -> None:
        self.gone: list[str] = []
        self.taken: list[str] = []
        self.seats = Seats(self._take, lambda seat: self.gone.append(chr(seat.prompt[0])))
        self.params = {name: Params(max_tokens=4) for name in "abcdef"}
        self.outputs: dict[str, list[int]] = {name: [] for name in "abcdef"}

    def _take(self, params: Any, prompt: Any, output: list[int]) -> Seat:
        self.taken.append(chr(prompt[0]))
        return Seat.of(params, prompt, output)

    def sync(self, *added: tuple[int, str], removed: Any = (), moved: Any = ()) -> str:
        given = [(row, self.params[name], [ord(name)], self.outputs[name]) for row, name in added]
        self.seats.sync(Update(9, removed, given, moved))
        return " ".join(f"{row}{chr(seat.prompt[0])}" for row, seat in self.seats)


def test_rows_are_followed() -> None:
    hall = Hall()
    assert hall.sync((0, "a"), (1, "b"), (2, "c")) == "0a 1b 2c"
    assert hall.sync(moved=[(0, 2, SWAP)]) == "0c 1b 2a"
    assert hall.sync(removed=[1]) == "0c 2a"
    assert hall.sync(moved=[(2, 1, ONE_WAY)]) == "0c 1a"
    assert hall.sync(moved=[(1, 3, SWAP)]) == "0c 3a"
    assert hall.sync(moved=[(2, 0, SWAP)]) == "2c 3a"
    assert hall.sync((0, "d"), removed=[2, 3]) == "0d"
    assert not hall.gone


def test_rows_are_used_again_within_one_update() -> None:
    hall = Hall()
    hall.sync((0, "a"), (1, "b"), (2, "c"), (3, "d"))
    for name in "ab":
        hall.outputs[name].append(END)
    assert hall.sync((0, "e"), moved=[(3, 1, ONE_WAY)]) == "0e 1d 2c"
    assert hall.gone == ["a", "b"]
    assert hall.sync((1, "f"), removed=[2], moved=[(0, 1, SWAP)]) == "0f 1e"
    assert hall.gone == ["a", "b"]


@pytest.mark.parametrize("fresh", [False, True])
def test_who_comes_back_goes_on(fresh: bool) -> None:
    hall = Hall()
    hall.sync((0, "a"), (1, "b"))
    seat, output = hall.seats.rows[0], hall.outputs["a"]
    output += [65, -1]
    assert hall.sync(removed=[0]) == "1b"
    output[-1] = 66
    hall.outputs["a"] = [65, 66] if fresh else output
    assert hall.sync((0, "a")) == "0a 1b"
    assert hall.seats.rows[0] is seat
    assert seat.output is hall.outputs["a"]
    assert hall.taken == ["a", "b"]


@pytest.mark.parametrize("refilled", ["added", "moved"])
def test_who_makes_way_and_comes_back_in_one_update_goes_on(refilled: str) -> None:
    hall = Hall()
    hall.sync((0, "a"), (1, "b"), (2, "c"))
    seat = hall.seats.rows[1]
    hall.outputs["a"].append(END)
    if refilled == "added":
        assert hall.sync((0, "b"), (1, "d")) == "0b 1d 2c"
    else:
        assert hall.sync((0, "b"), moved=[(2, 1, ONE_WAY)]) == "0b 1c"
    assert hall.seats.rows[0] is seat
    assert hall.gone == ["a"]


def test_others_are_not_taken_for_who_was_parked() -> None:
    hall = Hall()
    hall.sync((0, "a"), (1, "b"))
    hall.outputs["a"].append(65)
    hall.sync(removed=[0, 1])
    for name, output in (("c", [65]), ("a", [66]), ("b", [])):
        hall.outputs[name] = output
        hall.sync((0, name), removed=[0])
    assert hall.taken == ["a", "b", "c", "a", "b"]


@pytest.mark.parametrize("output", [[65, END], [65, END, 66], [65, END, -1], [65, 66, 67, 68], [7]])
def test_ended_requests_are_reported_once(output: list[int]) -> None:
    hall = Hall()
    hall.params["a"].stop_token_ids = [7]
    hall.sync((0, "a"), (1, "b"))
    hall.outputs["a"] += output
    hall.sync(removed=[0])
    assert hall.gone == ["a"]
    hall.sync(removed=[0])
    hall.sync((0, "c"))
    assert hall.gone == ["a"]


def test_who_never_comes_back_is_gone_at_last() -> None:
    hall = Hall()
    for n in range(300):
        hall.params["a"], hall.outputs["a"] = Params(), [n]
        hall.sync((0, "a"))
        hall.sync(removed=[0])
    assert len(hall.gone) == 300 - 256


def test_drafts_of_rows() -> None:
    hall = Hall()
    assert hall.seats.drafts(None) == []
    assert hall.seats.drafts([[1], []]) == [[1], []]
    hall.sync((2, "a"))
    assert hall.seats.drafts(None) == [[], [], []]
    assert hall.seats.drafts([[1], [2, 3]]) == [[1], [2, 3], []]
    assert hall.seats.drafts([[], [], [5], [6]]) == [[], [], [5], [6]]


def test_what_a_seat_knows() -> None:
    seat = Seat.of(Params(max_tokens=None, stop_token_ids=[9], extra_args={EXPECTED: [1, 2]}), None, [])
    assert (seat.prompt, seat.most, seat.expected, seat.over) == ([], 1 << 40, (1, 2), False)
    assert {9, END} <= set(seat.ends)


def test_a_control_that_raises_ends_its_own_seat(caplog: pytest.LogCaptureFixture) -> None:
    made = host()
    seats = []
    for _ in range(2):
        params = think("budget:2")
        asked = made.asked(params)
        assert asked is not None
        seats.append(Seat(PROMPT, [], made.follow(asked, PROMPT, params)))
    for seat in seats:
        seat.try_to(lambda following: following.plan([]))
        seat.output += [70, 70]
        seat.catch_up()
    assert seats[0].following is not None
    (forced, *_) = seats[0].following.owed
    seats[0].output.append(forced + 1)
    seats[1].output.append(forced)
    for seat in seats:
        seat.catch_up()
        seat.try_to(lambda following: following.plan([]))
    assert seats[0].following is None
    assert seats[0].failed.startswith("OutOfStep: ")
    assert seats[1].following is not None
    assert not seats[1].failed
    assert [record.levelname for record in caplog.records] == ["ERROR"]
