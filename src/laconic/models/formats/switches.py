"""How a chat template switches thinking off and on, and which levels of effort it knows: tried, not guessed."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Render = Callable[[Mapping[str, Any]], str | None]
"""The prompt of a question under keywords of the template; None where the template refuses them."""

_ON_OFF: tuple[tuple[str, Any, Any], ...] = (
    ("enable_thinking", True, False),
    ("thinking", True, False),
    ("reasoning", True, False),
    ("skip_reasoning", False, True),
    ("thinking_mode", "enabled", "disabled"),
    ("thinking_mode", "thinking", "chat"),
    ("thinking_mode", "on", "off"),
    ("thinking", "on", "off"),
    ("thinking_budget", -1, 0),
    ("reasoning_effort", "high", "none"),
    ("reasoning_effort", "high", "no_think"),
    ("thinking_effort", "high", "none"),
)
"""Keywords of templates with a value for thinking and one against it."""
_EFFORTS = ("reasoning_effort", "thinking_effort", "effort", "reasoning_strength")
LEVELS = ("minimal", "low", "medium", "high", "xhigh", "max")
"""Levels of effort, the least first."""
_COMMON = ("low", "medium", "high")
_FLAGS = (("low", "low_effort"), ("medium", "medium_effort"))


WORDS = ("/no_think", "/nothink")
"""What some templates look for in the system's words."""


@dataclass(frozen=True, slots=True)
class Switch:
    """A keyword of the chat template, and its values for thinking and for none.

    With ``said`` it is no keyword but the system's words: ``off`` is what is said there.
    """

    keyword: str
    on: Any
    off: Any
    said: bool = False


@dataclass(frozen=True, slots=True)
class Effort:
    """The template's levels of effort, the least first, and the keyword and value that set each."""

    levels: tuple[tuple[str, str, Any], ...]

    def keywords(self, level: str) -> dict[str, Any] | None:
        """What sets ``level``; None where the template does not know it."""
        return next(({keyword: value} for name, keyword, value in self.levels if name == level), None)


def find_switch(render: Render, source: str) -> Switch | None:
    """The first keyword whose two values give two prompts; ``source`` is the template.

    A budget of zero and an effort of ``none`` come last, since templates mostly write them into their system prompt,
    where a model may pass them over.
    """
    for keyword, on, off in _ON_OFF:
        thinking, answering = render({keyword: on}), render({keyword: off})
        if thinking is None or answering is None or thinking == answering:
            continue
        if isinstance(off, str) and not re.search(f"['\"]{off}['\"]", source):
            continue  # a value that the template does not name cannot be known to be its word for off
        if isinstance(off, bool) or _means_off(render, keyword, answering, off):
            return Switch(keyword, on, off)
    return None


def _means_off(render: Render, keyword: str, answering: str, off: Any) -> bool:
    """Whether a template treats ``off`` unlike other values, rather than writing any value into the prompt."""
    other = "zzz" if isinstance(off, str) else 7
    prompt = render({keyword: other})
    return prompt is None or str(other) not in prompt or prompt.replace(str(other), str(off)) != answering


def find_word(begins: Callable[[str], str]) -> Switch | None:
    """The system's word that takes the thought out of the prompt; ``begins`` says where a reply to it begins."""
    neutral = begins("Be brief.")
    word = next((word for word in WORDS if begins(word) == "answer" != neutral), None)
    return None if word is None else Switch(word, "", word, said=True)


def find_effort(render: Render, source: str) -> Effort | None:
    """The levels that change the prompt, each under its keyword; ``source`` is the template."""
    plain = render({})
    for keyword in _EFFORTS:
        found = {level: render({keyword: level}) for level in LEVELS}
        known = {level: prompt for level, prompt in found.items() if prompt is not None}
        nonsense = render({keyword: "zzz"})
        if nonsense is not None and "zzz" in nonsense:  # anything is written into the prompt, so nothing is proved
            known = {level: prompt for level, prompt in known.items() if level in _COMMON}
        elif nonsense is not None:  # what the template does not know is passed over
            named = {level for level in LEVELS if re.search(f"['\"]{level}['\"]", source)}
            known = {level: prompt for level, prompt in known.items() if prompt != nonsense or level in named}
        if len(set(known.values())) > 1 or (known and set(known.values()) != {plain}):
            return Effort(tuple((level, keyword, level) for level in LEVELS if level in known))
    flags = [(level, flag, True) for level, flag in _FLAGS if render({flag: True}) not in (None, plain)]
    return Effort(tuple(flags)) if flags else None
