"""What a chat says of the shape of its answer, as a grammar: ``response_format`` and ``tool_choice``."""

from __future__ import annotations

from dataclasses import replace

from laconic.errors import RequestError
from laconic.grammar import calling, json_object, json_schema
from laconic.models.formats import Format
from laconic.serve.api.chat import ChatBody, ToolChoice
from laconic.serve.settings import Bounds
from laconic.types import Grammar, GrammarLimits

_LIMITS = GrammarLimits(grammar_size=200_000, lexer_fuel=400_000, step_lexer_fuel=100_000)
"""Bounds on what strangers' grammars may cost; an answer whose grammar exceeds them ends with an error."""
_TOOLS = 8
"""Schemas of all tools together may be so many times as large as one."""


def grammar(body: ChatBody, form: Format, bounds: Bounds) -> Grammar | None:
    """The grammar that a chat asks for; None for a free answer.

    Raises RequestError for schemas that are none, too large, or beyond llguidance, UnmetNeed where calls of this model
    cannot be required.
    """
    wanted, choice = body.response_format, body.tool_choice
    shaped = wanted is not None and wanted.type != "text"
    if choice is not None and not isinstance(choice, str) and not body.tools:
        raise RequestError("tool_choice names a tool, and there are no tools.")
    if body.tools and choice != "none":
        if shaped:
            raise RequestError(
                "an answer of a given format and calls of tools cannot be had in one reply.",
                "Leave out response_format or tools, or say tool_choice none.",
            )
        if isinstance(choice, ToolChoice) or choice == "required":
            tools = [tool.model_dump(exclude_none=True) for tool in body.tools]
            name = choice.function.name if isinstance(choice, ToolChoice) else ""
            several = body.parallel_tool_calls is not False and not name
            limits = replace(_LIMITS, size=_TOOLS * bounds.schema)
            return calling(form, tools, name=name, several=several, limits=limits)
        return None
    if choice == "required":
        raise RequestError("tool_choice requires a call, and there are no tools.")
    if wanted is None or not shaped:
        return None
    limits = replace(_LIMITS, size=bounds.schema)
    if wanted.type == "json_object":
        return json_object(limits=limits)
    if wanted.json_schema is None or wanted.json_schema.schema_ is None:
        raise RequestError("response_format has no schema (json_schema.schema).")
    return json_schema(wanted.json_schema.schema_, limits=limits)
