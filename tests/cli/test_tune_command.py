import json

import pytest

from laconic.config import load


@pytest.fixture(scope="module")
def prompts(tmp_path_factory):
    path = tmp_path_factory.mktemp("tasks") / "prompts.jsonl"
    path.write_text("\n".join(json.dumps({"prompt": f"What is {i} + 7?"}) for i in range(4)) + "\n")
    return str(path)


def test_a_search_writes_a_file_that_the_other_commands_load(laconic, model, prompts, tmp_path):
    out, record = tmp_path / "laconic.toml", tmp_path / "tune.json"
    done = laconic("tune", "-m", model, "--tasks", prompts, "--drafters", "prompt-lookup,suffix", "--lengths",
                   "constant:2,constant:5", "--max-tokens", "40", "--out", str(out), "--json", str(record))  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "thinking was not tuned: no problem has an answer to judge by" in done.output.replace("\n", " ")
    assert "of an exhaustive search" in done.output
    found, config = json.loads(record.read_text()), load(out)
    assert config.model == model
    assert config.methods.drafter == found["chosen"]["drafter"]
    assert config.methods.think == ()
    assert out.read_text().startswith("# Found by: ")

    done = laconic("run", "2+3?", "--config", str(out), "--max-tokens", "30", "--json")
    assert done.exit_code == 0, done.output
    done = laconic("run", "2+3?", "--config", str(out), "--drafter", "nope")
    assert done.exit_code == 2
    assert "no drafter is called 'nope'" in done.output


def test_the_command_line_goes_before_the_file(laconic, model, problems, tmp_path):
    out, record = tmp_path / "laconic.toml", tmp_path / "r.json"
    out.write_text(f'model = "{model}"\ndtype = "bfloat16"\n[methods]\ndrafter = "suffix"\nlength = "constant:3"\n'
                   'think = ["budget:9"]\n')  # fmt: skip
    done = laconic("compare", "-c", str(out), "--length", "aimd", "--tasks", problems, "--n", "2", "--max-tokens",
                   "30", "--no-hf", "--json", str(record))  # fmt: skip
    assert done.exit_code == 0, done.output
    setup = json.loads(record.read_text())["setup"]
    assert (setup["model"], setup["drafter"], setup["length"]) == (model, "suffix", "aimd")
    assert (setup["think"], setup["dtype"]) == (["budget:tokens=9"], "bfloat16")


def test_what_is_refused(laconic, model, prompts, tmp_path):
    bad = tmp_path / "bad.toml"
    bad.write_text("[methods]\ndraftr = 'suffix'\n")
    for arguments, message in (
        (("run", "2+3?", "--config", str(bad)), "methods.draftr"),
        (("run", "2+3?", "--config", str(tmp_path / "none.toml")), "cannot read"),
        (("tune", "-m", model, "--tasks", prompts, "--drafters", "sufix"), "no drafter is called 'sufix'"),
        (("tune", "-m", model, "--tasks", prompts, "--n", "0"), "must be > 0"),
        (("tune", "-m", model, "--tasks", prompts, "--out", str(tmp_path / "no" / "x.toml")), "there is no directory"),
    ):
        done = laconic(*arguments)
        assert done.exit_code == 2, done.output
        assert message in done.output
