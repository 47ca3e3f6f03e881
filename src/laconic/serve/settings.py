"""What an operator says when the server is started."""

from __future__ import annotations

import math
from dataclasses import dataclass
from ipaddress import ip_address

from laconic.errors import RequestError

LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one request, and all together, may take."""

    body: int = 8 << 20
    """Bytes of a request's body."""
    prompt: int | None = None
    """Tokens of a prompt; None for what the model's context holds."""
    n: int = 16
    """Replies to one request."""
    streams: int = 512
    """Requests under way at once, those that wait included."""
    schema: int = 64 << 10
    """Bytes of a JSON schema, and of all tools together eight times as many."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How the server is reached and what it does with requests.

    ``shadow`` decides about thoughts without acting; ``audit`` is the share of requests whose thoughts go on to their
    end to learn what acting costs, and above ``harm`` of changed answers (lower bound of 95 %) nothing is acted on any
    more. ``hosts`` and ``origins`` are names under which it may be asked beside those of the machine itself.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    keys: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    name: str = "laconic"
    """The model's name to clients."""
    shadow: bool = False
    audit: float = 0.0
    harm: float = 0.05
    grace: float = 30.0
    """Seconds that requests under way get when the server is told to end."""
    bounds: Bounds = Bounds()

    def __post_init__(self) -> None:
        for name in ("audit", "harm"):
            if not (math.isfinite(getattr(self, name)) and 0 <= getattr(self, name) <= 1):
                raise RequestError(f"{name} is a share from 0 to 1, not {getattr(self, name)}.")
        if not self.local and not self.keys:
            raise RequestError(
                f"the server would be open to whoever reaches {self.host}.",
                "Give it keys (--api-key-file, or LACONIC_SERVE_KEYS), or bind it to 127.0.0.1.",
            )
        if any(len(key) < 8 for key in self.keys):
            raise RequestError("an API key has at least 8 characters.")

    @property
    def everywhere(self) -> bool:
        """Whether it is bound to all addresses of this machine, under whatever names."""
        return self.host in ("0.0.0.0", "::", "")

    @property
    def local(self) -> bool:
        """Whether only this machine reaches it."""
        if self.host in LOOPBACK:
            return True
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return False
