import json
import os
import shutil
import signal
import subprocess
import sys

import pytest

from laconic.types import Result
from tests.cli.checkpoint import needs_bundled


def test_text_then_one_line(laconic, model):
    done = laconic("run", "What is 2 + 3?", "-m", model, "--max-tokens", 40, "--drafter", "none", "--think", "none")
    assert done.exit_code == 0, done.output
    assert "\x1b" not in done.stdout
    last = done.stdout.splitlines()[-1]
    assert "thinking +" in last
    assert "1.00 tokens per target pass" in last
    assert "0 of 40 target passes saved" in last
    assert "cut off at the token limit" in last


def test_json_is_a_result_and_nothing_else(laconic, model):
    done = laconic("run", "What is 2 + 3?", "-m", model, "--max-tokens", 40, "--json", "--baseline")
    record = json.loads(done.stdout)
    assert set(record) == set(Result.__dataclass_fields__) | {"baseline", "engine"}
    assert record["engine"]["model"]["path"] == "written-out"
    assert record["usage"]["target_passes"] < record["baseline"]["usage"]["target_passes"]
    assert record["usage"]["tokens_per_pass"] > 1
    plain = laconic(
        "run", "What is 2 + 3?", "-m", model, "--max-tokens", 40, "--json", "--drafter", "none", "--think", "none"
    )
    assert json.loads(plain.stdout)["tokens"] == record["baseline"]["tokens"]


def test_how_the_model_is_spoken_to(laconic, model):
    def asked(*options, code=0):
        done = laconic("run", "Why?", "-m", model, "--max-tokens", 20, "--json", *options)
        assert done.exit_code == code, done.output
        return json.loads(done.stdout) if code == 0 else done.output

    plain = asked()
    assert plain["engine"]["thinking"]["open"] == "<think>"
    assert asked("--system", "Be brief.")["usage"]["prompt"] > plain["usage"]["prompt"]
    switched = asked("--no-think")["usage"]["prompt"]
    assert switched > plain["usage"]["prompt"]
    assert asked("-T", "enable_thinking=false")["usage"]["prompt"] == switched
    given = asked("--format", "[a],[/a]")["engine"]["thinking"]
    assert (given["open"], given["close"], given["source"]) == ("[a]", "[/a]", "given")
    assert asked("--format", "none")["engine"]["thinking"] is None
    assert asked("--format", "gpt-oss")["engine"]["thinking"]["open"] == "<|channel|>analysis<|message|>"
    assert "gemma-4" in asked("--format", "gema-4", code=2)
    assert "KEY=VALUE" in asked("-T", "enable_thinking", code=2)
    assert "thinking phase" in asked("--exit", "settled", "--format", "none", code=2)


def test_a_checkpoint_without_a_chat_template_is_no_reasoning_model_and_is_said_to_have_none(laconic, model, tmp_path):
    bare = shutil.copytree(model, tmp_path / "bare")
    (bare / "chat_template.jinja").unlink()
    said = ("run", "Why?", "--max-tokens", 8, "-m")
    done = laconic(*said, bare)
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines()[-2] == "note: there is no chat template: questions go in as plain text."
    assert "thinking not controlled: the vocabulary holds </think>, but there is no chat template" in done.stdout
    told = json.loads(laconic(*said, bare, "--json").stdout)["engine"]
    assert (told["thinking"], told["notes"]) == (None, ["there is no chat template: questions go in as plain text."])
    assert "note:" not in laconic(*said, model).stdout
    misspelt = laconic(*said, model, "-T", "enable_thinkng=false").stdout.splitlines()[-2]
    assert misspelt.startswith("note: the keyword enable_thinkng=False changes nothing in the chat template")
    assert "Did you mean 'enable_thinking'?" in misspelt


def test_a_bandit_says_what_it_learned_and_what_that_cost(laconic, model):
    options = ("-m", model, "--max-tokens", 60, "--think", "none", "--drafter", "bandit:arms=suffix@constant:4|none")
    done = laconic("run", "What is 2 + 3?", *options)
    assert done.exit_code == 0, done.output
    last = done.stdout.splitlines()[-1]
    assert last.startswith("bandit: ")
    assert "suffix@constant:4 " in last
    assert "regret against" in last
    record = json.loads(laconic("run", "What is 2 + 3?", *options, "--json").stdout)
    (report,) = record["learned"].values()
    assert report["regret_seconds"] >= 0
    assert [arm["arm"] for arm in report["arms"]] == ["suffix@constant:4", "none"]


def test_streamed_text_is_the_results_text(laconic, model):
    options = ("-m", model, "--max-tokens", 60, "--think", "none", "--temperature", 0.7, "--seed", 3)
    record = json.loads(laconic("run", "Hm?", *options, "--json").stdout)
    shown = laconic("run", "Hm?", *options).stdout
    text, ran, _ = shown.rstrip("\n").rsplit("\n", 2)
    assert text.rstrip("\n") == record["text"].rstrip("\n")
    assert ran == "qwen3, float32 on cpu, passes: written-out; sampling: temperature 0.7"


