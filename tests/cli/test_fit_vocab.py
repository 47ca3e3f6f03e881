import json

import pytest


@pytest.mark.parametrize("statistic", ["corpus", "target"])
def test_a_choice_of_tokens_from_one_command_and_a_run_with_it(laconic, model, problems, tmp_path, statistic):
    out, corpus = tmp_path / "kept.json", tmp_path / "corpus.txt"
    corpus.write_text("What is 1 + 7? It is 8.\n\n" * 5)
    given = ["--from", corpus, "--from", problems] if statistic == "corpus" else ["--from-target", "--tasks", problems]
    done = laconic("fit", "vocab", out, "--model", model, "--size", 60, "--n", 3, "--max-tokens", 30, *given)
    assert done.exit_code == 0, done.stderr
    made = json.loads(out.read_text())
    assert (made["statistic"], len(made["tokens"])) == (statistic, 60)
    assert 0.5 < made["covered"] <= 1
    assert f"60 of {made['vocab_size']} tokens, {made['covered']:.2%}"[:20] in done.stdout
    assert f"draft-model:keep={out}" in done.stderr.replace("\n", "")
    run = laconic("run", "What is 1 + 7?", "--model", model, "--draft-model", model, "--drafter",
                  f"draft-model:keep={out}", "--length", "constant:4", "--max-tokens", 20, "--json")  # fmt: skip
    assert run.exit_code == 0, run.stderr
    assert json.loads(run.stdout)["usage"]["drafted"] > 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["fit", "vocab", "out.json"], "what is to be counted?"),
        (["fit", "vocab", "out.json", "--from-target", "--from", __file__], "what is to be counted?"),
        (["fit", "vocab", "/", "--from-target"], "is a folder"),
        (["fit", "vocab", "out.json", "--from", "/nowhere.txt"], "cannot read"),
        (["fit", "vocab", "out.json", "--from", __file__, "--size", "1000000"], "cannot keep 1000000"),
        (["run", "hello", "--drafter", "draft-model:keep=/nowhere", "--draft-model", "bundled-draft"], "no choice of"),
    ],
)
def test_refused(laconic, arguments, words):
    done = laconic(*arguments)
    assert done.exit_code == 2, done.stderr
    assert words in done.stderr.replace("\n", " ")


def test_a_draft_model_with_another_tokenizer_is_joined_and_the_run_says_so(laconic, model):
    said = laconic("run", "What is 1 + 7?", "--model", model, "--draft-model", "bundled-draft", "--max-tokens", 20)
    assert said.exit_code == 0, said.stderr
    assert "the draft model has another tokenizer" in said.stdout
