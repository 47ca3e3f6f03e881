"""Two models at one thought: who wrote what, what each has read and how often, and what a refusal leaves behind."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from laconic import Engine, Limits, Methods, Sampling
from laconic.bench.fit.arbitrage import fit
from laconic.bench.tasks import draw
from laconic.bench.tasks import load as tasks
from laconic.collaboration.arbitrage import features
from laconic.collaboration.base import Collaboration, Looks, Piece, Thought, Turn, Verdict
from laconic.collaboration.together import Pair
from laconic.errors import HeadError, TaskError, UnmetNeed
from laconic.judges.base import Judge
from laconic.models.base import chain
from laconic.models.causal_lm import CausalLM
from laconic.policy import Card, registry
from tests import tiny
from tests.fakes import Writes

HARD = "What is 37 * 48 + 15?"
LIMITS = Limits(900)


@cache
def pair() -> Pair:
    large = Engine.load("bundled", drafter="none", length="constant")
    return Pair(large, Engine.load("bundled-draft", drafter="none", length="constant"))


def answer(policy: str | Collaboration, **options: Any) -> Any:
    return pair().answer(HARD, policy, **({"limits": LIMITS} | options))


def quiet() -> bool:
    return not any(engine.target.host.slots for engine in (pair().large, pair().small))  # type: ignore[attr-defined]


@dataclass(frozen=True)
class Scripted(Collaboration):
    """Turns and verdicts in order; the last turn again and again."""

    name = "scripted"
    card = Card(paper="a test", lossless=False)
    turns: tuple[Turn, ...] = (Turn("small"),)
    refused: frozenset[int] = frozenset()
    """Numbers of pieces that do not stand."""
    asks: bool = False
    heard: list[float] = field(default_factory=list, compare=False)

    def turn(self, state: Any, thought: Thought) -> Turn:
        return self.turns[min(len(thought.written), len(self.turns) - 1)]

    def stands(self, state: Any, thought: Thought, piece: Piece, looks: Looks) -> Verdict:
        if self.asks:
            self.heard.append(looks.likelihood())
        return Verdict(len(thought.written) not in self.refused)


@pytest.mark.parametrize("who", ["large", "small"])
@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_alone_it_is_what_that_model_writes(who: str, temperature: float) -> None:
    sampling = Sampling(temperature, seed=2)
    found = answer(f"alone:{who}", sampling=sampling)
    engine = getattr(pair(), who)
    alone = engine.generate(HARD, sampling=sampling, limits=LIMITS)
    assert found.result.tokens == alone.tokens
    assert found.share == (1.0 if who == "large" else 0.0)
    assert quiet()


def test_step_by_step_by_one_model_is_what_it_writes_at_once() -> None:
    found = answer(Scripted((Turn("large"),)), sampling=Sampling(0.8, seed=2))
    alone = pair().large.generate(HARD, sampling=Sampling(0.8, seed=2), limits=LIMITS)
    assert len(found.pieces) > 2
    assert found.result.tokens == alone.tokens
    assert "".join(piece.text for piece in found.pieces).strip() == alone.thinking


def test_a_thought_of_both_is_the_same_text_in_both() -> None:
    found = answer(Scripted((Turn("small"), Turn("large"), Turn("small", 7), Turn("large"), Turn("large"))))
    sides = [piece.side for piece in found.pieces]
    assert sides[:3] == ["small", "large", "small"]
    assert found.pieces[2].tokens == 7
    assert "".join(piece.text for piece in found.pieces).strip() == found.result.thinking
    assert 0 < found.share < 1
    assert found.answer


def test_what_is_refused_leaves_nothing_behind() -> None:
    """The text goes on as if the refused piece had never been written."""
    found = answer(Scripted((Turn("small"), Turn("large")), frozenset({0}), asks=True))
    alone = pair().large.generate(HARD, limits=LIMITS)
    assert found.pieces[0].refused
    assert found.refused == found.pieces[0].tokens > 0
    assert found.result.tokens == alone.tokens
    assert quiet()


def test_a_refused_piece_is_written_anew_from_where_it_began() -> None:
    found = answer(Scripted((Turn("small"),), frozenset({1, 2, 5})))
    assert [piece.refused for piece in found.pieces[:6]] == [False, True, True, False, False, True]
    assert found.pieces[1].text == found.pieces[2].text == found.pieces[3].text  # greedy: the same again
    assert found.pieces[4].text != found.pieces[3].text


def test_neither_reads_anything_twice() -> None:
    """Prompt, pieces and what is written: every token is scored once by each model, refused ones and answers apart."""
    for refused in (frozenset[int](), frozenset({0, 2})):
        policy = Scripted((Turn("small"), Turn("large"), Turn("small"), Turn("large")), refused, asks=True)
        seen = {"large": 0, "small": 0}
        engines = {}
        for side in seen:
            engine = getattr(pair(), side)
            engines[side] = Engine(_Counted(engine.target, seen, side), engine.text, engine.methods)
        found = Pair(engines["large"], engines["small"]).answer(HARD, policy, limits=LIMITS)
        gone = sum(piece.tokens for piece in found.pieces if piece.refused)
        # One token is read again behind every look at a piece, and where a piece was taken back.
        backs = sum(1 + piece.refused for piece in found.pieces if piece.side == "small")
        prompt = found.large.prompt
        assert seen["large"] <= prompt + len(found.result.tokens) + gone + backs
        assert seen["small"] <= prompt + found.small.generated + gone + backs


@pytest.mark.parametrize("most", [None, 20, 150, 400])
def test_the_likelihood_is_that_of_a_text_read_from_nothing(most: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of short pieces and of those that are longer than one pass looks at."""
    monkeypatch.setattr("laconic.collaboration.scribe._CHUNK", 64)
    policy = Scripted((Turn("small", most, whole=most is not None),), asks=True)
    found = answer(policy)
    large = pair().large
    prompt = list(large.request(HARD).prompt)
    before = [*prompt, *large.text.encode(large.text.format.opens + large.text.format.lead)]
    first = large.text.encode(found.pieces[0].text)
    slot = large.target.open()
    rows = large.target.score([chain([*before, *first])], [slot]).of(0).log_softmax(-1)
    logs = rows[len(before) - 1 : -1].gather(1, torch.tensor(first)[:, None])
    assert policy.heard[0] == pytest.approx(float(logs.mean().exp()), rel=1e-3)
    slot.close()


