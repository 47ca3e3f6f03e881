import statistics
from itertools import pairwise
from pathlib import Path

import pytest

from laconic.bench.simulate.arrivals import Load, loads, read
from laconic.bench.simulate.jobs import jobs
from laconic.errors import RequestError, TaskError
from tests.bench.simulate.by_hand import script

AZURE = """TIMESTAMP,ContextTokens,GeneratedTokens
2023-11-16 18:17:04.0319600,3180,8

2023-11-16 18:17:03.9799600,4808,10
yesterday,5,5
2023-11-16 18:17:05.0319600,12
2023-11-16 18:17:06.0319600,7,many
2023-11-16 18:17:06.0319600,7,0
2023-11-16 18:17:07.4799600+00:00,7,4
"""
MOONCAKE = """{"timestamp": 500, "input_length": 10, "output_length": 3, "hash_ids": [1]}
{"timestamp": 0, "input_length": 6, "output_length": 2}
[1]
{"timestamp": 3}
nonsense
{"timestamp": NaN, "input_length": 6, "output_length": 2}
"""


def test_azure(tmp_path):
    path = tmp_path / "trace.csv"
    path.write_text(AZURE)
    trace = read(path)
    assert [(a.at, a.prompt, a.written) for a in trace.arrivals] == [
        (0.0, 4808, 10), (pytest.approx(0.052), 3180, 8), (pytest.approx(3.5), 7, 4)
    ]  # fmt: skip
    assert [p.line for p in trace.problems] == [5, 6, 7, 8]
    reasons = "; ".join(p.reason for p in trace.problems)
    assert "Invalid isoformat" in reasons
    assert "too few columns" in reasons
    assert "gives or writes no token" in reasons


def test_mooncake(tmp_path):
    path = tmp_path / "trace.jsonl"
    path.write_text(MOONCAKE)
    path.write_bytes(path.read_bytes() + b"\xff\n")
    trace = read(path)
    assert [(a.at, a.prompt, a.written) for a in trace.arrivals] == [(0.0, 6, 2), (0.5, 10, 3)]
    assert [(p.line, p.reason) for p in trace.problems] == [
        (3, "not an object"), (4, "no field 'input_length'"), (5, "not JSON"), (6, "its time is no number"),
        (7, "not UTF-8"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "words"),
    [("", "is empty"), ("\n\n", "is empty"), ("a,b\n1,2\n", "no known format"), ("{}\n", "no usable line"),
     ("TIMESTAMP,ContextTokens,GeneratedTokens\n", "no usable line")],
)  # fmt: skip
def test_files_without_anything(tmp_path, text, words):
    path = tmp_path / "trace"
    path.write_text(text)
    with pytest.raises(TaskError, match=words):
        read(path)
    with pytest.raises(TaskError, match="cannot read"):
        read(tmp_path / "nowhere")


@pytest.mark.parametrize(
    "spec", ["closed:", "closed:0", "closed:1.5", "closed:x", "poisson:-1", "poisson:nan", "open:1"]
)
def test_loads_that_are_none(spec):
    with pytest.raises(RequestError):
        loads(spec)


def test_loads(tmp_path):
    assert loads("closed:1,4,4") == [Load("closed", 1), Load("closed", 4)]
    (rate,) = loads("poisson:2.5")
    times = rate.times(4000, 7)
    assert times == sorted(times) == rate.times(4000, 7)
    assert times != rate.times(4000, 8)
    gaps = [b - a for a, b in pairwise(times)]
    assert statistics.fmean(gaps) == pytest.approx(0.4, rel=0.06)
    path = tmp_path / "trace.csv"
    path.write_text(AZURE)
    slow, fast = loads(str(path), (1.0, 10.0))
    assert fast.times(3, 0) == pytest.approx([at / 10 for at in slow.times(3, 0)])
    assert fast.label == "trace x10"
    for factor in (0.0, -1.0, float("inf")):
        with pytest.raises(RequestError):
            loads(str(path), (factor,))


def test_texts_are_laid_end_to_end_and_cut(tmp_path):
    path = tmp_path / "trace.csv"
    path.write_text(AZURE)
    (load,) = loads(str(path))
    texts = [script("1101", name="a"), script("011", name="b", ties=(1,))]
    made = jobs(texts, load, 10)
    assert [(job.script.prompt, len(job.script)) for job in made] == [(4808, 10), (3180, 8), (7, 4)]
    assert "".join("1" if hit else "0" for hit in made[0].script.hits) == "1101" + "011" + "110"
    assert sorted(made[0].script.strays) == [2, 4, 9]
    assert list(made[0].script.ties) == [5]
    assert "".join("1" if hit else "0" for hit in made[1].script.hits) == "0111101" + "0"
    assert len(jobs(texts, Load("closed", 2), 5)) == 5
    assert jobs(texts, load, 1)[0].at == 0
    with pytest.raises(RequestError):
        jobs(texts, load, 0)


TRACES = next((p / "shared/data/load" for p in Path(__file__).resolve().parents if (p / "shared").is_dir()), None)


@pytest.mark.skipif(TRACES is None, reason="the arrival traces (shared/data/load) are not here")
@pytest.mark.parametrize("name", ["azure_2023_code.csv", "azure_2023_conv.csv", "mooncake_conversation.jsonl"])
def test_real_traces(name):
    trace = read(TRACES / name)
    assert len(trace.arrivals) + len(trace.problems) == 3000
    assert len(trace.problems) < 30
    assert trace.arrivals[0].at == 0
    assert trace.arrivals[-1].at > 60
