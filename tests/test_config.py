from pathlib import Path

import pytest

from laconic.config import Config, ConfigError, MethodsTable, load


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
