import json

from transformers import AutoModelForCausalLM


def test_pad_writes_a_checkpoint_that_run_answers_from_alike(laconic, model, tmp_path):
    done = laconic("pad", model, tmp_path / "big", "--parameters", "1M")
    assert done.exit_code == 0, done.output
    assert "width                       32 ->" in done.stdout
    assert f"wrote {tmp_path / 'big'} (float32)" in done.stdout.replace("\n", " ")
    texts = [
        json.loads(laconic("run", "What is 2 + 3?", "-m", place, "--max-tokens", 40, "--json").stdout)["text"]
        for place in (model, tmp_path / "big")
    ]
    assert texts[0] == texts[1]


def test_json_and_dtype(laconic, model, tmp_path):
    done = laconic("pad", model, tmp_path / "big", "--parameters", "300K", "--dtype", "bfloat16", "--json")
    report = json.loads(done.stdout)
    assert report == json.loads((tmp_path / "big" / "padding.json").read_text())
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "big")
    assert str(loaded.dtype) == "torch.bfloat16"
    assert sum(p.numel() for p in loaded.parameters()) == report["parameters"]
    assert abs(report["parameters"] / 300_000 - 1) <= 0.03


def test_refusals_are_two_lines(laconic, model, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    for arguments, error, hint in [
        ((model, tmp_path / "o", "--parameters", "huge"), "'huge' is not a number", "0.3B"),
        ((model, tmp_path / "o", "--parameters", "1K"), "parameters already", "ask for more"),
        ((model, tmp_path / "full", "--parameters", "1M"), "not an empty directory", "another place"),
        ((model, tmp_path / "o", "--parameters", "1M", "--dtype", "bf16"), "no number format", "Did you mean"),
        ((tmp_path / "none", tmp_path / "o", "--parameters", "1M"), "there is no folder", "bundled"),
    ]:
        done = laconic("pad", *arguments)
        assert done.exit_code == 2
        assert error in done.stderr
        assert hint in done.stderr.splitlines()[1]
        assert not (tmp_path / "o").exists()
