"""``laconic merge``, and ``--lora-scale`` of the commands that load a model."""

from __future__ import annotations

import json

import pytest
import torch

from tests.cli.checkpoint import save


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    return str(save(tmp_path_factory.mktemp("other"), seed=1))


@pytest.fixture(scope="module")
def adapter(model, tmp_path_factory):
    peft = pytest.importorskip("peft")
    from laconic.models.loading import read_model

    torch.manual_seed(1)
    adapted = peft.get_peft_model(
        read_model(model, dtype=torch.float32), peft.LoraConfig(target_modules=["q_proj"], init_lora_weights=False)
    )
    adapted.peft_config["default"].base_model_name_or_path = model
    place = tmp_path_factory.mktemp("adapters") / "adapter"
    adapted.save_pretrained(place)
    return str(place)


def test_merge_writes_what_run_answers_with(laconic, model, other, tmp_path):
    done = laconic("merge", tmp_path / "out", f"{model}:0.25", f"{other}:0.75")
    assert done.exit_code == 0, done.output
    assert f"linear: 0.25 {model} + 0.75 {other}" in done.stdout
    assert f"wrote {tmp_path / 'out'}: 25 tensors, " in done.stdout
    assert "note" not in done.stdout
    answered = laconic("run", "What is 2 + 3?", "-m", tmp_path / "out", "--max-tokens", 5)
    assert answered.exit_code == 0, answered.output


def test_methods_with_a_base_and_the_report(laconic, model, other, tmp_path):
    done = laconic("merge", tmp_path / "out", other, "--method", "ties", "--base", model, "--density", 0.5, "--json")
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert report == json.loads((tmp_path / "out" / "merging.json").read_text())
    said = {name: number for name, number in report["plan"].items() if number is not None}
    assert said == {"method": "ties", "weights": [1.0], "density": 0.5, "seed": 0}
    assert (report["base"], report["models"]) == (model, [other])


def test_lore_and_its_numbers(laconic, model, other, tmp_path):
    done = laconic("merge", tmp_path / "out", f"{model}:0.7", f"{other}:0.3", "--method", "lore", "--mu", 0.5, "--json")
    assert done.exit_code == 0, done.output
    plan = json.loads(done.stdout)["plan"]
    assert (plan["mu"], plan["iterations"], plan["density"]) == (0.5, 20, None)
    answered = laconic("run", "What is 2 + 3?", "-m", tmp_path / "out", "--max-tokens", 5)
    assert answered.exit_code == 0, answered.output


def test_aim_and_what_it_read(laconic, model, other, tmp_path):
    (tmp_path / "texts.txt").write_text("What is 2 + 3?\nIt is 5.\n")
    given = ("merge", tmp_path / "out", other, "--method", "ties", "--base", model, "--aim", tmp_path / "texts.txt")
    done = laconic(*given, "--omega", 0.2, "--aim-tokens", 20, "--device", "cpu")
    assert done.exit_code == 0, done.output
    assert "note: AIM leaves 10 tensors as merged, of which no inputs are known: model.embed_tokens" in done.stdout
    assert f"aim: omega 0.2, 20 tokens of {tmp_path / 'texts.txt'}" in done.stdout
    report = json.loads((tmp_path / "out" / "merging.json").read_text())
    assert report["plan"]["aim"] == {"texts": str(tmp_path / "texts.txt"), "omega": 0.2, "tokens": 20}
    assert (report["calibration"]["texts"], report["calibration"]["tokens"]) == (2, 20)
    answered = laconic("run", "What is 2 + 3?", "-m", tmp_path / "out", "--max-tokens", 5)
    assert answered.exit_code == 0, answered.output


def test_a_sweep_writes_a_folder_for_each_point(laconic, model, other, tmp_path):
    done = laconic("merge", tmp_path / "line", model, other, "--sweep", "0:1:0.5", "--json")
    assert done.exit_code == 0, done.output
    assert [report["plan"]["weights"] for report in json.loads(done.stdout)] == [[1, 0], [0.5, 0.5], [0, 1]]
    assert sorted(place.name for place in (tmp_path / "line").iterdir()) == ["0.0", "0.5", "1.0"]
    assert (tmp_path / "line" / "1.0" / "config.json").is_file()


