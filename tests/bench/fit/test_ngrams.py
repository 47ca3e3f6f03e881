"""Counting what a model thinks after its last tokens: the mean of all places, kept in a folder, drafted from."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from laconic import Limits, Sampling
from laconic.bench.fit import shards
from laconic.bench.fit.draft_head import Learning
from laconic.bench.fit.head_run import HeadRecipe, fit_head
from laconic.bench.fit.ngrams import NGramRecipe, fit_ngrams, level, thoughts
from laconic.bench.fit.shards import Texts
from laconic.cli.main import app
from laconic.engine import Engine, Methods
from laconic.errors import HeadError, LaconicError, StoreError
from laconic.models.causal_lm import CausalLM
from laconic.policy import registry
from laconic.speculation.drafters.few import NOTHING
from laconic.speculation.drafters.head.teacher import Teacher
from laconic.speculation.drafters.learned import Learned
from laconic.types import Request
from tests import tiny
from tests.cli.checkpoint import needs_bundled

RECIPE = NGramRecipe(tokens=1500, batch=8, k=4)


def engine(seed: int = 0) -> Engine:
    return Engine(CausalLM(tiny.model(seed, sharpness=4.0)), tiny.text(), Methods(drafter="none"))


def texts(on: Engine, number: int, count: int = 8) -> list[Request]:
    limits = Limits(40, answer_room=0)
    return [on.request(f"{number} {i}?", limits=limits, sampling=Sampling(0.0, seed=i)) for i in range(count)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("ngrams")
    on = engine()
    fit_ngrams(on, lambda number, replies: texts(on, number), place / "texts", RECIPE).save(place)
    return place


def test_a_context_has_the_mean_of_what_was_thought_there() -> None:
    """By hand: [5, 6] came twice, with 7 at 0.6 and 0.2 and 8 at 0.1 once; [NOTHING, 6] is no context of two."""
    contexts = np.array([[5, 6], [9, 9], [5, 6], [NOTHING, 6]])
    tokens = np.array([[7, 8], [1, 2], [3, 7], [4, 4]])
    logits = np.log(np.array([[0.6, 0.1], [0.5, 0.25], [0.7, 0.2], [0.5, 0.5]])).astype(np.float32)
    found = level(contexts, tokens, logits)
    assert found.contexts.tolist() == [[9, 9], [5, 6]], "the rare one first"
    assert found.tokens.tolist() == [[1, 2], [7, 3]], "8 at 0.05 is one too many"
    assert found.logits[0].tolist() == pytest.approx([0.0, math.log(0.5)], abs=1e-3)
    assert found.logits[1].tolist() == pytest.approx([0.0, math.log(0.35 / 0.4)], abs=1e-3)


def test_a_context_that_knows_fewer_tokens_is_filled_up() -> None:
    found = level(np.array([[3]]), np.array([[1, 1]]), np.log(np.array([[0.5, 0.25]])).astype(np.float32))
    assert found.tokens.tolist() == [[1, NOTHING]]
    assert found.logits[0, 1] <= -60_000.0


def test_windows_end_at_the_token_after_which_it_was_thought(folder: Path) -> None:
    on = engine()
    read = shards.read(shards.kept(folder / "texts"))
    teacher = Teacher(on.target, torch.arange(on.target.vocab_size))
    found = thoughts(read.part(0, 2), teacher, NGramRecipe(k=3), lambda said: None)
    windows, tokens, logits = (part[: found.begins[1]] for part in (found.windows, found.tokens, found.logits))
    text, _ = read.one(0)
    assert len(windows) == len(text) - 1
    assert windows[0].tolist() == [*[NOTHING] * 7, text[0]]
    assert windows[5].tolist() == [NOTHING, NOTHING, *text[:6]]
    assert found.windows[found.begins[1]].tolist() == [*[NOTHING] * 7, read.one(1)[0][0]], "and of no text before"
    written = slice(read.prompts[0] - 1, None)
    assert tokens[written, 0].tolist() == text[read.prompts[0] :], "greedy texts are what was likeliest"
    assert (np.exp(logits).sum(1) <= 1.0001).all()
    assert isinstance(read, Texts)


def test_what_is_believed_was_learned_on_texts_that_were_not_counted(folder: Path) -> None:
    """A random model's greedy texts run in circles: who has seen the longest context is right."""
    beliefs = Learned.load(folder).about.beliefs
    assert beliefs is not None
    assert (beliefs.orders, beliefs.text) == ((1, 2, 3), (1, 2, 4))
    assert beliefs.greedy
    assert not beliefs.sampled, "no text was drawn"
    assert all(sum(weights) == pytest.approx(1) for weights in beliefs.greedy.values())
    assert all(len(weights) == 2 * 6 + 3 + 1 for weights in beliefs.greedy.values())
    memory = registry.build("drafter", f"stand:learned={folder}")._everyone  # type: ignore[attr-defined]
    assert memory.greedy.weights == beliefs.greedy
    other = registry.build("drafter", f"stand:learned={folder},text=1/2")._everyone  # type: ignore[attr-defined]
    assert not other.greedy.weights, "those are other sources"


