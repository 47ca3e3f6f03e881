"""A small random reasoner on disk, and the command line run in this process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from typer.testing import CliRunner

from tests.cli.checkpoint import save


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save(tmp_path_factory.mktemp("checkpoint")))


@pytest.fixture(scope="session")
def problems(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("tasks") / "sums.jsonl"
    path.write_text("\n".join(f'{{"question": "What is {i} + 7?", "answer": {i + 7}}}' for i in range(6)) + "\n")
    return str(path)


@pytest.fixture
def laconic() -> Callable[..., Any]:
    from laconic.cli.main import app

    return lambda *arguments, **options: CliRunner().invoke(app, [str(a) for a in arguments], **options)
