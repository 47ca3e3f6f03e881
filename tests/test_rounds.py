"""What a round costs, and what it tells drafters and paces: text alone would not show it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch

from laconic import Limits, Request
from laconic.loop import Loop, Plan
from laconic.models.base import Scores, ScoreTree
from laconic.policy import Needs, knobs
from laconic.sequence import Sequence as Running
from laconic.speculation.base import Arm, Context, Judge, TokenTree, Verdict, way_down
from laconic.speculation.drafters.bandit import Bandit
from laconic.speculation.pace import Pace
from laconic.thinking.base import Action, Conclude, Continue, Inject, Probe, View
from tests.fakes import FakeSlot
from tests.speculation.rounds import build
from tests.told import TEXT, Acting, Drafted, Foretelling, Told, Unmeasured, finished, loop

WRITTEN = "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz"
MODEL = Told({"Q": WRITTEN})
PROBE = Probe("So {", "}")


def right(text: str) -> str:
    """What the model writes."""
    return WRITTEN[len(text) - 1 :]


@knobs
class Notes(Drafted):
    """Keeps what it is told."""

    told: Any = None
    needs = Needs(target_hidden=True)

    def propose(
        self, states: Sequence[Context], budgets: Sequence[int], judges: Sequence[Judge | None]
    ) -> list[TokenTree]:
        for context in states:
            latest = context.latest
            known = latest is not None and latest.hidden is not None and latest.embedding is not None
            state = [*latest.hidden.tolist(), *latest.embedding.tolist()] if known else None  # type: ignore[union-attr]
            self.told.append(("asked", len(context.tokens), state))
        return super().propose(states, budgets, judges)

    def observe(self, states: Sequence[Context], verdicts: Sequence[Verdict]) -> None:
        self.told.append(("observed", [v.accepted for v in verdicts]))

    def credit(self, states: Sequence[Context], tokens: int, seconds: float) -> None:
        self.told.append(("credited", len(states), tokens))


class Shown(Told):
    """Its hidden state says the token at which it is, and its place; an embedding the token."""

    hidden_size = 2
    keep_hidden = True

    def score(self, trees: Sequence[ScoreTree], slots: Sequence[FakeSlot]) -> Scores:
        texts = [self.text(t, s, node) for t, s in zip(trees, slots, strict=True) for node in range(len(t))]
        scores = super().score(trees, slots)
        scores.hidden = torch.tensor([[text[-1], len(text)] for text in texts], dtype=torch.float32)
        return scores

    def embedding(self, token: int) -> torch.Tensor:
        return torch.tensor([float(token)])

    def fingerprint(self) -> str:
        return "0" * 16


class Keeps(Unmeasured):
    """Keeps what it is told of rounds."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[dict[str, Any]] = []

        self.probes: list[tuple[str, bool]] = []

    def record(self, **round_: Any) -> None:
        self.told.append(round_)

    def decided(self, *, goes_on: bool) -> None:
        self.probes.append(("goes on", goes_on))

    def looked(self, *, whole: bool) -> None:
        self.probes.append(("whole", whole))

    def asked_ahead(self, *, reached: bool) -> None:
        self.probes.append(("reached", reached))


def noting(model: Told, told: list[Any], drafts: Any, *controllers: Acting, pace: Pace | None = None) -> Loop:
    parts = Notes(drafts, told=told), build("length", "constant:3"), build("shape", "chain"), build("verifier", "match")
    return Loop(model, TEXT, Plan(*parts, controllers), pace=pace or Unmeasured())


@pytest.mark.parametrize("length", [1, 4, 9])
def test_right_drafts_save_all_the_passes_they_can(length: int) -> None:
    """The tokens of a draft and one more in every pass, the end token among them."""
    parts = Drafted(right), build("length", f"constant:{length}"), build("shape", "chain"), build("verifier", "match")
    running = finished(Loop(MODEL, TEXT, Plan(*parts), pace=Unmeasured()), "Q")
    usage = running.result().usage
    assert running.result().lossless, "where nobody says otherwise"
    assert usage.target_passes == math.ceil((len(WRITTEN) + 1) / (length + 1))
    assert usage.accepted == usage.drafted == usage.answer - usage.target_passes
    assert (usage.probe_passes, usage.prefill_passes, usage.probed) == (0, 0, 0)


def test_a_drafter_hears_of_every_round_in_which_it_was_asked() -> None:
    told: list[Any] = []
    drafts = {"Q": "abX", "Qabc": "", "Qabcd": "efg"}
    finished(noting(MODEL, told, lambda text: drafts.get(text, "X")), "Q", limit=8)
    told = [entry[:2] if entry[0] == "asked" else entry for entry in told]
    assert told == [
        *(("asked", 1), ("observed", [2]), ("credited", 1, 3)),
        *(("asked", 4), ("credited", 1, 1)),
        *(("asked", 5), ("observed", [3]), ("credited", 1, 4)),
    ]