def test_the_last_piece_may_be_refused() -> None:
    """With drafts that reach beyond the closing tag and the end of the text, which are then as if never written."""
    drafting = pair().small.using(drafter="suffix", length="constant:16")
    for _ in range(2):  # the second time it knows the text to its end
        both = Pair(pair().large, drafting)
        found = both.answer(HARD, Scripted((Turn("small", whole=True), Turn("large", whole=True)), frozenset({0})))
        assert found.pieces[0].refused
        assert found.pieces[0].closes
        assert found.result.tokens == pair().large.generate(HARD).tokens
    assert quiet()


def test_a_thought_that_one_has_ended_is_ended_in_the_other_without_a_word() -> None:
    found = answer(Scripted((Turn("small", whole=True),)))
    assert "Time is up" not in found.result.text
    assert found.result.thinking == found.pieces[0].text.strip()


def test_no_room_left_ends_the_thought_whoever_writes() -> None:
    for turns in ((Turn("large"), Turn("small")), (Turn("small"),), (Turn("large"),)):
        found = answer(Scripted(turns), limits=Limits(120))
        assert found.answer
        assert found.result.text.count("</think>") == 1
        assert "".join(piece.text for piece in found.pieces).strip() in found.result.thinking


def test_every_drafted_thought_is_another() -> None:
    found = answer("speculative-cot:drafts=3,threshold=1", sampling=Sampling(0.9, seed=1))
    drafted = [piece.text for piece in found.pieces if piece.side == "small"]
    assert len(set(drafted)) == len(drafted) == 3
    assert found.share == 1


def test_no_character_is_parted() -> None:
    text = tiny.text()
    thought = "☃☃☃ déjà vu, ☃ naïve ☃☃"
    tokens = [*text.encode(f"<think>\n{thought}\n</think>\n\nok"), *sorted(text.eos)[:1]]
    prompt = len(Engine(Writes(1, tokens, 264), text).request("hello").prompt)
    engine = Engine(Writes(prompt, tokens, 264), text, Methods(drafter="none", length="constant"))
    turns = Scripted((Turn("large", 2), Turn("small", 2), *(Turn("large", n) for n in (1, 2, 3, 1)), Turn("small", 2)))
    found = Pair(engine, engine).answer("hello", turns)
    assert found.result.thinking == thought
    assert all("\ufffd" not in piece.text for piece in found.pieces)


class _Counted:
    """Counts the nodes that a model has scored or prefilled."""

    def __init__(self, model: Any, seen: dict[str, int], side: str) -> None:
        self._model, self._seen, self._side = model, seen, side

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def score(self, trees: Any, slots: Any) -> Any:
        self._seen[self._side] += sum(map(len, trees))
        return self._model.score(trees, slots)

    def prefill(self, slot: Any, tokens: Any) -> int:
        self._seen[self._side] += len(tokens)
        return self._model.prefill(slot, tokens)


@pytest.mark.parametrize("name", sorted(set(registry.names("collaboration")) - {"reward-guided", "arbitrage"}))
@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_every_policy_answers(name: str, temperature: float) -> None:
    found = answer(name, sampling=Sampling(temperature, seed=1))
    assert found.result.finish_reason == "stop"
    assert found.answer
    assert found.large.seconds
    assert quiet()


