"""Peers behind a pipe, played by a script: what is sent, what is read, and what happens when one dies."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from laconic import Limits, Request, Sampling
from laconic.bench.peers import vllm
from laconic.bench.peers.base import PeerUnavailable
from laconic.bench.peers.piped import PipedPeer
from laconic.errors import RequestError
from tests import tiny

TEXT = tiny.text()
PROMPT = tuple(TEXT.encode("Hello!"))
SERVER = """
import json, sys
settings = json.loads(sys.stdin.readline())
open({seen!r}, "a").write(json.dumps(settings) + "\\n")
{start}
print(json.dumps({{"ready": True, "version": "1.2"}}), flush=True)
for line in sys.stdin:
    order = json.loads(line)
    open({seen!r}, "a").write(json.dumps(order) + "\\n")
    {each}
    print(json.dumps({{"tokens": [65, 66, 67, order["ends"][0]], "drafted": 6, "accepted": 2}}), flush=True)
"""


def start(tmp_path: Path, *, first: str = "", each: str = "pass", name: str = "vllm-suffix") -> PipedPeer:
    script = tmp_path / "server.py"
    script.write_text(SERVER.format(seen=str(tmp_path / "seen"), start=first, each=each))
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{script}"\n')
    python.chmod(0o755)
    return vllm.start(name, python, "some/model", TEXT, context=40, threads=2, log=tmp_path / "log")


def test_requests_go_out_and_tokens_come_back(tmp_path: Path) -> None:
    peer = start(tmp_path)
    requests = [
        Request(PROMPT, limits=Limits(100)),
        Request(PROMPT, Sampling(0.7, top_k=5, top_p=0.9, min_p=0.1, seed=3), Limits(7)),
    ]
    greedy, _ = peer.run(requests, 1).results
    assert peer.version == "1.2"
    assert greedy.tokens[:3] == (65, 66, 67)
    assert greedy.finish_reason == "stop"
    assert (greedy.usage.target_passes, greedy.usage.drafted, greedy.usage.accepted) == (2, 6, 2)
    settings, first, second = map(json.loads, (tmp_path / "seen").read_text().splitlines())
    assert settings["speculative"]["method"] == "suffix"
    assert (settings["model"], settings["context"], settings["threads"]) == ("some/model", 40, 2)
    assert first == {
        "prompt": list(PROMPT),
        "ends": sorted(TEXT.eos),
        "max_tokens": 40 - len(PROMPT),
        "temperature": 0.0,
        "repetition_penalty": 1.0,
    }
    assert second["max_tokens"] == 7
    assert {key: second[key] for key in ("temperature", "top_k", "top_p", "min_p", "seed")} == {
        "temperature": 0.7, "top_k": 5, "top_p": 0.9, "min_p": 0.1, "seed": 3,
    }  # fmt: skip
    with pytest.raises(RequestError, match="one request at a time"):
        peer.run(requests, 2)
    peer.close()
    assert peer._process.returncode == 0


def test_an_engine_that_does_not_start_says_why(tmp_path: Path) -> None:
    with pytest.raises(PeerUnavailable, match="out of luck"):
        start(tmp_path, first='print(json.dumps({"error": "ValueError: out of luck"}), flush=True); sys.exit(0)')


def test_an_engine_that_dies_is_noticed(tmp_path: Path) -> None:
    with pytest.raises(PeerUnavailable, match="exit code 3"):
        start(tmp_path, first="sys.exit(3)")
    peer = start(tmp_path, each="sys.exit(4)")
    with pytest.raises(PeerUnavailable, match="exit code 4"):
        peer.run([Request(PROMPT)], 1)
    peer.close()


def test_a_python_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(PeerUnavailable, match="cannot start") as caught:
        vllm.start("vllm", tmp_path / "nowhere", "m", TEXT, context=40, threads=1)
    assert "scripts/install_" in caught.value.hint


def test_what_their_guide_asks_for_is_in_the_environment(tmp_path: Path) -> None:
    library = tmp_path / "lib" / "libiomp5.so"
    python = tmp_path / "bin" / "python"
    assert "libiomp5" not in vllm.as_advised(python, 2).get("LD_PRELOAD", "")
    library.parent.mkdir()
    library.touch()
    environment = vllm.as_advised(python, 2)
    assert environment["LD_PRELOAD"].split(":")[0] == str(library)
    assert environment["OMP_NUM_THREADS"] == "2"
