"""Answers held to a grammar: JSON of a schema, a pattern, a choice, a grammar of one's own, calls of tools."""

from laconic.grammar.calling import calling
from laconic.grammar.said import choice, json_object, json_schema, lark, regex
from laconic.types import Grammar, GrammarLimits

__all__ = ["Grammar", "GrammarLimits", "calling", "choice", "json_object", "json_schema", "lark", "regex"]