def test_drafting_knows_from_the_first_token_what_it_learned(folder: Path) -> None:
    on = engine()
    requests = texts(on, 0)
    ways = {
        name: on.using(drafter=drafter, length="constant:6", shape=shape).run(requests, batch=3)
        for name, drafter, shape in (
            ("plain", "none", "chain"),
            ("new", "stand:shared=false,text=", "best-first"),
            ("learned", f"stand:shared=false,text=,learned={folder}", "best-first"),
            ("chain", f"stand:shared=false,text=,learned={folder}", "chain"),
        )
    }
    passes = {name: sum(result.usage.target_passes for result in results) for name, results in ways.items()}
    for results in ways.values():
        assert [r.tokens for r in results] == [r.tokens for r in ways["plain"]]
    assert passes["learned"] < 0.6 * passes["new"] < passes["plain"]
    assert passes["chain"] < 0.7 * passes["plain"]


@pytest.mark.parametrize("verifier", ["match", "speculative-sampling"])
def test_sampled_runs_draft_from_it_too(folder: Path, verifier: str) -> None:
    on = engine().using(drafter=f"stand:learned={folder}", length="constant:4", verifier=verifier)
    requests = [replace(r, sampling=Sampling(0.8, seed=i)) for i, r in enumerate(texts(on, 0))]
    results = on.run(requests, batch=3)
    assert sum(r.usage.accepted for r in results) > 0.2 * sum(r.usage.generated for r in results)
    if verifier == "match":
        assert [r.tokens for r in results] == [r.tokens for r in on.using(drafter="none").run(requests, batch=8)]


def test_texts_of_a_head_are_counted_too(tmp_path: Path) -> None:
    on = engine()
    written: list[int] = []

    def batches(number: int, replies: object) -> list[Request]:
        written.append(number)
        return texts(on, number)

    recipe = HeadRecipe("medusa", tokens=1500, kept=50, batch=8, learning=Learning(epochs=0.1))
    fit_head(on, batches, tmp_path, recipe)
    before = len(written)
    made = fit_ngrams(on, None, tmp_path / "texts", RECIPE)
    assert len(written) == before, "nothing new was written"
    with pytest.raises(HeadError, match="no texts in"):
        fit_ngrams(on, None, tmp_path / "elsewhere", RECIPE)
    assert not (tmp_path / "elsewhere").exists()
    with pytest.raises(HeadError, match="another model"):
        fit_ngrams(engine(7), None, tmp_path / "texts", RECIPE)
    assert made.about.orders == (1, 2, 3)
    assert made.about.contexts == tuple(len(each.contexts) for each in made.levels)
    assert len({tuple(row) for row in made.levels[2].contexts.tolist()}) == made.about.contexts[2]


def test_what_does_not_fit_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="another model"):
        engine(7).using(drafter=f"stand:learned={folder}").generate("a", limits=Limits(3))
    with pytest.raises(StoreError, match="there are no n-grams"):
        engine().using(drafter=f"stand:learned={tmp_path}").generate("a", limits=Limits(3))
    made = Learned.load(folder)
    replace(made, about=replace(made.about, contexts=(1, 2, 3))).save(tmp_path)
    with pytest.raises(StoreError, match="damaged"):
        Learned.load(tmp_path)
    (tmp_path / "ngrams.safetensors").write_bytes(b"no")
    with pytest.raises(LaconicError, match="damaged"):
        Learned.load(tmp_path)


def test_a_table_keeps_nearly_all_and_widths_may_differ(folder: Path) -> None:
    made = Learned.load(folder)
    for k in (2, 6):
        table = made.table(k)
        windows = np.full((len(made.levels[0].contexts), 8), NOTHING)
        windows[:, -1:] = made.levels[0].contexts
        known, tokens, _ = table.look(windows)
        assert known[:, 0].mean() > 0.6
        found = tokens[known[:, 0], 0]
        expected = made.levels[0].tokens[known[:, 0]]
        assert found[:, : min(k, 4)].tolist() == expected[:, :k].tolist()
        assert (found[:, 4:] == NOTHING).all()


def test_more_candidates_than_tokens_are_as_many_as_there_are(folder: Path, tmp_path: Path) -> None:
    fit_ngrams(engine(), None, folder / "texts", NGramRecipe(k=1000)).save(tmp_path)
    assert Learned.load(tmp_path).about.k == 264


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--orders", "nan"], "whole numbers"), (["--orders", "1.7"], "whole numbers"), (["--orders", "0,1"], "1 to 8"),
        (["--orders", "9"], "1 to 8"), (["--texts", "nowhere"], "no texts in"),
    ],
)  # fmt: skip
@needs_bundled
def test_the_command_refuses_what_makes_no_sense(options: list[str], says: str, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["fit", "ngrams", str(tmp_path / "out"), *options])
    assert done.exit_code != 0
    assert says in done.output + str(done.exception)
    below = tmp_path / "file"
    below.write_text("")
    done = CliRunner().invoke(app, ["fit", "ngrams", str(below / "out"), *options])
    assert "is a file" in done.output + str(done.exception)


@needs_bundled
def test_the_command_counts_and_says_how_to_use_it(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["fit", "ngrams", str(tmp_path), "--tokens", "400", "--batch", "4"])
    assert done.exit_code == 0, done.output
    assert "contexts of 3 tokens" in done.output
    assert Learned.load(tmp_path).about.tokens >= 400