def test_what_a_controller_expects_is_no_lesson_for_the_drafter() -> None:
    told: list[Any] = []
    model = Told({"</think>\n\n": "So {12}", "<think>\n": "ab\n\nc"})
    ends = Acting(act=lambda view: Conclude("enough", expected="So {12}") if view.boundary else Continue())
    running = finished(noting(model, told, lambda text: "" if "</think>" in text else "X", ends))
    assert running.usage.accepted == len("So {12}")
    assert {entry[1][0] for entry in told if entry[0] == "observed"} == {0}


def test_policies_see_the_state_that_the_last_token_was_drawn_from() -> None:
    told: list[Any] = []
    model = Shown({"Hm. ": f"klm\n\n</think>{WRITTEN}", "<think>\n": "abcdefghij\n\nxyz"})
    once = Acting(act=lambda view: Inject("Hm. ", "a step") if view.steps == ["abcdefghij"] else Continue())
    drafts = lambda text: "bcd" if text.endswith("a") else "X"  # noqa: E731
    running = finished(noting(model, told, drafts, once))
    asked = [entry[1:] for entry in told if entry[0] == "asked"]
    assert len(asked) > 20
    unknown = [length for length, state in asked if state is None]
    for length, state in asked:
        if state is not None:
            assert state == [running.tokens[length - 2], length - 1, running.tokens[length - 1]]
    injected = TEXT.decode(running.tokens).index("Hm. ") + len("Hm. ")
    assert len(unknown) == 2, "before the first pass, and behind what was injected"
    assert TEXT.decode(running.tokens[: unknown[1]]) == TEXT.decode(running.tokens)[:injected]


def test_rounds_are_recorded_as_they_were() -> None:
    pace = Keeps()
    made = noting(MODEL, [], lambda text: "abc" if text == "Q" else "X", pace=pace)
    for prompt in ("Q", "zzzzQ"):
        made.add(Request(tuple(TEXT.encode(prompt)), limits=Limits(5)))
    while made.active:
        made.step()
    counts = [(r["nodes"], r["given"], r["tokens"], r["draft_passes"]) for r in pace.told]
    assert counts[0] == (1 + 3 + 5 + 1, 4, 4 + 1, 0)
    assert counts[1] == (1 + 0 + 1 + 1, 0, 2, 0), "no draft for the last token of a request"
    assert sum(tokens for _, _, tokens, _ in counts) == 10
    assert all(r[phase] >= 0 for r in pace.told for phase in ("draft", "score", "rest"))


def test_the_seconds_of_a_pass_are_shared() -> None:
    made = loop(MODEL, right)
    both = [made.add(Request(tuple(TEXT.encode("Q")), limits=Limits(30))) for _ in range(2)]
    while made.active:
        made.step()
    first, second = (s.usage.seconds for s in both)
    for phase in ("draft", "score", "verify", "policy"):
        assert first[phase] == second[phase] > 0


def test_an_end_that_its_probe_has_seen_costs_no_pass() -> None:
    """The probe rides ahead of its step, guessed rightly; the answer is taken over from its branch."""
    model = Told({"</think>\n\nSo {": "12}.", "</think>\n\n": "So {12}.", "<think>\n": "abc\n\nd"})
    act = lambda view: Continue() if not view.boundary else PROBE if view.belief is None else Conclude("heard")  # noqa: E731
    guess = Probe("So {", "}", guess="12}.")
    passes = []
    for asks in (lambda view: None, lambda view: guess):
        acting = Foretelling(act=lambda view: guess if act(view) is PROBE else act(view), asks=asks)
        running = finished(loop(model, lambda text: "bc\n\n" if text.endswith("a") else "", [acting]))
        assert TEXT.decode(running.tokens) == "Q<think>\nabc\n\n</think>\n\nSo {12}.<|im_end|>"
        passes.append(running.usage.target_passes)
    assert passes[0] - passes[1] == 1
    assert passes[1] < 6


