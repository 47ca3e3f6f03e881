"""``laconic run --url``: the same question, thinking methods and output, over a server."""

import json

import pytest
from transformers import AutoModelForCausalLM

from laconic.models.load import load_text
from tests.server import Manners, Server, cached


@pytest.fixture(scope="module")
def server(model):
    network = AutoModelForCausalLM.from_pretrained(model).eval()
    with Server(cached(network), load_text(model)) as made:
        yield made


def test_over_a_server_as_here(laconic, model, server):
    said = ("run", "What is 2 + 3?", "--max-tokens", 60, "--budget", 12, "--exit", "answer-agreement:2", "--json")
    here = laconic(*said, "-m", model, "--drafter", "none")
    there = laconic(*said, "--url", server.url, "--tokenizer", model)
    assert there.exit_code == 0, there.output
    mine, theirs = json.loads(here.stdout), json.loads(there.stdout)
    assert all(mine[key] == theirs[key] for key in ("tokens", "answer", "events", "finish_reason"))
    assert theirs["usage"]["thinking"] == mine["usage"]["thinking"] <= 12


def test_the_closing_line_says_nothing_of_passes(laconic, model, server):
    over = ("-m", "tiny", "--url", server.url, "--tokenizer", model)
    done = laconic("run", "Hm?", *over, "--baseline", "--budget", 9, "--max-tokens", 60)
    assert done.exit_code == 0, done.output
    last = done.stdout.splitlines()[-1]
    assert "thinking +" in last
    assert "plain decoding, measured:" in last
    assert "pass" not in last


@pytest.mark.parametrize(
    ("arguments", "error", "hint"),
    [
        (("--drafter", "suffix"), "--drafter cannot be chosen", "The server"),
        (("--verify", "match"), "--verify cannot be chosen", "The server"),
        (("--draft-model", "x"), "--draft-model cannot be chosen", "The server"),
        (("--dtype", "float32"), "--dtype cannot be chosen", "The server"),
        (("--think", "setled"), "no think is called", "settled"),
        (("--server", "send=words"), "send must be", "--help"),
        (("--server", "logprob=5"), "no such setting", "logprobs"),
        (("--server", "extras=perhaps"), "cannot be 'perhaps'", "--help"),
        (("--server", "extras"), "no value", "send=text"),
        (("-m", "other"), "404", "/models"),
    ],
)
def test_refusals(laconic, model, server, arguments, error, hint):
    server.manners = Manners(fault="status", status=404, message={"error": {"message": "no such model"}})
    done = laconic("run", "Hm?", "--url", server.url, "--tokenizer", model, *arguments)
    server.manners = Manners()
    assert done.exit_code == 2, done.output
    first, second = done.stderr.strip().splitlines()[-2:]
    assert error in first
    assert hint in second


def test_a_server_that_is_not_there_and_a_tokenizer_without_one(laconic, model):
    done = laconic("run", "Hm?", "--url", "http://127.0.0.1:9/v1", "--tokenizer", model)
    assert done.exit_code == 2
    assert "no connection to http://127.0.0.1:9/v1" in done.stderr
    done = laconic("run", "Hm?", "-m", model, "--tokenizer", model)
    assert "--url" in done.stderr


def test_how_a_server_is_asked_can_be_said(laconic, model, server):
    server.seen.clear()
    said = ("--server", "send=text", "--server", "logprobs=5", "--server", "extras=no")
    done = laconic("run", "Hm?", "--url", server.url, "-m", "tiny", "--tokenizer", model, *said,
                   "--think", "answer-agreement:1", "--max-tokens", 60)  # fmt: skip
    assert done.exit_code == 0, done.output
    assert server.seen
    assert all(isinstance(body["prompt"], str) and "top_k" not in body for body in server.seen)
    assert {body["logprobs"] for body in server.seen if "logprobs" in body} <= {1, 5}
    done = laconic("run", "Hm?", "-m", model, "--server", "send=text")
    assert "--url" in done.stderr


def test_a_promise_says_nothing_of_a_model_elsewhere(laconic, model, server, tmp_path):
    """A model behind a server cannot be told from others, so a file's promise is shown as not holding."""
    server.manners = Manners()
    config = tmp_path / "laconic.toml"
    config.write_text(
        'model = "tiny"\n[methods]\nthink = ["budget:9"]\n[promise]\nthink = ["budget:9"]\nkind = "answers-changed"\n'
        'harm = 0.05\nconfidence = 0.95\nn = 200\nat_stake = 200\nharms = 3\nupper_bound = 0.0382\ndata = "00"\n'
        'model = "00"\ndtype = "float32"\ndevice = "cpu"\nprompt = "00"\ntemperature = 0.0\ntop_k = 0\ntop_p = 1.0\n'
        "min_p = 0.0\nrepetition_penalty = 1.0\nmax_tokens = 60\nuncut = true\n"
    )
    done = laconic("run", "Hm?", "--url", server.url, "--tokenizer", model, "--config", config, "--max-tokens", 60)
    assert done.exit_code == 0, done.output
    assert "promise: does not hold here, since the model is not one that can be told from others" in done.output