def test_a_judge_decides() -> None:
    found = answer("reward-guided:judge=[equations]")
    assert all(piece.refused == (piece.score < 0.7) for piece in found.pieces if piece.side == "small")
    assert any(piece.refused for piece in found.pieces)
    assert answer("reward-guided:judge=[equations:unknown=1]").share < found.share
    assert answer("reward-guided:judge=[equations],threshold=0").share == 0


def test_thresholds_move_the_share() -> None:
    assert answer("spec-reason:threshold=0,by=likelihood").share == 0
    for threshold in (7.5, 8.9):
        found = answer(f"spec-reason:threshold={threshold},by=likelihood")
        assert found.share > 0
        assert all(p.refused == (p.score < threshold) for p in found.pieces if p.score is not None)


def test_speculation_nests_inside_the_steps() -> None:
    drafting = Pair(pair().large.using(drafter="suffix", length="marginal"), pair().small)
    policy = "spec-reason:threshold=7.5,by=likelihood"
    found = drafting.answer(HARD, policy, limits=LIMITS)
    plain = answer(policy)
    assert found.result.tokens == plain.result.tokens
    assert [(p.side, p.text) for p in found.pieces] == [(p.side, p.text) for p in plain.pieces]


def test_controllers_of_both_act_within() -> None:
    large = pair().large.using(think=("budget:40",))
    found = Pair(large, pair().small).answer(HARD, Scripted((Turn("large"),)), limits=LIMITS)
    alone = large.generate(HARD, limits=LIMITS)
    assert found.result.tokens == alone.tokens
    assert any(event.method == "budget" for event in found.events)


def test_limits_hold() -> None:
    found = answer(Scripted((Turn("small"), Turn("large"))), limits=Limits(40))
    assert len(found.result.tokens) <= 40
    assert quiet()


def test_a_step_longer_than_the_context() -> None:
    bias = {"\n\n": -20.0, "</think>": -20.0, "<|im_end|>": -20.0}
    engine = Engine(CausalLM(tiny.model(0, bias=bias)), tiny.text(), Methods(drafter="none"))
    found = Pair(engine, engine).answer("hello", "spec-reason:threshold=0", sampling=Sampling(1.0))
    assert len(found.result.tokens) + found.large.prompt <= engine.target.context


def test_models_without_thoughts_have_nothing_to_share() -> None:
    from laconic.models.formats.named import named
    from laconic.models.text import Text

    mute = Engine(CausalLM(tiny.model(0)), Text(tiny.tokenizer(), format=named("none")), Methods())
    with pytest.raises(UnmetNeed, match="small model has no thinking phase"):
        Pair(pair().large, mute)


def test_templates_and_tokenizers_may_differ() -> None:
    other = Engine(CausalLM(tiny.model(0, bias=tiny.REASONER)), tiny.text(), Methods(drafter="none"))
    found = Pair(pair().large, other).answer(
        HARD, Scripted((Turn("large"), Turn("small", 20), Turn("large"))), limits=LIMITS
    )
    assert found.pieces[1].side == "small"
    assert "".join(piece.text for piece in found.pieces).strip() == found.result.thinking


