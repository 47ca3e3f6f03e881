"""The certificate as a whole: what it holds, its verdict, its digest, and what it refuses."""

from __future__ import annotations

import copy
import hashlib
import json

import pytest

from laconic.bench.certify.base import joined
from laconic.bench.certify.certificate import FORMAT, Settings, certify, signed, verify_digest
from laconic.bench.certify.identity import identify
from laconic.errors import RequestError
from laconic.types import Sampling
from tests.bench.certify import faults

QUESTIONS = [f"What is {i} + 7? And {i} + 7 again?" for i in range(3)]
QUICK = Settings(samplings=(Sampling(0.7),), max_new_tokens=24, references=1, batch=2, contexts=2, samples=96, keep=8,
                 rounds=4, cached=2)  # fmt: skip


@pytest.fixture(scope="module")
def record():
    engine = faults.tiny_engine(drafter="draft-model", length="constant:3")
    told = []
    made = certify(engine, QUESTIONS, QUICK, after=told.append)
    assert [word.split(":")[0] for word in told][:: len(told) - 1] == ["greedy", "sampled"]
    return made


def test_an_exact_configuration(record):
    assert record["format"] == FORMAT
    assert record["verdict"] == "exact", [record[a]["reason"] for a in ("greedy", "sampled", "rollback")]
    assert json.loads(json.dumps(record)) == record
    assert record["subject"]["drafter"] == "draft-model"
    assert record["subject"]["verifier"] == "match"
    assert record["subject"]["dtype"] == "float32"
    assert record["subject"]["claims_lossless"] is True
    assert record["settings"]["prompts"] == 3
    assert record["warnings"] == []
    assert record["provenance"].keys() >= {"command", "time", "versions", "commit"}


def test_one_fault_spoils_all():
    engine = faults.tiny_engine(drafter="draft-model", verifier=faults.DroppedBonus(), length="constant:3")
    made = certify(engine, QUESTIONS, QUICK)
    assert made["verdict"] == "not exact"
    assert made["greedy"]["verdict"] == "not exact"
    assert made["rollback"]["verdict"] == "exact"
    assert "DroppedBonus" in made["subject"]["verifier"]


def test_joined():
    assert joined(["exact", "exact"]) == "exact"
    assert joined(["exact", "inconclusive"]) == "inconclusive"
    assert joined(["inconclusive", "not exact", "exact"]) == "not exact"


def test_the_digest_tells_edits(record):
    assert verify_digest(record)
    assert verify_digest(json.loads(json.dumps(record, indent=3)))
    for path in (("verdict",), ("sampled", "least_p"), ("subject", "drafter"), ("provenance", "time"), ("digest",)):
        edited = copy.deepcopy(record)
        place = edited
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = "edited"
        assert not verify_digest(edited), path
    assert not verify_digest({k: v for k, v in record.items() if k != "digest"})
    assert not verify_digest(record | {"more": float("nan")})
    infinite = signed({"g": float("inf"), 1: (2, 3)})
    assert infinite["g"] == "inf"
    assert verify_digest(json.loads(json.dumps(infinite)))


def test_identity_follows_config_and_weights(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    one = identify(tmp_path)
    assert one["config"] == hashlib.sha256(b"{}").hexdigest()
    assert one["weights"] == {"model.safetensors": {"bytes": 7, "sha256": hashlib.sha256(b"weights").hexdigest()}}
    assert one["hashed"] == "contents"
    (tmp_path / "model.safetensors").write_bytes(b"weighty")
    assert identify(tmp_path) != one
    assert identify("no/such-model")["hashed"] == "nothing"


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"samplings": (Sampling(0.0),)}, "temperature 0"),
        ({"false_alarm": 2.0}, "in \\(0, 1\\)"),
        ({"batch": 0}, "batch"),
        ({"references": -1}, "reference"),
        ({"rounds": 0}, "at least one round"),
        ({"max_new_tokens": 0}, "max_new_tokens"),
    ],
)
def test_refused_settings(values, says):
    with pytest.raises(RequestError, match=says):
        Settings(**values)


def test_zero_prompts():
    with pytest.raises(RequestError, match="no prompts"):
        certify(faults.tiny_engine(drafter="none"), [], QUICK)
