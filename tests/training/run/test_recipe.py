"""Recipes as files: what is read, what is refused, and with which words."""

from __future__ import annotations

from pathlib import Path

import pytest

from laconic.errors import RecipeError, UnknownMethod
from laconic.training.run.recipe import Recipe, changed, of, read

KIMI = {"model": "bundled", "reward": "kimi"}


def test_a_recipe_is_read_with_its_defaults_and_changed_from_outside(tmp_path: Path) -> None:
    file = tmp_path / "recipe.toml"
    file.write_text('model = "m"\nreward = "kimi"\n[rollouts]\ngenerations = 4\n[update]\nsteps = 7\n')
    found = read(file, ("update.rate=1e-3", "rollouts.dtype=bfloat16", "lora.rank=4", "problems=a b.jsonl"))
    assert (found.rollouts.generations, found.rollouts.prompts, found.update.steps) == (4, 8, 7)
    assert (found.update.rate, found.rollouts.dtype, found.problems) == (1e-3, "bfloat16", "a b.jsonl")
    assert found.lora is not None
    assert (found.lora.rank, found.objective, found.method().name) == (4, "grpo", "kimi")


def test_a_runs_own_recipe_is_one_with_all_that_was_changed(tmp_path: Path) -> None:
    said = KIMI | {"reward": "gfpo:k=2", "lora": {}, "update": {"steps": 7}}  # gfpo refuses a scale that somebody chose
    file = tmp_path / "recipe.json"
    file.write_text(of(said).model_dump_json(indent=1))
    assert read(file) == of(said)
    assert read(file, ("update.steps=9",)) == of(said | {"update": {"steps": 9}})
    file.write_text('{"model": 3}')
    with pytest.raises(RecipeError, match="'model'"):
        read(file)
    file.write_text('model = "m"')
    with pytest.raises(RecipeError, match="not JSON"):
        read(file)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (KIMI | {"updates": {}}, "'updates'.*Did you mean 'update'"),
        (KIMI | {"update": {"stepz": 3}}, "'update.stepz'.*Did you mean 'steps'"),
        (KIMI | {"update": {"rate": 0}}, "'update.rate': input should be greater than 0"),
        (KIMI | {"update": {"rate": float("nan")}}, "'update.rate'"),
        (KIMI | {"rollouts": {"generations": 1}}, "'rollouts.generations': input should be greater than or equal to 2"),
        (KIMI | {"update": {"rows": 48}}, "rows=48 does not divide the 64 rollouts"),
        (KIMI | {"sft": {"data": "x"}}, "it has reward and sft"),
        (KIMI | {"seed": -1}, "'seed'"),
        (KIMI | {"update": {"kl": float("inf")}}, "'update.kl'"),
        (KIMI | {"update": {"iterations": 3}}, "every 20 steps would part the 3 passes"),
        (KIMI | {"reward": "gppo"}, "Set update.iterations to 2"),
        (KIMI | {"reward": "gppo", "update": {"iterations": 2, "kl": 0.1}}, "update.kl has no effect, 'gppo'"),
        (KIMI | {"reward": "gfpo:k=2", "update": {"scale": "none"}}, "update.scale has no effect, 'gfpo'"),
        ({"model": "m", "sft": {"data": "x"}, "update": {"steps": 1}}, r"\[update\] has no effect beside \[sft\]"),
        ({"model": "m", "sft": {"data": "x", "beta": 7}}, "sft.beta has no effect"),
        ({"model": "bundled"}, "it has none of them"),
        ({"reward": "kimi"}, "'model': field required"),
        (KIMI | {"dtype": "bfloat16", "lora": {}}, "an adapter is trained in float32"),
    ],
)
def test_what_cannot_be_is_refused_by_name(said: dict[str, object], words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        of(said)


def test_files_and_changes_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="cannot read"):
        read(tmp_path / "none.toml")
    file = tmp_path / "recipe.toml"
    file.write_text("model = ")
    with pytest.raises(RecipeError, match="is not TOML"):
        read(file)
    file.write_text('model = "m"\nreward = "kimi"\n')
    with pytest.raises(RecipeError, match="changes nothing"):
        read(file, ("steps",))
    with pytest.raises(RecipeError, match="'model' is no table"):
        read(file, ("model.steps=1",))


def test_a_reward_that_is_not_there_is_named_when_it_is_built() -> None:
    with pytest.raises(UnknownMethod, match="kimi"):
        of(KIMI | {"reward": "kim"}).method()


def test_what_a_resumed_run_may_and_may_not_change() -> None:
    old = of(KIMI)
    assert changed(old, of(KIMI | {"save": 3, "threads": 2, "stop": {"window": 9}})) == []
    other = of(KIMI | {"reward": "kimi:weight=0.2", "update": {"rate": 1e-3}, "lora": {"rank": 2}})
    names = {each.split(" ")[0] for each in changed(old, other)}
    assert names == {"reward", "update.rate", "lora", "lora.rank", "lora.alpha", "lora.targets"}
    assert "update.rate (1e-06, now 0.001)" in changed(old, other)
    assert changed(old, Recipe.model_validate_json(old.model_dump_json())) == []