def test_an_error_leaves_nothing_open(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(Scripted):
        def stands(self, *_: Any) -> Verdict:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        answer(Broken())
    assert quiet()


def test_a_reply_without_a_thought_has_no_pieces_of_one() -> None:
    plain = Engine(CausalLM(tiny.model(0, bias={"a": 9.0})), tiny.text(), Methods(drafter="none"))
    found = Pair(plain, plain).answer("hello", "spec-reason:threshold=0", limits=Limits(8))
    assert "".join(piece.text for piece in found.pieces) == ""
    assert found.answer


class TestAhead:
    @pytest.mark.parametrize("temperature", [0.0, 0.8])
    @pytest.mark.parametrize("drafter", ["none", "suffix"])
    def test_where_nothing_stands_the_large_model_writes_it_all(self, temperature: float, drafter: str) -> None:
        """What it writes beside itself is what it would have written, whichever of it is taken."""
        large = pair().large.using(drafter=drafter, length="constant:4")
        refusing = Scripted((Turn("small", ahead=3),), frozenset(range(1000)))
        options: dict[str, Any] = {"sampling": Sampling(temperature, seed=2), "limits": LIMITS}
        found = Pair(large, pair().small).answer(HARD, refusing, **options)
        alone = large.generate(HARD, **options)
        assert found.result.tokens == alone.tokens
        assert found.large.thinking == alone.usage.thinking
        assert found.large.dropped > 0
        assert found.large.reused == 0
        assert found.share == 1.0
        assert quiet()

    def test_events_are_told_once_and_in_order(self) -> None:
        large = pair().large.using(think=("say:Be brief.", "budget:60"))
        refusing = Scripted((Turn("small", ahead=2),), frozenset(range(1000)))
        found = Pair(large, pair().small).answer(HARD, refusing, limits=LIMITS)
        alone = large.generate(HARD, limits=LIMITS)
        assert [e.method for e in found.result.events] == [e.method for e in alone.events]

    def test_who_ends_the_thought_must_agree(self) -> None:
        """A draft that ends the thought where the large model thinks on does not stand."""
        found = Pair(pair().large, pair().small.using(think=("budget:12",))).answer(
            HARD, Scripted((Turn("small", ahead=2),)), limits=LIMITS
        )
        alone = pair().large.generate(HARD, limits=LIMITS)
        assert found.large.thinking > 12 or alone.usage.thinking <= 12

    def test_a_model_beside_itself_needs_fewer_passes(self) -> None:
        engine = pair().large
        before = engine.target.passes
        alone = engine.generate(HARD, limits=LIMITS)
        plain = engine.target.passes - before
        twin = Engine(CausalLM(engine.target.model), engine.text, engine.methods)  # type: ignore[attr-defined]
        before = engine.target.passes
        found = Pair(engine, twin).answer(HARD, "lookahead-reasoning:steps=3", limits=LIMITS)
        assert found.result.thinking == alone.thinking
        assert not any(piece.refused for piece in found.pieces)
        assert [piece.side for piece in found.pieces[:5]] == ["small", "small", "small", "large", "small"]
        assert engine.target.passes - before < 0.7 * plain
        assert quiet()

    def test_what_is_compared(self) -> None:
        from laconic.collaboration.lookahead import common, named

        assert named("so 1,200 / 3 = 400.") == named("1200 divided by 3 is 400")
        assert named("3 + 4 = 7") != named("4 + 3 = 7")
        assert named("3 - 5 = -2") != named("3 - 5 = 2")
        assert named("(3,4)") != named("(5,6)")
        assert named("so .5") == named("so 0.50")
        assert common("Let me add them.", "let me ADD these") == pytest.approx(3 / 5)
        assert common("", "") == 1

    def test_leaving_in_the_middle_leaves_nothing(self) -> None:
        class Breaks(Scripted):
            def stands(self, state: Any, thought: Thought, piece: Piece, looks: Looks) -> Verdict:
                raise ArithmeticError(looks.instead)

        with pytest.raises(ArithmeticError):
            answer(Breaks((Turn("small", ahead=2),)))
        assert quiet()


class TestArbitrage:
    @pytest.fixture(scope="class")
    def router(self, tmp_path_factory: pytest.TempPathFactory) -> Path:
        items = draw(tasks(None), 24, 5)
        made = fit(pair(), items, policy_judge(), Sampling(0.6, seed=5), Limits(300))
        assert 0 < made.training["better"] < 0.5
        likely, odd = features([0.99] * 20, 2), features([0.99] * 10 + [0.02] * 10, 2)
        assert made(likely) < made(odd)  # there is more to gain from a step that the large model finds odd
        path = tmp_path_factory.mktemp("router") / "router.json"
        made.save(path)
        return path

    def test_thresholds_move_the_share(self, router: Path) -> None:
        shares = [answer(f"arbitrage:{router},threshold={t}").share for t in (1, 0.3, 0.02, 0)]
        assert shares == sorted(shares)
        assert (shares[0], shares[-1]) == (0, 1)
        assert (
            answer(f"arbitrage:{router},threshold=0").result.tokens == pair().large.generate(HARD, limits=LIMITS).tokens
        )
        assert quiet()

    def test_the_score_is_the_routers(self, router: Path) -> None:
        found = answer(f"arbitrage:{router},threshold=0.1")
        assert all(p.refused == (p.score >= 0.1) for p in found.pieces if p.side == "small")

    def test_a_router_of_other_models_is_refused(self, router: Path) -> None:
        with pytest.raises(HeadError, match="another large model"):
            Pair(pair().small, pair().large).answer(HARD, f"arbitrage:{router}", limits=LIMITS)

    @pytest.mark.parametrize("text", ["", "[]", "{}", '{"features": ["mean"], "weights": [1]}'])
    def test_a_file_that_is_none(self, text: str, tmp_path: Path) -> None:
        (tmp_path / "router.json").write_text(text)
        with pytest.raises(HeadError):
            answer(f"arbitrage:{tmp_path / 'router.json'}")

    def test_steps_that_are_all_alike_teach_nothing(self) -> None:
        twins = Pair(pair().small, pair().small)
        with pytest.raises(TaskError, match="nothing can be learned"):
            fit(twins, draw(tasks(None), 3, 5), policy_judge(), Sampling(), Limits(200))


def policy_judge() -> Judge:
    made = registry.build("judge", "equations:unknown=1")
    assert isinstance(made, Judge)
    return made
