from pathlib import Path

import pytest

from laconic.config import Config, ConfigError, MethodsTable, PromiseTable, load


def write(folder: Path, text: str) -> Path:
    path = folder / "laconic.toml"
    path.write_text(text)
    return path


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    config = Config(
        model='a "quoted" path\\x',
        dtype="bfloat16",
        methods=MethodsTable(drafter="suffix:fallback=[draft-model]", think=("budget:64", "answer-confidence")),
    )
    path = write(tmp_path, config.toml("first line\n\nthird"))
    assert path.read_text().startswith("# first line\n#\n# third\n")
    assert load(path) == config
    assert load(path).methods.said() == {
        "drafter": "suffix:fallback=[draft-model]",
        "think": ("budget:64", "answer-confidence"),
    }
    assert load(write(tmp_path, "")) == Config()


PROMISE = PromiseTable(
    think=("settled:price=0.004",), kind="right-answers-lost", harm=0.01, confidence=0.95, n=612, at_stake=570, harms=1,
    upper_bound=0.0077, data="ab" * 32, model="0123456789abcdef", dtype="float32", device="cpu", prompt="0" * 16,
    temperature=0.6, top_k=20, top_p=0.95, min_p=0.0, repetition_penalty=1.0, max_tokens=2048, uncut=False,
)  # fmt: skip


def test_a_promise_is_read_back(tmp_path: Path) -> None:
    config = Config(model="bundled", methods=MethodsTable(think=PROMISE.think), promise=PROMISE)
    path = write(tmp_path, config.toml("found"))
    assert load(path) == config
    assert load(path).promise == PROMISE
    assert "[promise]" in path.read_text()
    assert "[promise]" not in Config(model="bundled").toml()


@pytest.mark.parametrize(
    ("old", "new", "message", "hint"),
    [
        ("harms = 1", "harms = -1", "key 'promise.harms'", ""),
        ("harm = 0.01", "harm = 1.5", "key 'promise.harm'", ""),
        ("confidence = 0.95", "confidance = 0.95", "key 'promise.confid", ""),
        ("uncut = false", "uncut = false\nextra = 1", "key 'promise.extra'", "Known:"),
        ("n = 612", "", "key 'promise.n'", ""),
        ("settled:price", "setled:price", "promise.think: no think is called 'setled'", "'settled'"),
        ("right-answers-lost", "harmless", "key 'promise.kind'", ""),
    ],
)
def test_a_damaged_promise_is_refused(tmp_path: Path, old: str, new: str, message: str, hint: str) -> None:
    text = Config(promise=PROMISE).toml()
    assert old in text
    with pytest.raises(ConfigError) as caught:
        load(write(tmp_path, text.replace(old, new)))
    assert message in caught.value.message
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("modle = 'x'", "key 'modle'", "'model'"),
        ("[methods]\ndraftr = 'suffix'", "key 'methods.draftr'", "'drafter'"),
        ("[methods]\ndrafter = 'sufix'", "methods.drafter: no drafter is called 'sufix'", "'suffix'"),
        ("[methods]\nlength = 'constant:tokens=-1'", "methods.length", ""),
        ("[methods]\nthink = ['budget:64', 'bugdet:3']", "methods.think", "'budget'"),
        ("[methods]\nthink = 'budget:64'", "key 'methods.think'", ""),
        ("dtype = 'fp8'", "key 'dtype'", ""),
        ("model = 3", "key 'model'", ""),
        ("model =", "is not TOML", ""),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, message: str, hint: str) -> None:
    with pytest.raises(ConfigError, match=r"laconic\.toml") as caught:
        load(write(tmp_path, text))
    assert message in caught.value.message
    assert hint in caught.value.hint


def test_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        load(tmp_path / "none.toml")
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="UTF-8"):
        load(tmp_path / "bytes.toml")
