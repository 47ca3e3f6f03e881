def test_a_datastore_from_one_command_and_a_run_with_it(laconic, model, tmp_path):
    (tmp_path / "notes.txt").write_text("What is 1 + 7? It is 8.")
    (tmp_path / "log.jsonl").write_text('{"question": "What is 2 + 2?", "response": "It is 4."}\n')
    out = tmp_path / "store"
    done = laconic("fit", "datastore", tmp_path / "notes.txt", tmp_path / "log.jsonl", out, "--model", model)
    assert done.exit_code == 0, done.stderr
    assert "of 2 texts" in done.stdout
    assert f"rest:{out}" in done.stderr.replace("\n", "")
    run = laconic("run", "What is 1 + 7?", "--model", model, "--drafter", f"rest:{out}", "--max-tokens", 9, "--json")
    assert run.exit_code == 0, run.stderr
    for arguments, words in (
        (("run", "hello", "--drafter", "rest"), "laconic fit datastore"),
        (("run", "hello", "--drafter", f"rest:{tmp_path / 'none'}"), "no datastore at"),
        (("fit", "datastore", tmp_path / "gone.txt", out), "gone.txt"),
    ):
        refused = laconic(*arguments, "--model", model)
        assert refused.exit_code == 2, refused.stderr
        assert words in refused.stderr.replace("\n", " ")
