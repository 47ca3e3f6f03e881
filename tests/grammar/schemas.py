"""Random JSON schemas of bounded answers, by seed."""

from __future__ import annotations

import random
from typing import Any

_WORDS = ("name", "age", "city", "tags", "price", "unit", "done", "items", "when", "note")
_PATTERNS = ("^[A-Z]{2}[0-9]{3}$", "^(a|bc){1,3}$", "^[^x]{2,4}$")


def schema(seed: int) -> dict[str, Any]:
    """An object schema with one to four properties, nested up to three deep."""
    rng = random.Random(seed)
    made = _object(rng, 0)
    if rng.random() < 0.3:
        made["$defs"] = {"shared": _value(rng, 2)}
        made["properties"]["shared"] = {"$ref": "#/$defs/shared"}
        made["required"].append("shared")
    return made


def _object(rng: random.Random, depth: int) -> dict[str, Any]:
    keys = rng.sample(_WORDS, rng.randint(1, 4 - depth))
    return {
        "type": "object",
        "properties": {key: _value(rng, depth + 1) for key in keys},
        "required": [key for key in keys if rng.random() < 0.8],
        "additionalProperties": False,
    }


def _value(rng: random.Random, depth: int) -> dict[str, Any]:
    kinds = ["text", "pattern", "integer", "number", "enum", "const", "boolean", "null", "either"]
    kind = rng.choice(kinds + ["array", "object"] * (depth < 3))
    low = rng.randint(-50, 50)
    bounded = {"minimum": low, "maximum": low + rng.randint(0, 500)}
    return {
        "text": lambda: {"type": "string", "minLength": rng.randint(0, 3), "maxLength": rng.randint(3, 9)},
        "pattern": lambda: {"type": "string", "pattern": rng.choice(_PATTERNS)},
        "integer": lambda: {"type": "integer", **bounded},
        "number": lambda: {"type": "number", "multipleOf": 0.25, **bounded},
        "enum": lambda: {"enum": rng.sample(["red", "green", 1, 2.5, True, None, "a \"b\" c"], rng.randint(1, 4))},
        "const": lambda: {"const": rng.choice(["fixed", 7, None, {"a": [1]}])},
        "boolean": lambda: {"type": "boolean"},
        "null": lambda: {"type": ["null", "integer"], **bounded},
        "either": lambda: {"anyOf": [{"type": "boolean"}, {"type": "string", "maxLength": 4}]},
        "array": lambda: {"type": "array", "items": _value(rng, depth + 1), "minItems": rng.randint(0, 2),
                          "maxItems": 3},
        "object": lambda: _object(rng, depth),
    }[kind]()  # fmt: skip