def test_baseline_is_measured(laconic, model):
    done = laconic("run", "What is 2 + 3?", "-m", model, "--max-tokens", 40, "--think", "none", "--baseline")
    last = done.stdout.splitlines()[-1]
    assert "plain decoding, measured:" in last
    assert "(same tokens)" in last
    assert "as many thinking tokens" in last
    assert "% fewer passes" in last
    assert " times " in last


def test_prompt_from_standard_input(laconic, model):
    options = ("-m", model, "--max-tokens", 20, "--json")
    told = laconic("run", "What is 2 + 3?", *options).stdout
    assert (
        json.loads(laconic("run", "-", *options, input="What is 2 + 3?\n").stdout)["tokens"]
        == json.loads(told)["tokens"]
    )


def test_a_budget_holds(laconic, model):
    done = laconic("run", "Hm?", "-m", model, "--max-tokens", 80, "--budget", 12, "--exit", "none", "--json")
    record = json.loads(done.stdout)
    assert record["usage"]["thinking"] <= 12
    assert record["events"][0]["method"] == "budget"
    assert "Time is up" in record["text"]


def test_no_think_leaves_controllers_out(laconic, model):
    record = json.loads(laconic("run", "Hm?", "-m", model, "--max-tokens", 20, "--no-think", "--json").stdout)
    assert record["usage"]["thinking"] == 0
    assert record["events"] == []


@pytest.mark.parametrize(
    ("arguments", "error", "hint"),
    [
        (("--drafter", "sufix"), "no drafter is called 'sufix'", "Did you mean 'suffix'?"),
        (("--length", "constant:token=3"), "'constant' has no knob 'token'", "Did you mean 'tokens'?"),
        (("--length", "constant:0"), "'constant', knob 'tokens'", ""),
        (("--think", "budget:64+"), "empty controller", "none"),
        (("--exit", "answer-confidense"), "no think is called", "Did you mean 'answer-confidence'?"),
        (("--temperature", "-1"), "temperature must be", ""),
        (("--max-tokens", "0"), "max_new_tokens must be > 0", ""),
        (("--drafter", "draft-model"), "needs a draft model", "--draft-model"),
        (("--length", "svip"), "draft distributions", "draft-model"),
    ],
)
def test_refusals_are_two_lines(laconic, model, arguments, error, hint):
    done = laconic("run", "Hm?", "-m", model, *arguments)
    assert done.exit_code == 2
    assert done.stdout == ""
    first, *rest = done.stderr.strip().splitlines()
    assert first.startswith("error: ")
    assert error in first
    assert not hint or hint in rest[0]
    assert "Traceback" not in done.output


def test_a_model_that_is_not_there(laconic, tmp_path):
    done = laconic("run", "Hm?", "-m", tmp_path / "nothing")
    assert done.exit_code == 2
    assert done.stderr.startswith("error: there is no folder")


def test_an_empty_prompt(laconic, model):
    done = laconic("run", "  ", "-m", model)
    assert done.exit_code == 2
    assert "prompt is empty" in done.stderr


def test_version_and_usage_errors(laconic):
    assert laconic("--version").stdout.startswith("laconic ")
    assert laconic("rum").exit_code == 2
    assert laconic("run").exit_code == 2


def interrupted(model, seed, how):
    """Exit code, output and errors of a run that is sent the signal ``how`` once it has written something."""
    command = [sys.executable, "-m", "laconic", "run", "Hm?", "-m", model, "--max-tokens", "470"]
    command += ["--drafter", "none", "--think", "none", "--temperature", "0.8", "--seed", str(seed)]
    source = os.path.dirname(os.path.dirname(os.path.dirname(__import__("laconic.cli").cli.__file__)))
    environment = os.environ | {"PYTHONPATH": source, "OMP_NUM_THREADS": "1"}
    child = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a test run in the background ignores it
    )
    try:
        assert child.stdout.read(1)
        child.send_signal(how)
        out, err = child.communicate(timeout=60)
    finally:
        child.kill()
    return child.returncode, out.decode(errors="replace"), err.decode()


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_cleanly_with_what_was_written(model, how):
    # The model needs a fraction of a second for all of it; on a busy machine the signal may come too late.
    for seed in range(1, 9):
        code, text, errors = interrupted(model, seed, how)
        if code != 0:
            break
    assert code == 130, (text, errors)
    assert "Traceback" not in errors
    assert "tokens per target pass" in text.splitlines()[-1]
    assert "stopped" in text.splitlines()[-1]


@needs_bundled
def test_bundled_model_answers(laconic):
    record = json.loads(laconic("run", "What is 37 * 48 + 15?", "--json", "--baseline").stdout)
    assert record["finish_reason"] == "stop"
    assert record["usage"]["thinking"] > 0
    assert "boxed" in record["answer"]


def test_room_for_the_answer_can_be_left_to_the_model(laconic):
    asked = ("run", "What is 37 * 48 + 15?", "--max-tokens", "40", "--think", "none", "--drafter", "none", "--json")
    assert json.loads(laconic(*asked).stdout)["answer"]
    alone = json.loads(laconic(*asked, "--answer-room", "0").stdout)
    assert (alone["answer"], alone["events"]) == ("", [])