def test_refusals_are_two_lines(laconic, model, other, tmp_path, adapter):
    out, ties = tmp_path / "o", ("--method", "ties", "--base")
    for arguments, error, hint in [
        (("merge", out, f"{model}:0.6", f"{other}:0.6"), "must sum to 1", "strength"),
        (("merge", out, model, f"{other}:0.6"), "has no weight", "MODEL:WEIGHT"),
        (("merge", out, model, other, "--method", "tie"), "no way to merge is called 'tie'", "'ties'"),
        (("merge", out, model, other, "--method", "dare"), "'dare' needs the model", "--base"),
        (("merge", out, model, other, "--mu", 0.1), "'linear' estimates no low rank", "lore"),
        (("merge", out, model, other, "--method", "lore", "--mu", "nan"), "shrunk by nan", "0 or more"),
        (("merge", out, model, other, "--method", "lore", "--iterations", 0), "0 iterations", "1 or more"),
        (("merge", out, model, other, "--omega", 0.1), "are for texts, and there are none", "--aim"),
        (("merge", out, model, other, "--device", "cpu"), "are for texts, and there are none", "--aim"),
        (("merge", out, model, other, "--aim", tmp_path / "no"), "'linear' has no base that AIM", "ties"),
        (("merge", out, other, *ties, model, "--aim", tmp_path / "no"), "cannot read", "JSON lines"),
        (("merge", out, other, *ties, model, "--aim", tmp_path / "no", "--omega", 2), "omega of 2", "0 to 1"),
        (("merge", out, model, other, "--sweep", "0:1"), "no sweep of 2 to 101 points", "0:1:0.25"),
        (("merge", out, model, other, "--sweep", "0:1:0"), "no sweep", "START"),
        (("merge", out, model, other, "--sweep", "0:1:-1"), "no sweep", "START"),
        (("merge", out, model, other, "--sweep", "0:nan:1"), "no sweep", "START"),
        (("merge", out, model, other, "--sweep", "0:1:0.001"), "no sweep", "START"),
        (("merge", out, f"{model}:1", f"{other}:0", "--sweep", "0:1:0.5"), "two models without weights", "two"),
        (("merge", tmp_path.parent, model, other, "--sweep", "0:1:0.5"), "not an empty directory", "Choose"),
        (("run", "x", "-m", model, "--lora-scale", 0.5), "is no adapter", "Leave out"),
        (("run", "x", "-m", adapter, "--lora-scale", "nan"), "cannot be scaled by nan", "finite"),
        (("run", "x", "--url", "http://127.0.0.1:1/v1", "-m", "m", "--lora-scale", 1), "runs here", "--lora-scale"),
    ]:
        done = laconic(*arguments)
        assert done.exit_code == 2, done.output
        assert error in done.stderr
        assert hint in done.stderr.splitlines()[1]
        assert not out.exists()


def test_run_and_inspect_take_a_strength_and_say_it(laconic, model, adapter):
    def ran(*more):
        done = laconic("run", "What is 2 + 3?", "-m", *more, "--max-tokens", 40, "--think", "none", "--json")
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)

    base, none, saved = ran(model), ran(adapter, "--lora-scale", 0), ran(adapter)
    assert base["text"] == none["text"]
    assert saved["text"] == ran(adapter, "--lora-scale", 1)["text"] != base["text"]
    assert none["engine"]["model"]["lora_scale"] == 0
    assert "lora_scale" not in saved["engine"]["model"]
    done = laconic("inspect", adapter, "--lora-scale", 0.5)
    assert done.exit_code == 0, done.output
    assert f"adapter   merged into its base at 0.5 of its strength, {model}" in done.stdout
    assert "strength" not in laconic("inspect", adapter).stdout
