"""Memory that loading has used goes back to the system."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from laconic.models.memory import give_back

SCRIPT = """
import re, torch
from laconic.models.memory import give_back
def anonymous():
    return int(re.search(r"RssAnon:\\s+(\\d+)", open("/proc/self/status").read())[1]) / 1024
begun = anonymous()
held = [torch.ones(16_000) for _ in range(2000)]  # 64 kB each: below what the C library maps by itself
top = torch.ones(10)
used = anonymous() - begun
del held
give_back()
print(used, anonymous() - begun)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the system does not say how much memory is held")
def test_what_was_freed_is_given_back() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    used, left = (float(part) for part in re.findall(r"-?[\d.]+", done.stdout))
    assert used > 100
    assert left < 20


def test_it_is_harmless() -> None:
    give_back()
    give_back()
