"""The splitter reproduces any text; real tokenizers load by folder and by file."""

import random

import pytest

from laconic.bench.replay.tokens import Splitter, load
from laconic.errors import ModelNotFound
from tests import tiny


def test_reproduces_any_text():
    rng = random.Random(0)
    alphabet = "aZé漢字ß²½ \t\n\r\u00a0\u2003\u200b_-.,$\\{}\"'0123456789٣👍🏽\u0301\x00"
    splitter = Splitter()
    for _ in range(500):
        text = "".join(rng.choice(alphabet) for _ in range(rng.randrange(80)))
        assert splitter.decode(splitter.encode(text)) == text
    text = "".join(map(chr, [*range(0xD800), *range(0xE000, 0x11000)]))
    assert splitter.decode(splitter.encode(text)) == text


def test_splits_as_byte_pair_tokenizers_begin():
    splitter = Splitter()
    pieces = [splitter.decode([i]) for i in splitter.encode("So 12345 == x_max:\n    return incomprehensibilities\n\n")]
    assert pieces == [
        "So", " ", "123", "45", " ==", " x", "_", "max", ":", "\n", "   ", " return", " incomprehens", "ibilities",
        "\n\n",
    ]  # fmt: skip
    assert splitter.encode("So So")[0] == splitter.encode("So")[0]


def test_loads_a_folder_and_a_file(tmp_path):
    tokenizer = tiny.text().tokenizer
    tokenizer.save_pretrained(tmp_path)
    text = "Is 2+2 = 4?\n<think>Yes."
    for name in (tmp_path, tmp_path / "tokenizer.json"):
        loaded = load(str(name))
        assert loaded.decode(loaded.encode(text)) == text
        assert max(loaded.encode(text)) < loaded.size
        assert not loaded.approximate
    assert load(None).approximate


def test_unknown_tokenizer(tmp_path):
    (tmp_path / "broken.json").write_text("{}")
    for name in ("broken.json", "none"):
        with pytest.raises(ModelNotFound):
            load(str(tmp_path / name))
