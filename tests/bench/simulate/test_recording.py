import json
import math
import random

import pytest
import torch

from laconic.bench.simulate.draft import distribution
from laconic.bench.simulate.recording import Recording, Stray, read, write
from laconic.errors import TaskError
from laconic.speculation.length.signal import entropy
from tests.bench.simulate.by_hand import script


def test_a_file_gives_back_what_was_written(tmp_path):
    path = tmp_path / "r.jsonl"
    one = script("1101", ties=[2], stopped=False)
    one.strays[2] = Stray([], [], True)
    write(Recording((one, script("0")), {"model": "m"}), path)
    found = read(path)
    assert found.scripts == (one, script("0", ties=[]))
    assert found.header["model"] == "m"
    assert (found.written, found.hit_rate, found.problems) == (5, 0.6, ())


def test_lines_that_cannot_be_used_are_named(tmp_path):
    path = tmp_path / "r.jsonl"
    write(Recording((script("10"), script("11")), {}), path)
    header, good, other = path.read_text().splitlines()
    broken = [json.loads(good) for _ in range(5)]
    broken[0]["confidence"].pop()
    broken[1]["strays"] = {}
    broken[2]["prompt"] = 0
    broken[3]["entropy"][0] = -1
    del broken[4]["hits"]
    path.write_text("\n".join([header, *map(json.dumps, broken), "nonsense", "", "[]", other]) + "\n")
    found = read(path)
    assert found.scripts == (script("11", ties=[]),)
    assert [problem.line for problem in found.problems] == [2, 3, 4, 5, 6, 7, 9]
    assert "no stray at position 1" in found.problems[1].reason


@pytest.mark.parametrize(
    ("text", "words"),
    [("", "no recording"), ("{}", "no recording"), ('{"kind": "laconic recording", "format": 99}', "format 99"),
     ('{"kind": "laconic recording", "format": 1}\n', "no usable text")],
)  # fmt: skip
def test_files_that_are_none(tmp_path, text, words):
    path = tmp_path / "r.jsonl"
    path.write_text(text)
    with pytest.raises(TaskError, match=words):
        read(path)
    with pytest.raises(TaskError, match="cannot read"):
        read(tmp_path / "nowhere")


def test_a_distribution_has_the_recorded_confidence_and_entropy():
    rng = random.Random(0)
    for _ in range(200):
        real = torch.tensor([rng.gauss(0, rng.choice((1, 3, 8))) for _ in range(rng.choice((3, 12, 600)))]).softmax(-1)
        made = distribution(float(real.max()), entropy(real))
        assert float(made.sum()) == pytest.approx(1, abs=1e-4)
        assert float(made.max()) == pytest.approx(float(real.max()), abs=1e-5)
        assert entropy(made) == pytest.approx(entropy(real), abs=2e-4)
    assert distribution(1.0, 0.0).tolist() == [1.0]
    assert entropy(distribution(0.5, 11.0)) == pytest.approx(math.log(2), abs=8.0)  # beyond any: the nearest
