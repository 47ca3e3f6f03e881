"""Two checkpoints of one shape, and a third."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.training.merging.checkpoints import saved


@pytest.fixture
def pair(tmp_path: Path) -> list[str]:
    return [saved(tmp_path / name, seed) for seed, name in enumerate(("one", "two"))]


@pytest.fixture
def base(tmp_path: Path) -> str:
    return saved(tmp_path / "base", 2)
