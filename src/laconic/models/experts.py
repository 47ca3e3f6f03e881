"""Whether a model routes its tokens to experts, which decides what can be promised of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def routed(config: Any) -> bool:
    """Whether layers choose among experts: a mixture of experts, and no model of the same family without any.

    A choice is a jump: where the last expert that is taken and the first that is not have the same score up to
    rounding, two passes of different widths may take one each, and what follows is another text. The loop sees ties
    between tokens, and none of these.
    """
    return _many(config.to_dict() if hasattr(config, "to_dict") else vars(config))


def _many(said: Mapping[Any, Any]) -> bool:
    """Whether some count of experts is above one, here or in a part (dbrx says it of its feed-forward part).

    Doge counts experts, and has them where ``is_moe`` says so.
    """
    if said.get("is_moe") is False:
        return False
    for name, value in said.items():
        if isinstance(value, dict) and _many(value):
            return True
        if str(name).endswith("experts") and "shared" not in str(name) and isinstance(value, int) and value > 1:
            return True
    return False
