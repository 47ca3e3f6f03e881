"""The workers' side: the holders of this process, made where vLLM would make its own."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version
from typing import Any

from laconic.vllm.holder import Holder
from laconic.vllm.host import Host, Settings, log
from laconic.vllm.seats import Seat

_LATEST: list[Holder] = []
"""The holder that was made last: vLLM makes one with every batch that it sets up, and uses the last."""
_HOSTS: list[Host] = []
"""Hosts that were checked at start-up: their tokenizers are read, and the log speaks of them."""
_LISTENERS: list[Callable[[Seat], None]] = []


def holding(make: Callable[..., Any], config: Callable[[], Any]) -> Callable[..., Any]:
    """vLLM's ``maybe_create_thinking_budget_state_holder``, which now makes laconic's; ``config`` gives vLLM's own."""

    def made(*args: Any, **kwargs: Any) -> Holder:
        host = Host.of(config())
        if host not in _HOSTS:
            log.info("laconic %s: %s", version("laconic"), _said(host))
            _HOSTS.append(host)
        host = _HOSTS[_HOSTS.index(host)]
        holder = Holder(make(*args, **kwargs), host)
        _LATEST[:] = [holder]
        if _LISTENERS:
            holder.seats.left = _LISTENERS[0]
        return holder

    return made


def _said(host: Host) -> str:
    """What the log says at start-up. Raises LaconicError subclasses for settings that cannot be."""
    if host.settings != Settings():
        return host.check()
    try:
        return host.check()
    except Exception as error:  # whatever a tokenizer raises: nothing was asked of laconic, so vLLM starts without it
        return f"requests of laconic's will be refused: {type(error).__name__}: {error}"


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
