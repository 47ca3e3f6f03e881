import json

import pytest

from laconic.config import load
from tests.cli.checkpoint import needs_bundled


def tuned(laconic, tmp_path, *arguments):
    out, record, page = (tmp_path / name for name in ("laconic.toml", "harm.json", "harm.html"))
    done = laconic("tune", *arguments, "--out", out, "--json", record, "--report", page)
    assert done.exit_code == 0, done.output
    return done.output.replace("\n", " "), load(out), json.loads(record.read_text()), page.read_text(), out


@needs_bundled
def test_a_promise_on_the_bundled_pair_is_kept_by_run(laconic, tmp_path):
    output, config, record, page, out = tuned(
        laconic, tmp_path, "--tasks", "chain_sum,gcd", "--n", "14", "--harm", "0.4", "--confidence", "0.9", "--family",
        "settled:price=0.004/0.0065",
    )  # fmt: skip
    promise = config.promise
    assert promise is not None
    assert record["best"] == promise.think[0]
    assert config.methods.think == promise.think
    assert config.methods.drafter == "draft-model"
    assert promise.n + record["shown"]["n"] == 14
    assert "promise: with 90 % confidence, fewer than 40 % of prompts" in output
    assert f"on {record['shown']['n']} prompts kept apart" in output
    assert "On prompts kept apart" in page

    done = laconic("run", "What is 12 + 30?", "--config", out)
    assert "promise: with 90 % confidence, fewer than 40 % of prompts" in done.output
    done = laconic("run", "What is 12 + 30?", "--config", out, "--temperature", "0.6", "--exit", "none")
    lines = [line for line in done.output.splitlines() if line.startswith("promise:")]
    why = f"thinking control is none, not {promise.think[0]}; temperature is 0.6, not 0"
    assert lines == [f"promise: does not hold here, since {why}"]
    done = laconic("run", "What is 12 + 30?", "--config", out, "--json")
    told = json.loads(done.output)["promise"]
    assert (told["holds"], told["data"]) == (True, promise.data)
    done = laconic("run", "What is 12 + 30?", "--config", out, "--memory", "infty-think")
    assert "promise: does not hold here, since the question is reasoned about in several calls" in done.output


@pytest.fixture(scope="module")
def prompts(tmp_path_factory):
    path = tmp_path_factory.mktemp("tasks") / "prompts.jsonl"
    lines = [json.dumps({"prompt": f"What is {i % 20} + 7?"}) for i in range(24)]
    path.write_text("\n".join(lines) + "\n")
    return str(path)


def test_where_nothing_can_be_promised_thinking_is_left_free(laconic, model, prompts, tmp_path):
    before = tmp_path / "before.toml"
    before.write_text(f'model = "{model}"\n[methods]\ndrafter = "prompt-lookup"\nlength = "constant:3"\n'
                      'think = ["budget:9"]\n')  # fmt: skip
    output, config, record, _, out = tuned(
        laconic, tmp_path, "--config", before, "--tasks", prompts, "--harm", "0.3", "--confidence", "0.9", "--family",
        "budget:1", "--max-tokens", "40", "--temperature", "0.5",
    )  # fmt: skip
    assert (config.model, config.methods.drafter, config.methods.length) == (model, "prompt-lookup", "constant:3")
    assert config.promise is None
    assert config.methods.think == ()
    assert record["repeated"] == 4
    assert record["sampling"]["temperature"] == 0.5
    assert "nothing is promised, and thinking is left free: the safest setting, budget:tokens=1, harmed" in output
    assert "4 prompts only repeat others" in output
    assert "Nothing is promised" in out.read_text()
    assert "promise" not in laconic("run", "2+3?", "--config", out, "--max-tokens", "30").output


def test_what_is_refused(laconic, model, prompts, tmp_path):
    ask = ("tune", "-m", model, "--tasks", prompts, "--out", tmp_path / "x.toml")
    for arguments, message in (
        (("--harm", "0.01"), "it takes 299 even if none is harmed"),
        (("--harm", "1"), "harm must be between 0 and 1, not 1"),
        (("--harm", "0.3", "--confidence", "1"), "confidence must be between 0 and 1, not 1"),
        (("--harm", "0.3", "--tolerance", "0.1"), "--tolerance belongs to the search"),
        (("--harm", "0.3", "--drafters", "suffix"), "--drafters belongs to the search"),
        (("--harm", "0.3", "--lengths", "aimd"), "--lengths belongs to the search"),
        (("--confidence", "0.9"), "--confidence belongs to a promise"),
        (("--family", "budget"), "--family belongs to a promise"),
        (("--top-k", "5"), "--top-k belongs to a promise"),
        (("--config", "none.toml"), "--config belongs to a promise"),
        (("--harm", "0.3", "--family", "setled"), "no think is called 'setled'"),
        (("--harm", "0.3", "--top-p", "2"), "top_p must be in (0, 1]"),
        (("--harm", "0.3", "--config", tmp_path / "none.toml"), "cannot read"),
    ):
        done = laconic(*ask, *arguments)
        assert done.exit_code == 2, done.output
        assert message in done.output.replace("\n", " "), (arguments, done.output)
        assert not (tmp_path / "x.toml").exists()
