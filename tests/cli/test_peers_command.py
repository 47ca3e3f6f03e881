import json

from laconic.bench.peers.together import PEERS


def peers(laconic, model, problems, *more):
    return laconic("peers", *more, "-m", model, "--tasks", problems, "--max-tokens", "40", "--n", "3", "--exit", "none")


def test_everyone_who_can_come_is_measured_and_the_others_are_named(laconic, model, problems, tmp_path):
    file = tmp_path / "peers.json"
    done = peers(laconic, model, problems, "--json", str(file), "--drafter", "suffix")
    assert done.exit_code == 0, done.output
    record = json.loads(file.read_text())
    assert set(record["variants"]) == {"baseline", "laconic", "transformers", "transformers-prompt-lookup"}
    assert set(record["skipped"]) == set(PEERS) - set(record["variants"])
    assert "install_vllm" in record["skipped"]["vllm"]
    for same in record["same_tokens"].values():
        assert (same["prompts"], same["identical"]) == (3, 3)
    assert record["ratios"]["laconic"]["transformers"]["seconds"] > 0
    assert record["variants"]["transformers"]["tokens_per_pass"] == 1
    assert "skipped vllm: its environment is not named (--vllm)" in done.output
    assert "generate, lookup" in done.output


def test_bfloat16_reaches_every_variant(laconic, model, problems, tmp_path):
    file = tmp_path / "peers.json"
    done = peers(
        laconic, model, problems, "transformers", "--json", str(file), "--drafter", "suffix", "--dtype", "bfloat16"
    )
    assert done.exit_code == 0, done.output
    record = json.loads(file.read_text())
    assert record["setup"]["dtype"] == "bfloat16"
    assert set(record["variants"]) == {"baseline", "laconic", "transformers"}


def test_what_is_refused(laconic, model, problems):
    for arguments, message in (
        (("transformer", "--drafter", "suffix"), "no peer is called 'transformer'"),
        (("transformers", "--drafter", "suffix", "--dtype", "bf16"), "no number format is called 'bf16'"),
        (("transformers", "--drafter", "none"), "plain decoding itself"),
        (("vllm", "--drafter", "suffix", "--json", "/nowhere/at/all.json"), "there is no directory"),
    ):
        done = peers(laconic, model, problems, *arguments)
        assert done.exit_code == 2, done.output
        assert message in done.output
