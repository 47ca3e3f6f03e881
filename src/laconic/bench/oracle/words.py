"""The bounds of a comparison as sentences."""

from __future__ import annotations

from typing import Any


def in_words(found: dict[str, Any] | None) -> list[str]:
    """What could have been saved at most and what share of it was reached; nothing where no bound applies."""
    said = []
    thought, length = (found or {}).get("thought"), (found or {}).get("length")
    if thought and thought["share"] is not None:
        tokens = thought["thinking_tokens"]
        said.append(
            f"the shortest prefixes of the thoughts that give the right answer hold "
            f"{tokens['oracle'] / tokens['free']:.0%} of the thinking tokens; laconic reaches {thought['share']:.0%} "
            f"of that saving"
        )
    if length and length["share"] is not None:
        time = {name: value / length["time"]["plain"] for name, value in length["time"].items()}
        said.append(
            f"with the best draft lengths in hindsight the passes take {time['oracle']:.0%} of plain decoding's time, "
            f"with the best fixed one ({length['best_fixed_length']}) {time['best_fixed']:.0%}; "
            f"ours {time['ours']:.0%}, {length['share']:.0%} of the oracle's saving"
        )
    return said
