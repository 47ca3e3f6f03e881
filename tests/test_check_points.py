"""What controllers are told and when: where drafts fail, probes ride ahead of their step, and several of them ask."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from laconic import Limits, Request, reference
from laconic.speculation.base import TokenTree
from laconic.thinking.base import Action, Conclude, Continue, Controller, Inject, Probe, View
from tests.told import TEXT, Acting, Drafts, Foretelling, Told, chances, finished, loop, told

FIRST, SECOND = Probe("First {", "}"), Probe("Second {", "}")
ENDS = "</think>"


def asking(probe: Probe) -> Callable[[View], Action]:
    """Ask at the end of every step; think on whatever was found."""
    return lambda view: probe if view.boundary and view.belief is None else Continue()


def same_as_the_slow_loop(
    model: Told, controllers: Sequence[Controller], drafts: Drafts, seen: list[View]
) -> list[View]:
    """Run both loops, whose texts and what ``seen`` was shown must agree; the latter, as the fast loop told it."""
    running = finished(loop(model, drafts, controllers))
    fast = list(seen)
    seen.clear()
    request = Request(tuple(TEXT.encode("Q<think>\n")), limits=Limits(400))
    tokens, finish = reference.decode(model.after, TEXT, request, controllers, model.context)
    assert (running.tokens[running.context.prompt_length :], running.finish) == (tokens, finish)
    assert [told(view) for view in fast] == [told(view) for view in seen]
    for mine, right in zip(fast, seen, strict=True):
        assert chances(mine) == pytest.approx(chances(right), abs=1e-5)
    return fast


def test_what_one_controller_learns_is_not_told_to_the_next() -> None:
    model = Told({"First {": "1}", "Second {": "2}", "<think>\n": f"ab\n\ncd{ENDS}done"})
    seen: list[View] = []
    controllers = Acting(act=asking(FIRST)), Acting(act=asking(SECOND), seen=seen)
    views = same_as_the_slow_loop(model, controllers, lambda text: "", seen)
    assert [view.belief and view.belief.answer for view in views] == [None, "2"]


@pytest.mark.parametrize("drafted", ["b\n\n", "bX\n\n", "Xb\n\n"])
def test_a_probe_is_answered_at_its_own_place_and_for_its_own_controller(drafted: str) -> None:
    """Whatever the second controller has asked ahead, maybe below a draft that is refused."""
    script = {"X\n\n</think>First {": "8}", "X\n\n</think>Second {": "9}", "First {": "1}", "Second {": "2}"}
    model = Told(script | {"<think>\n": f"ab\n\ncd{ENDS}done"})
    for act, answers in ((asking(FIRST), [None, "1", None, "2"]), (lambda view: Continue(), [None, None, "2"])):
        seen: list[View] = []
        first, second = Acting(act=act, seen=seen), Foretelling(act=asking(SECOND), asks=lambda view: SECOND, seen=seen)
        drafts = lambda text: drafted if text.endswith("a") else ""  # noqa: E731
        views = same_as_the_slow_loop(model, (first, second), drafts, seen)
        assert [view.belief and view.belief.answer for view in views] == answers


def test_an_end_is_not_taken_over_from_a_branch_at_another_place() -> None:
    """A probe rode ahead below a draft that was refused, and the thought ends before that for another reason."""
    model = Told({f"X\n\n{ENDS}\n\n": "wrong", f"{ENDS}\n\n": "right", "<think>\n": "ab\n\ncd\n\n"})
    seen: list[View] = []
    ends = Acting(act=lambda view: Conclude("enough") if view.boundary else Continue(), seen=seen)
    foretells = Foretelling(act=asking(FIRST), asks=lambda view: FIRST)
    for drafted in ("b\n\n", "bX\n\n"):
        running = finished(loop(model, lambda text, d=drafted: d if text.endswith("a") else "", (ends, foretells)))
        assert TEXT.decode(running.tokens) == f"Q<think>\nab\n\n{ENDS}\n\nright<|im_end|>"


def test_the_very_next_token_is_asked_ahead_below_the_last_one() -> None:
    """A probe that adds nothing begins one token before its place, also where that is only drafted."""
    quiet = Probe("", "\n", max_tokens=1, close=False, watch="c")
    seen: list[View] = []
    model = Told({"<think>\n": f"ab\n\ncd{ENDS}done"})
    controller = Foretelling(act=asking(quiet), asks=lambda view: quiet, seen=seen)
    views = same_as_the_slow_loop(model, [controller], lambda text: "b\n\n" if text.endswith("a") else "", seen)
    belief = views[1].belief
    assert belief is not None
    assert (belief.answer, belief.watched and belief.watched.rank) == ("c", 0)


def test_limits_are_asked_anew_once_a_controller_has_written() -> None:
    """A limit that held until then must not bring check points after it."""
    seen: list[View] = []
    once = Acting(
        act=lambda view: Inject("Hm. ", "five tokens") if view.thinking == 5 else Continue(),
        limits=lambda views: 5 if not views else None,
        seen=seen,
    )
    model = Told({"Hm. ": f"fghij{ENDS}done", "<think>\n": "abcdefgh"})
    views = same_as_the_slow_loop(model, [once], lambda text: "bcd", seen)
    assert [view.thinking for view in views] == [5]


def test_chances_along_a_tree_are_those_of_the_path_that_stood() -> None:
    tree = TokenTree([TEXT.encode(c)[0] for c in "XbYc"], [-1, -1, 0, 1])
    seen: list[View] = []
    model = Told({"<think>\n": f"abcd\n\ne{ENDS}done"})
    views = same_as_the_slow_loop(model, [Acting(seen=seen)], lambda text: tree if text.endswith("\na") else "", seen)
    assert [len(view.chances) for view in views] == [5]


def test_only_so_many_steps_are_written_beside_a_probe() -> None:
    """Otherwise a slow probe would let a thought run on that it may end."""
    model = Told({"First {": "123456789012345}", "<think>\n": "a\n\n" * 30 + ENDS})
    made = loop(model, lambda text: "a\n\n", [Acting(act=asking(FIRST))])
    running = made.add(Request(tuple(TEXT.encode("Q<think>\n")), limits=Limits(400)))
    most = 0
    for _ in range(14):
        made.step()
        most = max(most, len(running.checks))
    assert most == 4, "three, and the one whose probe is out"


def test_nothing_is_written_beyond_a_limit_before_it_is_decided() -> None:
    act = lambda view: FIRST if view.belief is None else Conclude("heard")  # noqa: E731
    model = Told({"First {": "1234}", "<think>\n": "abcdefghijklmn", f"{ENDS}\n\n": "done"})
    made = loop(model, lambda text: "bcdefghi", [Acting(act=act, limits=lambda views: 5)])
    running = made.add(Request(tuple(TEXT.encode("Q<think>\n")), limits=Limits(400)))
    written = []
    while not running.done and len(written) < 99:
        made.step()
        written.append(running.transcript.thinking)
    assert max(written) == 5
    assert len(written) > 5, "the probe took passes"


def test_passes_of_a_probe_alone_are_counted() -> None:
    model = Told({"First {": "12}", "<think>\n": f"ab\n\ncd\n\ne{ENDS}done"})
    for probes, passes in (("separate", 2 * 3), ("branch", 0)):
        running = finished(loop(model, lambda text: "", [Acting(act=asking(FIRST))], probes))  # type: ignore[arg-type]
        assert running.usage.probe_passes == passes


def test_a_request_that_waits_holds_up_no_other() -> None:
    """The first waits at a limit for its probe; the one behind it in the batch writes on."""
    act = lambda view: FIRST if view.belief is None else Conclude("heard")  # noqa: E731
    model = Told({"First {": "12345678}", "<think>\n": "abcdefghijklmn", "Q": "opqrstuvwxyz"})
    waits = (Acting(act=act, limits=lambda views: 2),)
    made = loop(model)
    asked = (Request(tuple(TEXT.encode("Q<think>\n")), controllers=waits), Request(tuple(TEXT.encode("Q"))))
    first, second = (made.add(request) for request in asked)
    for _ in range(8):
        made.step()
    assert (first.generated, second.generated) == (2, 8)
    assert first.usage.probe_passes == 6


def test_who_does_not_mind_the_end_of_a_thought_costs_no_pass_there() -> None:
    model = Told({f"{ENDS}\n\n": "cd", "<think>\n": "ab<|im_end|>"})
    running = finished(loop(model, controllers=[Acting(), Acting()]))
    assert TEXT.decode(running.tokens) == f"Q<think>\nab{ENDS}\n\ncd<|im_end|>"
    assert (running.usage.target_passes, running.usage.probe_passes) == (6, 0)
