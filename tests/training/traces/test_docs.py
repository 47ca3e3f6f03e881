"""The tables in docs/traces.md, held to the registry."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import laconic
import laconic.methods
from laconic.policy import Family, ordered, registry
from laconic.training.traces.base import TraceTransform
from laconic.training.traces.run import asks
from tests.training.traces.made import SPECS

PAGE = (Path(laconic.__file__).parents[2] / "docs" / "traces.md").read_text(encoding="utf-8")
ROWS = [[cell.strip() for cell in line.strip("|").split(" |")] for line in PAGE.splitlines() if line.startswith("| `")]


def table(columns: int, family: Family) -> dict[str, list[str]]:
    known = {f"`{name}`" for name in registry.names(family)}
    return {row[0].strip("`"): row for row in ROWS if len(row) == columns and row[0] in known}


def knobs(family: Family, name: str) -> list[str]:
    cls = registry.get(family, name)
    required = set(cls.required())
    return [f"**{knob.name}**" if knob.name in required else knob.name for knob in ordered(cls)]


def test_every_transform_has_a_row_with_its_knobs_and_needs() -> None:
    found = table(5, "trace")
    assert sorted(found) == registry.names("trace")
    for name, row in found.items():
        transform = cast(TraceTransform, registry.build("trace", SPECS.get(name, name)))
        assert [knob for knob in row[3].split(", ") if knob] == knobs("trace", name), name
        assert {tool for tool in ("model", "rewriter") if row[4] == tool} == asks(transform), name
        assert all(f"`--with {label}=`" == row[4] for label in transform.labels()), name
        alone = transform.makes == "examples" or transform.alone or transform.labels()
        assert (row[4] == "several traces") == (not alone), name
        assert row[2].startswith("pairs") == (transform.makes == "pairs"), name


def test_every_selector_has_a_row_with_its_knobs() -> None:
    found: dict[str, Any] = table(4, "selector")
    assert sorted(found) == registry.names("selector")
    for name, row in found.items():
        assert row[3].split(", ") == knobs("selector", name), name


def test_every_sufficiency_is_explained() -> None:
    assert all(f"| `[{name}]`" in PAGE for name in registry.names("sufficiency"))
