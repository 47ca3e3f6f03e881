"""A chat template that is asked for text, with words by which parts of it are found again."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

ASKED, THOUGHT, ANSWER, CALL = "Qzjaskedjq", "Qzjthoughtjq", "Qzjanswerjq", "qzjlook"
"""Words that no template holds."""
_GIVEN = {"messages", "add_generation_prompt", "tools", "documents", "raise_exception", "strftime_now"}
"""Names in templates that Transformers gives a meaning, beside tokens."""
_GENERATION = re.compile(r"\{%-?\s*(end)?generation\s*-?%\}")
"""Transformers' own marks in templates, around what an assistant says."""
_STOPPED = "{%- macro strftime_now(format) -%}{{ format }}{%- endmacro -%}"
"""A clock that shows how a time would be written and not the time."""


class Template:
    """A tokenizer's chat template, asked for text. What it refuses is None.

    ``always`` are keywords that it is given with everything.
    """

    def __init__(self, tokenizer: Any, always: Mapping[str, Any] | None = None) -> None:
        self._tokenizer = tokenizer
        self._always = dict(always or {})
        self.source = source(tokenizer)
        self.end = str(getattr(tokenizer, "eos_token", None) or "")
        """The tokenizer's own mark of the end of a text; empty where it has none."""

    def insisting(self, keywords: Mapping[str, Any]) -> Template:
        """The same template, with keywords that it refuses to do without."""
        return Template(self._tokenizer, {**self._always, **keywords})

    @property
    def steady(self) -> bool:
        """Whether it writes the same prompt twice, so that a difference between two means something."""
        return self.prompt({}) == self.prompt({})

    def stopped(self) -> Template:
        """The same template with a clock that stands still, if it has one: times of day make any two prompts differ."""
        if "strftime_now" not in self.source:
            return self
        still = self.insisting({"chat_template": _STOPPED + self.source})
        return self if still.prompt({}) is None and self.prompt({}) is not None else still

    def render(self, messages: Sequence[Mapping[str, Any]], *, generate: bool, **keywords: Any) -> str | None:
        """The text of ``messages``. Templates refuse in many ways, by their own errors and by Python's."""
        if not self.source:
            return None
        try:
            return str(
                self._tokenizer.apply_chat_template(
                    list(messages), tokenize=False, add_generation_prompt=generate, **{**self._always, **keywords}
                )
            )
        except Exception:
            return None

    def keywords(self) -> list[str]:
        """Names that the template takes from whoever uses it; none where it cannot be taken apart."""
        import jinja2
        import jinja2.meta

        env = jinja2.Environment(extensions=["jinja2.ext.loopcontrols"])
        try:
            names = jinja2.meta.find_undeclared_variables(env.parse(_GENERATION.sub("", self.source)))
        except jinja2.TemplateError:
            return []
        return sorted(name for name in names - _GIVEN - env.globals.keys() if not name.endswith("_token"))

    def prompt(self, keywords: Mapping[str, Any]) -> str | None:
        """The prompt of a question."""
        return self.render([{"role": "user", "content": ASKED}], generate=True, **keywords)

    def added(self, keywords: Mapping[str, Any], system: str = "") -> str:
        """What asking for a reply adds to a question; what follows the question where that cannot be told apart.

        ``system`` is what the system says before the question.
        """
        asked = [{"role": "user", "content": ASKED}]
        messages = [{"role": "system", "content": system}, *asked] if system else asked
        whole = self.render(messages, generate=True, **keywords)
        plain = self.render(messages, generate=False, **keywords)
        if whole is None:
            return ""
        if plain is not None and whole.startswith(plain) and whole != plain:
            return whole[len(plain) :]
        return whole[whole.rfind(ASKED) + len(ASKED) :]


def source(tokenizer: Any) -> str:
    """A tokenizer's chat template, of several the default one; empty where it has none."""
    template = tokenizer.chat_template
    if isinstance(template, Mapping):
        template = template.get("default") or next(iter(template.values()), "")
    return str(template or "")
