"""A request in flight on a simulated server."""

from __future__ import annotations

from typing import Any

from laconic.bench.simulate.draft import END, OTHER
from laconic.bench.simulate.history import Served
from laconic.bench.simulate.recording import Script
from laconic.speculation.base import EMPTY, Context, LengthPolicy, TokenTree
from laconic.speculation.draws import Draws
from laconic.speculation.pace import Pace
from laconic.types import Request


class Active:
    """A request between passes, with the state that the length policy keeps of it."""

    __slots__ = ("cached", "context", "read", "served", "state", "tree")

    def __init__(self, served: Served, policy: LengthPolicy | None, pace: Pace) -> None:
        script = served.job.script
        tokens = [OTHER] * script.prompt
        self.served = served
        self.context = Context(Request((OTHER,)), tokens, Draws(0), script.prompt, ends=frozenset({END}))
        self.state: Any = policy.start(self.context, pace) if policy is not None else None
        self.cached = False
        """Whether the prompt is in the target's cache; a short one is scored with the first draft."""
        self.read = 0
        """Tokens of the text that the draft model has in its cache."""
        self.tree: TokenTree = EMPTY

    @property
    def script(self) -> Script:
        """Its text."""
        return self.served.job.script

    @property
    def given(self) -> int:
        """Tokens of the prompt that the next pass scores besides the last one."""
        return 0 if self.cached else self.script.prompt - 1

    @property
    def room(self) -> int:
        """Draft tokens that could be kept if all were accepted."""
        return max(self.script.limit - self.served.written - 1, 0)
