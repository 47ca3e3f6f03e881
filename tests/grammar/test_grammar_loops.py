"""Under a grammar the fast loop writes what the slow one does: with drafts, in a batch, greedy and sampled."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from laconic import Limits, Request, Sampling, reference
from laconic.errors import UnmetNeed
from laconic.grammar import Grammar, choice, json_object, json_schema, lark, regex
from laconic.grammar.compiled import vocabulary
from laconic.loop import Loop, Plan
from laconic.speculation.pace import Pace
from laconic.thinking.base import Controller
from tests.speculation.rounds import build
from tests.test_both_loops import MODELS, Guesses, built, served
from tests.told import TEXT, Unmeasured

SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 9},
        "sure": {"type": "boolean"},
        "found": {"type": "array", "items": {"enum": ["a", "bb", 3]}, "minItems": 1, "maxItems": 3},
    },
    "required": ["name", "sure", "found"],
    "additionalProperties": False,
}
GRAMMARS: dict[str, tuple[Grammar, Any]] = {
    "json": (json_schema(SCHEMA, compact=True), json.loads),
    "spread": (json_schema(SCHEMA), json.loads),
    "object": (json_object(compact=True), json.loads),
    "regex": (regex("[a-f]{3,20}(, [a-f]{3,20})*!"), re.compile("[a-f]{3,20}(, [a-f]{3,20})*!").fullmatch),
    "choice": (choice(["a long answer, letter by letter", "a longer one", "no"]), str),
    "lark": (lark('start: "(" WORD start? ")"\nWORD: /[a-z]{1,4}/'), re.compile(r"(\([a-z]{1,4})+\)+").fullmatch),
}
THINK: dict[str, tuple[Controller, ...]] = {
    "free": (), "budget": built("budget:12"), "exits": built("answer-confidence:threshold=0.3"),
    "limits the answer": built("budget:9,answer=30"),
}  # fmt: skip


def requests(grammar: Grammar, longest: int = 130) -> list[Request]:
    """Replies that begin in a thought, before one, and behind one; greedy ones and sampled ones; some are cut."""
    begun = ("", "<think>\n", "<think>\n\n</think>\n\n", "<think>\n", "")
    return [
        Request(
            tuple(TEXT.encode(f"What is {i}+{i}?{tag}")), Sampling(0.9 * (i % 2), seed=i),
            Limits(longest - 40 * (i == 3)), grammar=grammar,
        )
        for i, tag in enumerate(begun)
    ]  # fmt: skip


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("think", THINK)
@pytest.mark.parametrize("name", GRAMMARS)
def test_both_write_the_same(name: str, think: str, model: str) -> None:
    target, asked = MODELS[model], requests(GRAMMARS[name][0])
    expected = [reference.decode(target.after, TEXT, r, THINK[think], target.context) for r in asked]
    for wide, batch, probes, pace in ((False, 1, "branch", Unmeasured()), (True, 3, "separate", Pace())):
        parts = Guesses(target, wide=wide), build("length", "constant:6"), build("shape", "chain")
        plan = Plan(*parts, build("verifier", "match"), THINK[think], probes)  # type: ignore[arg-type]
        assert served(Loop(target, TEXT, plan, pace=pace), asked, batch) == expected, (wide, batch, probes)


@pytest.mark.parametrize("name", GRAMMARS)
def test_an_answer_is_of_its_grammar_and_a_cut_one_the_beginning_of_one(name: str) -> None:
    grammar, read = GRAMMARS[name]
    plan = Plan(Guesses(MODELS["ends"]), *(build(f, s) for f, s in PLAIN), THINK["budget"], "branch")  # type: ignore[arg-type]
    whole = 0
    for request in requests(grammar, 300):
        loop = Loop(MODELS["ends"], TEXT, plan)
        sequence = loop.add(request)
        while not sequence.done:
            loop.step()
        result, matcher = sequence.result(), vocabulary(TEXT).matcher(grammar)
        tokens = TEXT.encode(result.answer)
        assert matcher.try_consume_tokens(tokens) == len(tokens)
        assert matcher.is_accepting() or result.finish_reason == "length"
        if result.finish_reason == "stop":
            assert read(result.answer) is not None
            whole += 1
    assert whole >= 3


PLAIN = (("length", "constant:6"), ("shape", "chain"), ("verifier", "match"))


def test_what_must_come_costs_no_pass_of_its_own() -> None:
    """Without a drafter, forced tokens are drafts all the same, and all of them are kept."""
    target, passes = MODELS["ends"], {}
    prompt = tuple(TEXT.encode("Hi <think>\n\n</think>\n\n"))
    for drafts in (True, False):
        plan = Plan(*(build(f, s) for f, s in (("drafter", "none"), *PLAIN)), (), "branch")  # type: ignore[arg-type]
        loop = Loop(target, TEXT, plan)
        request = Request(prompt, limits=Limits(200), grammar=GRAMMARS["json"][0], drafts=drafts)
        sequence = loop.add(request)
        while not sequence.done:
            loop.step()
        usage = sequence.result().usage
        passes[drafts] = (usage.target_passes, sequence.tokens)
        assert usage.accepted == usage.drafted
        assert (usage.drafted > 0) is drafts
    assert passes[True][1] == passes[False][1]
    assert passes[True][0] < 0.7 * passes[False][0]


def test_a_grammar_that_gives_out_ends_its_own_request_and_no_other() -> None:
    plan = Plan(*(build(f, s) for f, s in (("drafter", "none"), *PLAIN)), (), "branch")  # type: ignore[arg-type]
    loop = Loop(MODELS["goes on"], TEXT, plan)
    prompt = tuple(TEXT.encode("Hi <think>\n\n</think>\n\n"))
    bad = loop.add(Request(prompt, limits=Limits(40), grammar=choice(["abc"])))
    good = loop.add(Request(prompt, limits=Limits(40), grammar=GRAMMARS["json"][0]))
    assert bad.held is not None
    bad.held.failed = "the grammar has become too complex"
    while not good.done:
        loop.step()
    assert (bad.finish, good.finish) == ("cancelled", "length")
    assert [(event.method, event.reason) for event in bad.events] == [("grammar", "the grammar has become too complex")]


def test_a_model_behind_a_server_is_an_unmet_need() -> None:
    from laconic.remote.loop import RemoteLoop

    loop = object.__new__(RemoteLoop)
    with pytest.raises(UnmetNeed, match="a grammar changes the model's logits"):
        loop.add(Request((1,), grammar=json_object()))
