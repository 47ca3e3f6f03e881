"""The table of rewards in docs/training.md, held to the registry."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import laconic
from laconic.policy import registry
from laconic.training.base import BESIDES, besides
from tests.training.groups import make
from tests.training.test_contract import READS

PAGE = (Path(laconic.__file__).parents[2] / "docs" / "training.md").read_text(encoding="utf-8")
ROWS = [[cell.strip() for cell in line.strip("|").split(" |")] for line in PAGE.splitlines() if line.startswith("| `")]
TABLE = {row[0].strip("`"): row for row in ROWS if len(row) == 6}


def test_every_reward_has_a_row_with_its_knobs() -> None:
    assert sorted(TABLE) == registry.names("reward")
    for name, row in TABLE.items():
        cls = registry.get("reward", name)
        required = set(cls.required())
        shown = [f"**{knob.name}**" if knob.name in required else knob.name for knob in fields(cls)]
        assert [knob for knob in row[3].split(", ") if knob] == shown, name


def test_every_row_says_what_is_read_and_what_is_done_besides() -> None:
    for name, row in TABLE.items():
        assert {part for part in row[5].split(", ") if part} == set(besides(make(name))), name
        assert tuple(part for part in row[4].split(", ") if part) == make(name).reads, name
        assert name not in READS or READS[name] in make(name).reads, name


def test_every_protocol_is_explained() -> None:
    for protocol in BESIDES:
        assert f"`{protocol.__name__}`" in PAGE


def test_the_traps_name_those_that_let_a_wrong_rollout_win() -> None:
    line = next(part for part in PAGE.split("* **") if part.startswith("A wrong rollout can win"))
    assert {name for name in TABLE if f"`{name}`" in line} == {name for name in TABLE if not make(name).truthful}
