"""Every transform on traces worked out by hand."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from laconic import Engine, Methods
from laconic.errors import TraceError
from laconic.models.causal_lm import CausalLM
from laconic.training.traces.base import Dropped, Example, Pair
from laconic.training.traces.surprisal import logprobs
from laconic.training.traces.transforms.asap import kept_steps
from laconic.training.traces.transforms.sbt import markers, score
from laconic.training.traces.transforms.token_skip import kept_words
from tests import tiny
from tests.training.traces.made import PROBLEM, REPLY, STEPS, THINK, THOUGHT, WRONG, rows, tools, trace

SHORT, MIDDLE, LONG = trace(STEPS[:2], id="short"), trace(STEPS[:3], id="middle"), trace(id="long")
BAD = trace(WRONG, "43", id="bad")
NETWORK = tiny.model(1)
ENGINE = Engine(CausalLM(tiny.model(1)), THINK, Methods(drafter="none"))


def kept(made: list[Any]) -> list[str]:
    return [row.trace.id for row in made if isinstance(row, Example)]


def dropped(made: list[Any]) -> dict[str, str]:
    return {row.trace.id: row.reason for row in made if isinstance(row, Dropped)}


def pairs(made: list[Any]) -> list[tuple[str, str]]:
    return [(row.chosen.trace.id, row.rejected.trace.id) for row in made if isinstance(row, Pair)]


def test_rft_keeps_each_right_text_once() -> None:
    again = trace(id="again")
    made = rows("rft", [LONG, BAD, again, SHORT])
    assert kept(made) == ["long", "short"]
    assert dropped(made) == {"bad": "its answer is wrong", "again": "written before, word for word"}
    assert (made[-1].thought, made[-1].reply) == (SHORT.thought, REPLY)
    several = {tuple(kept(rows("rft:2", [SHORT, MIDDLE, LONG], tools(seed=seed)))) for seed in range(20)}
    assert several == {("short", "middle"), ("short", "long"), ("middle", "long")}


def test_shortest() -> None:
    assert kept(rows("shortest", [LONG, BAD, SHORT, MIDDLE])) == ["short"]
    assert kept(rows("shortest:2", [LONG, BAD, SHORT, MIDDLE])) == ["short", "middle"]
    assert kept(rows("shortest", [BAD])) == []


def test_proportional_takes_the_shortest_of_easy_problems_and_the_longest_of_hard_ones() -> None:
    right = [LONG, MIDDLE, SHORT]
    assert kept(rows("proportional", right)) == ["short"]
    assert kept(rows("proportional", [*right, *[BAD] * 3])) == ["middle"]  # half are wrong: place 0.5 * 2
    assert kept(rows("proportional", [*right, *[BAD] * 30])) == ["long"]


def test_first_solution() -> None:
    (made,) = rows("first-solution", [LONG])
    assert (made.thought, made.reply) == ("\n\n".join(STEPS[:2]), REPLY)
    assert made.note == {"steps": 2, "steps_before": 4}
    assert rows("first-solution:more=1", [LONG])[0].thought == "\n\n".join(STEPS[:3])
    silent = trace(("Hm.", "Well."), id="silent")
    assert dropped(rows("first-solution", [BAD, silent])) == {
        "bad": "its answer is wrong",
        "silent": "its thought never comes to the right answer",
    }


def test_first_solution_that_stays() -> None:
    wavers = trace((STEPS[1], "So it is 54.", STEPS[3]), id="wavers")
    assert rows("first-solution", [wavers])[0].note["steps"] == 1
    assert rows("first-solution:stays=yes", [wavers])[0].note["steps"] == 3


def test_sbt_exact_by_its_score() -> None:
    # 2 of 4 steps; markers "Wait", "let me check" and "Hmm" are 4 + 12 + 3 of the tokens, which are bytes here
    size = len(THINK.encode(THOUGHT))
    assert size == sum(map(len, STEPS)) + 3
    over = 0.9 * (1 - 2 / 4) + 0.1 * 19 / size
    (cut,) = rows(f"sbt-exact:brake=Enough.,threshold={over - 1e-6}", [LONG])
    assert (cut.thought, cut.reply, cut.note) == ("\n\n".join(STEPS[:3]) + " Enough.", REPLY, {"braked": True})
    (whole,) = rows(f"sbt-exact:threshold={over + 1e-6}", [LONG])
    assert (whole.thought, whole.note) == (THOUGHT, {"braked": False})
    assert score(1, 4, 10, 100) == pytest.approx(0.9 * 0.75 + 0.01)
    # Nothing to cut behind the round of reflection: whole, without a brake.
    assert rows("sbt-exact:threshold=0.01", [MIDDLE])[0].note == {"braked": False}


def test_sbt_dynamic_cuts_at_the_token() -> None:
    # The first solution has 18 + 1 + 39 = 58 tokens. Behind it "Wait" ends at token 63, "let me check" at 77. There the
    # score is 0.9 (1 - 58 / 77) + 1.6 / 77 = 0.2429, and at 78 it is 0.9 (1 - 58 / 78) + 1.6 / 78 = 0.2513.
    assert markers(THOUGHT, tools().renderer)[:2] == [(63, 4), (77, 12)]
    (cut,) = rows("sbt-dynamic:brake=Enough.,threshold=0.25", [LONG])
    assert cut.thought == f"{STEPS[0]}\n\n{STEPS[1]}\n\nWait, let me check Enough."
    assert rows("sbt-dynamic:threshold=0.9", [LONG])[0].thought == THOUGHT


def test_dto_leaves_at_the_end_of_a_pattern() -> None:
    (pair,) = rows("dto", [LONG])
    assert pair.chosen.thought == "\n\n".join(STEPS[:2])
    assert pair.rejected == Example.of(LONG)
    (mended,) = rows("dto", [BAD])
    assert (mended.chosen.thought, mended.chosen.reply) == ("\n\n".join(WRONG[:2]), "The answer is \\boxed{53}.")
    assert (mended.rejected.reply, mended.chosen.note["was_right"]) == ("The answer is \\boxed{43}.", False)
    assert dropped(rows("dto", [SHORT])) == {"short": "there is nothing behind its first right answer"}
    inside = trace((STEPS[1], "More of this pattern.", STEPS[2]), id="inside")
    assert rows("dto", [inside])[0].chosen.note["steps"] == 2  # the pattern is left at its end


def test_irpo_pairs_right_with_wrong() -> None:
    worse = trace(WRONG[:1], "36", id="worse")
    every = {("short", "bad"), ("short", "worse"), ("long", "bad"), ("long", "worse")}
    assert set(pairs(rows("irpo", [SHORT, BAD, LONG, worse]))) == every
    three = pairs(rows("irpo:3", [SHORT, BAD, LONG, worse]))
    assert len(set(three)) == 3
    assert rows("irpo", [SHORT, LONG]) == rows("irpo", [BAD, worse]) == []


def test_shortest_against_longest() -> None:
    assert MIDDLE.tokens < 1.8 * SHORT.tokens < LONG.tokens  # with the reply and the tags
    made = [SHORT, MIDDLE, LONG, BAD]
    assert BAD.tokens < LONG.tokens
    assert pairs(rows("shortest-longest", made)) == [("short", "long")]
    assert pairs(rows("shortest-longest:pairs=9,longer=1.8", made)) == [("short", "long"), ("short", "bad")]
    assert pairs(rows("shortest-longest:pairs=9,longer=1,wrong=no", made)) == [("short", "long"), ("short", "middle")]
    assert pairs(rows("shortest-longest:pairs=9", [SHORT, trace(WRONG[:1], "36", id="tiny")])) == []
    assert rows("shortest-longest", [BAD]) == []


def styled(steps: Any, answer: str, id: str) -> Any:
    return trace(steps, answer, id=id, label="short")


def test_adar1_prefers_the_style_that_pays() -> None:
    brief, fails = styled(STEPS[:1], "53", "brief"), styled(STEPS[:1], "36", "fails")
    # Long: 1 of 2 right; short: 1 of 2. No gain: short is preferred, its right one against the long wrong one, and
    # within it the right one against the wrong one.
    made = rows("adar1", [LONG, BAD, brief, fails])
    assert pairs(made) == [("brief", "bad"), ("brief", "fails")]
    assert [row.chosen.note["level"] for row in made] == ["group", "instance"]
    # Long: 2 of 2; short: 0 of 1: gain 1 - 1/4. None of the long ones is wrong: shortest against longest.
    found = pairs(rows("adar1:group=9", [LONG, SHORT, fails]))
    assert sorted(found[:2]) == [("long", "fails"), ("short", "fails")]
    assert found[2:] == [("short", "long")]
    # Long: 1 of 1, short: 1 of 2: the gain is 1/2 - 1/2, so short; a single right trace is not paired with itself.
    assert pairs(rows("adar1", [LONG, brief, fails])) == [("brief", "long"), ("brief", "fails")]
    assert rows("adar1", [BAD, fails]) == rows("adar1", [LONG, SHORT]) == []


def test_concise_pairs_recordings() -> None:
    brief = trace(STEPS[:2], id="brief", label="concise")
    assert pairs(rows("concise", [LONG, BAD, brief, trace(STEPS[:1], id="tiny")])) == [("brief", "long")]
    assert rows("concise", [LONG, BAD]) == []


def test_log_probabilities_are_those_of_the_plain_model() -> None:
    before, tokens = THINK.encode("What is 1 + 1?<think>\n"), THINK.encode(THOUGHT)
    with torch.inference_mode():
        logits = NETWORK(torch.tensor([before + tokens])).logits[0].log_softmax(-1)
    expected = [float(logits[len(before) - 1 + at, token]) for at, token in enumerate(tokens)]
    assert logprobs(ENGINE, before, tokens) == pytest.approx(expected, abs=1e-4)
    with pytest.raises(TraceError, match="context"):
        logprobs(ENGINE, before, tokens * 9)


def test_which_tokens_and_steps_are_kept() -> None:
    assert kept_words([4.0, 3.0, 2.0, 1.0], [1] * 4, [False] * 4, 0.5) == [True, True, False, False]
    assert kept_words([4.0, 3.0, 2.0, 1.0], [1] * 4, [False, False, True, True], 0.5) == [False, False, True, True]
    assert kept_words([4.0, 3.0, 2.0], [2, 3, 1], [False] * 3, 0.9) == [True, True, False]
    assert kept_words([4.0, 3.0, 2.0], [2, 4, 1], [False] * 3, 0.5) == [True, False, False]  # it stops at the first
    assert kept_steps([9.0, 1.0, 3.0, 2.0], [5, 5, 5, 5], 12) == [True, False, True, False]
    assert kept_steps([0.0, 1.0], [5, 5], 5) == [True, False]  # the first one stays
    assert kept_steps([0.0, 1.0], [5, 5], 1) == [True, False]


def test_token_skip_says_the_ratio_and_keeps_digits() -> None:
    having = tools(engine=ENGINE)
    (half,) = rows("token-skip:ratios=0.7", [LONG], having)
    words = re.findall(r"\s*\S+", THOUGHT)
    prompt = having.renderer.prompt(PROBLEM.messages)
    said = logprobs(ENGINE, [*prompt.ids, *THINK.encode("<think>\n")], THINK.encode(THOUGHT))
    worth, at = [], 0
    for word in words:  # a byte is a token, and so is a blank line
        size = len(THINK.encode(word))
        worth.append(-sum(said[at : at + size]) / size)
        at += size
    numbers = [word for word in words if any(map(str.isdigit, word))]
    left = 0.7 * len(said) - sum(len(THINK.encode(word)) for word in numbers)
    best = []
    for n in sorted((n for n, word in enumerate(words) if word not in numbers), key=lambda n: -worth[n]):
        left -= len(THINK.encode(words[n]))
        if left < 0:
            break
        best.append(n)
    expected = "".join(word for n, word in enumerate(words) if word in numbers or n in best)
    assert half.thought == expected.strip()
    assert 0 < len(best) < len(words) - len(numbers)
    assert (half.suffix, half.note, half.reply) == ("<|im_end|>0.7<|im_end|>", {"ratio": 0.7}, REPLY)
    (whole,) = rows("token-skip:ratios=1.0", [LONG])
    assert (whole.thought, whole.suffix) == (THOUGHT, "")
    drawn = {row.note["ratio"] for n in range(40) for row in rows("token-skip", [trace(id=str(n))], having)}
    assert drawn == {1.0, 0.9, 0.8, 0.7, 0.6, 0.5}
    assert rows("token-skip:ratios=0.5,said=no", [LONG], having)[0].suffix == ""


def test_asap_drops_the_steps_whose_first_token_surprises_least() -> None:
    having = tools(engine=ENGINE)
    prompt = having.renderer.prompt(PROBLEM.messages)
    said = logprobs(ENGINE, [*prompt.ids, *THINK.encode("<think>\n")], THINK.encode(THOUGHT))
    starts = [len(THINK.encode("\n\n".join(STEPS[:n]))) + (n > 0) for n in range(4)]
    order = sorted((1, 2, 3), key=lambda at: said[starts[at]], reverse=True)  # likeliest first token first
    sizes = [len(step) + 1 for step in STEPS]  # each with the blank line behind it
    expected, left = [0, 1, 2, 3], sum(sizes)
    for at in order:
        if left <= 0.6 * sum(sizes):
            break
        expected.remove(at)
        left -= sizes[at]
    (made,) = rows("asap:0.6", [LONG], having)
    assert made.thought == "\n\n".join(STEPS[at] for at in expected)
    assert 1 <= len(expected) < 4
    assert rows("asap:1", [LONG], having)[0].thought == THOUGHT


class Rewriter:
    """Answers in turn, and notes what it was asked."""

    def __init__(self, *answers: str, finish: str = "stop") -> None:
        self.answers, self.asked, self.finish = list(answers), list[str](), finish

    def generate(self, prompt: str) -> Any:
        self.asked.append(prompt)
        return SimpleNamespace(answer=self.answers.pop(0), finish_reason=self.finish)


def test_c3ot_makes_two_rows() -> None:
    rewriter = Rewriter("36 + 17 = 53.")
    long, short = rows("c3ot:long=Long.,short=Short.", [LONG, BAD], tools(rewriter=rewriter))[:2]
    assert (long.thought, long.prefix, short.thought, short.prefix) == (THOUGHT, "Long.", "36 + 17 = 53.", "Short.")
    assert long.reply == short.reply == REPLY
    assert THOUGHT in rewriter.asked[0]
    for answers, finish, reason in [
        ((THOUGHT + " And more.",), "stop", "the rewriter did not shorten it"),
        (("",), "stop", "the rewriter said nothing"),
        (("36",), "length", "the rewriter did not come to an end"),
    ]:
        made = rows("c3ot", [LONG], tools(rewriter=Rewriter(*answers, finish=finish)))
        assert dropped(made) == {"long": reason}


def test_litecot_rewrites_by_difficulty() -> None:
    rewriter = Rewriter("Easy.", "4 * 9 + 17 = 53.", "tricky")
    made = rows("litecot", [LONG, MIDDLE], tools(rewriter=rewriter))
    assert (made[0].thought, made[0].note) == ("4 * 9 + 17 = 53.", {"difficulty": "easy"})
    assert "one or two sentences" in rewriter.asked[1]
    assert dropped(made) == {"middle": "the rewriter named no difficulty"}