def test_paces_hear_how_probes_end() -> None:
    """The first was asked ahead in vain, the second rightly; the last question is a second one at the same place."""
    first, second = Probe("So {", "}", guess="12"), Probe("Sure {", "}", max_tokens=1)

    def act(view: View) -> Action:
        if not view.boundary:
            return Continue()
        if view.belief is None:
            return first
        if view.belief.answer == "12" and len(view.steps) == 2:
            return second
        return Conclude("heard") if len(view.steps) == 2 else Continue()

    model = Told({"So {": "12}", "Sure {": "yes}", "</think>\n\n": "12", "<think>\n": "ab\n\ncd\n\nef"})
    drafts = {"a": "X\n\n", "c": "d\n\n"}
    pace = Keeps()
    asking = Foretelling(act=act, asks=lambda view: first)
    finished(noting(model, [], lambda text: drafts.get(text[-1], ""), asking, pace=pace))
    assert pace.probes == [
        *(("reached", False), ("whole", True), ("goes on", True)),
        *(("reached", True), ("whole", True), ("whole", False), ("goes on", False)),
    ]


@knobs
class Listener(Drafted):
    """Keeps what it hears, and what the target's rows say comes next at every node."""

    told: Any = None
    needs = Needs(target_rows=True)

    def observe(self, states: Sequence[Context], verdicts: Sequence[Verdict]) -> None:
        for verdict in verdicts:
            assert verdict.rows is not None
            rows = verdict.rows.logits
            assert len(rows) == len(verdict.tree) + 1
            assert rows.argmax(-1).tolist() == list(verdict.rows.best)
            above = [way_down(verdict.tree.tokens, verdict.tree.parents, i) for i in range(-1, len(verdict.tree))]
            before = list(verdict.before)
            for path, row in zip(above, rows, strict=True):
                self.told.append((TEXT.decode([*before, *path]), int(row.argmax()), verdict.tree.source))


def listening(drafter: Any, prompt: str, model: Told, *controllers: Acting, limit: int = 400) -> Running:
    parts = drafter, build("length", "constant:3"), build("shape", "chain"), build("verifier", "match")
    return finished(Loop(model, TEXT, Plan(*parts, controllers), pace=Unmeasured()), prompt, limit)


def test_a_listener_hears_of_every_round_and_every_node() -> None:
    """Rounds without a draft and refused tokens, too; what it is told is what the model makes of that very text."""
    heard: list[Any] = []
    drafts = {"Q": "abX", "Qabc": "", "Qabcd": "efg"}
    running = listening(Listener(lambda text: drafts.get(text, ""), told=heard), "Q", MODEL, limit=10)
    texts = [text for text, _, _ in heard]
    assert texts == ["Q", "Qa", "Qab", "QabX", "Qabc", "Qabcd", "Qabcde", "Qabcdef", "Qabcdefg", "abcdefgh", "bcdefghi"]
    assert running.usage.target_passes == 5
    for text, said, _ in heard:
        if text.startswith("Q"):
            assert said == MODEL.said(tuple(TEXT.encode(text)))


def test_a_listener_hears_of_drafts_that_others_made() -> None:
    heard: list[Any] = []
    model = Told({"</think>\n\n": "So {12}", "<think>\n": "ab\n\nc"})
    ends = Acting(act=lambda view: Conclude("enough", expected="So {12}") if view.boundary else Continue())
    running = listening(Listener(lambda text: "", told=heard), "Q<think>\n", model, ends)
    assert running.usage.accepted == len("So {12}")
    assert [source for _, _, source in heard].count("expected") == 1 + len("So {12}")
    assert [source for _, _, source in heard].count("") == running.usage.target_passes - 1


@pytest.mark.parametrize(("wrapper", "source"), [("suffix", "suffix"), ("bandit", "prompt-lookup")])
def test_a_listener_inside_another_drafter_hears_as_much(wrapper: str, source: str) -> None:
    """Also of rounds that the outer drafter drafted itself, or gave to another arm (an unmeasured pace: the first)."""
    heard: list[Any] = []
    outer = replace(build("drafter", "suffix:shared=false"), fallback=Listener(lambda text: "", told=heard))
    if wrapper == "bandit":
        parts = build("length", "constant:3"), build("shape", "chain")
        outer = Bandit(arms=[Arm(build("drafter", "prompt-lookup"), *parts), Arm(outer, *parts)])
    assert outer.listens
    running = listening(outer, "Q", Told({"Q": "abcabcabcabcabcabcabcabcabcabcabc"}))
    assert running.usage.drafted > 3
    assert len(heard) == running.usage.target_passes + running.usage.drafted
    assert {source for _, _, source in heard} == {"", source}


def test_others_are_given_no_rows() -> None:
    seen: list[Verdict] = []

    @knobs
    class Deaf(Drafted):
        """Keeps verdicts."""

        def observe(self, states: Sequence[Context], verdicts: Sequence[Verdict]) -> None:
            seen.extend(verdicts)

    running = listening(Deaf(lambda text: "ab" if text == "Q" else ""), "Q", MODEL, limit=10)
    assert running.usage.target_passes > len(seen) == 1
    assert seen[0].rows is None
    assert not seen[0].before
