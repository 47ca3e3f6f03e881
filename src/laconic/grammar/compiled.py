"""Grammars joined to a tokenizer by llguidance: read once, kept, and copied for every request."""

from __future__ import annotations

import json
from collections import OrderedDict
from threading import Lock
from typing import Any
from weakref import WeakKeyDictionary

from laconic.errors import MissingExtra, RequestError, UnmetNeed
from laconic.models.text import Text
from laconic.types import Grammar

_KEPT = 64
"""Grammars that a tokenizer remembers."""
_LEAD = r"/[ \t\r\n]{0,8}/"
"""White space that may stand before an answer."""
_SPACE = r"/[ \n]{0,2}/"
_lock = Lock()
"""Grammars are read in whatever thread a request comes in."""
_vocabularies: WeakKeyDictionary[Text, Vocabulary] = WeakKeyDictionary()


def vocabulary(text: Text) -> Vocabulary:
    """What llguidance knows of a tokenizer. Made once for each, which takes seconds for a large one."""
    with _lock:
        if text not in _vocabularies:
            _vocabularies[text] = Vocabulary(text)
        return _vocabularies[text]


class Vocabulary:
    """A tokenizer as llguidance sees it, and the grammars that have been read for it.

    Raises MissingExtra without llguidance, UnmetNeed for tokenizers that it cannot read.
    """

    def __init__(self, text: Text) -> None:
        try:
            from llguidance.hf import from_tokenizer
        except ImportError as error:
            raise MissingExtra("llguidance", "serve") from error
        self._form, self._tokenizer, self._ends = text.format, text.tokenizer, sorted(text.eos)
        if not self._ends:
            raise UnmetNeed("an answer cannot be held to a grammar: the tokenizer names no end of a text.")
        try:
            self.tokens = from_tokenizer(self._tokenizer, eos_token=self._ends)
        except Exception as error:  # a plain ValueError for what is no fast tokenizer, and Rust's own errors
            raise UnmetNeed(
                f"an answer cannot be held to a grammar: llguidance cannot read this tokenizer ({error}).",
                "Use a checkpoint with a fast tokenizer (tokenizer.json).",
            ) from error
        self._matchers: OrderedDict[Grammar, Any] = OrderedDict()

    def matcher(self, grammar: Grammar) -> Any:
        """A matcher at the grammar's beginning. Raises RequestError for a grammar that llguidance refuses."""
        with _lock:
            if grammar not in self._matchers:
                self._matchers[grammar] = self._read(grammar)
                while len(self._matchers) > _KEPT:
                    self._matchers.popitem(last=False)
            self._matchers.move_to_end(grammar)
            return self._matchers[grammar].deep_copy()

    def _read(self, grammar: Grammar) -> Any:
        from llguidance import LLMatcher, LLParserLimits

        said = grammar.limits
        limits = LLParserLimits(
            max_items_in_row=said.items_in_row, initial_lexer_fuel=said.lexer_fuel,
            step_lexer_fuel=said.step_lexer_fuel, step_max_items=said.step_items,
            max_lexer_states=said.lexer_states, max_grammar_size=said.grammar_size, verbose_errors=False,
        )  # fmt: skip
        source = json.dumps({"grammars": [{"lark_grammar": self._whole(grammar)}, *self._bodies(grammar)]})
        refused, words = LLMatcher.validate_grammar_with_warnings(source, self.tokens, limits=limits)
        found = None if refused else LLMatcher(self.tokens, source, log_level=0, limits=limits)
        if found is None or found.is_error():
            why = words[0] if refused else found.get_error() if found is not None else ""
            raise RequestError(
                f"the grammar of the answer cannot be used: {' '.join(why.split())}.",
                "Leave out what is not supported, or make the grammar simpler.",
            )
        return found

    def _whole(self, grammar: Grammar) -> str:
        """The reply behind its thought in Lark's syntax: the format's own words, and the answer as ``@body``."""
        if grammar.kind == "calls":
            return self._calls(json.loads(grammar.source))
        form = self._form
        if not form.thinks:
            return "start: @body"
        heads = [self._terminals(header.strip()) for header in form.headers if not form.turn]
        head = f"(({' | '.join(heads)}) LEAD)?" if heads else ""
        tail = f"(LEAD {self._terminals(form.answer_end.strip())})?" if form.answer_end and not form.turn else ""
        return f"start: LEAD {head} @body {tail}\nLEAD: {_LEAD}"

    def _calls(self, source: dict[str, Any]) -> str:
        """A reply of calls; between all words of the family's there may be the white space that it writes there."""
        calls = [f"{self._words(call['words'])} @body{at}" for at, call in enumerate(source["calls"])]
        more = f"(SPACE {self._words(source['joins'])} call)*" if source["joins"] is not None else ""
        whole = f"LEAD {self._words(source['opens'])} call {more} SPACE {self._words(source['closes'])}"
        return f"start: {whole}\ncall: {' | '.join(calls)}\nLEAD: {_LEAD}\nSPACE: {_SPACE}"

    def _words(self, parts: list[str]) -> str:
        return " ".join(f"{self._terminals(part)} SPACE" for part in parts)

    def _terminals(self, part: str) -> str:
        """A text in Lark's syntax; a token of it that stands apart from all text, as tags may, by its number."""
        tokens, found, plain = self._tokenizer.encode(part, add_special_tokens=False), [], ""
        if not any(self.tokens.is_special_token(token) for token in tokens):
            return json.dumps(part)
        for token in tokens:
            if self.tokens.is_special_token(token):
                found += [json.dumps(plain)] * bool(plain) + [f"<[{token}]>"]
                plain = ""
            else:
                plain += self.tokens.decode_str([token])
        return " ".join(found + [json.dumps(plain)] * bool(plain))

    def _bodies(self, grammar: Grammar) -> list[dict[str, Any]]:
        if grammar.kind == "calls":
            calls = json.loads(grammar.source)["calls"]
            return [{"name": f"body{at}", "json_schema": call["schema"]} for at, call in enumerate(calls)]
        if grammar.kind == "json":
            said = json.loads(grammar.source)
            return [{"name": "body", "json_schema": {**said["schema"], "x-guidance": said["writing"]}}]
        if grammar.kind == "regex":
            from llguidance import LLMatcher

            return [{**json.loads(LLMatcher.grammar_from_regex(grammar.source))["grammars"][0], "name": "body"}]
        texts = json.loads(grammar.source) if grammar.kind == "choice" else []
        source = f"start: {' | '.join(map(json.dumps, texts))}" if texts else grammar.source
        return [{"name": "body", "lark_grammar": source}]
