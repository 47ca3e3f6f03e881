"""The workers' side: the holders of this process, made where vLLM would make its own."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from laconic.vllm.holder import Holder
from laconic.vllm.host import Host
from laconic.vllm.seats import Seat

log = logging.getLogger("laconic.vllm")
_LATEST: list[Holder] = []
"""The holder that was made last: vLLM makes one with every batch that it sets up, and uses the last."""
_LISTENERS: list[Callable[[Seat], None]] = []


def holding(make: Callable[..., Any], config: Callable[[], Any]) -> Callable[..., Any]:
    """vLLM's ``maybe_create_thinking_budget_state_holder``, which now makes laconic's; ``config`` gives vLLM's own."""

    def made(*args: Any, **kwargs: Any) -> Holder:
        holder = Holder(make(*args, **kwargs), Host.of(config()))
        _LATEST[:] = [holder]
        if _LISTENERS:
            holder.seats.left = _LISTENERS[0]
        return holder

    return made


def listen(left: Callable[[Seat], None]) -> Any:
    """A view of the latest holder, for a drafter, which is told of requests that are gone by ``left``."""
    _LISTENERS[:] = [left]
    if _LATEST:
        _LATEST[0].seats.left = left
    return _View()


class _View:
    """The latest holder, whenever it is looked at."""

    @property
    def seats(self) -> Any:
        """Its seats."""
        return _LATEST[0].seats
