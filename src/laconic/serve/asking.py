"""What a client asks, as jobs: bodies of the API become requests of laconic's, or are refused by name."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from laconic.errors import RequestError
from laconic.grammar.compiled import vocabulary
from laconic.models.chat import plain
from laconic.models.formats.template import source
from laconic.policy import joined
from laconic.serve.api.chat import ChatBody, Message
from laconic.serve.api.common import Body, Options
from laconic.serve.api.completions import CompletionBody
from laconic.serve.backend import Backend
from laconic.serve.job import Job
from laconic.serve.settings import Bounds
from laconic.serve.shaped import grammar
from laconic.thinking.base import Controller
from laconic.types import Limits, Question, Request, Sampling

_FAREWELL = 32
"""Tokens at most for the words that end a thought."""
_SPECS = 4096
"""Characters of all controllers that a request names, at most."""
_METHODS = 32
"""Methods among them, at most, those in brackets included."""


class Asking:
    """Makes jobs. ``efforts`` are controllers by level of ``reasoning_effort``, as the operator has set them."""

    def __init__(self, backend: Backend, bounds: Bounds, efforts: Mapping[str, tuple[Controller, ...]]) -> None:
        self.backend = backend
        self.bounds = bounds
        self.efforts = efforts
        self._widest = max(map(len, backend.text.tokenizer.get_vocab()), default=1)
        """No token is longer, in characters."""

    def chat(self, body: ChatBody, id: str, owner: str) -> list[Job]:
        """The jobs of a chat completion, one for each reply. Raises LaconicError subclasses."""
        text, options = self.backend.text, body.options()
        if body.tools and not self._knows_tools:
            raise RequestError(
                "the model's chat template knows no tools.", "Leave out tools, or describe them in words."
            )
        notes: list[str] = []
        most = body.max_completion_tokens or body.max_tokens
        thinking, effort, first, named = self._thought(body, options, notes, most)
        keywords = dict(body.chat_template_kwargs or {})
        if body.tools and body.tool_choice != "none":
            keywords["tools"] = [tool.model_dump(exclude_none=True) for tool in body.tools]
        messages = tuple(plain([_told(message) for message in body.messages]))
        self._bound(sum(len(str(message["content"] or "").strip()) for message in messages), "prompt")
        question = Question(
            messages,
            thinking,
            self._sampling(body),
            effort=effort,
            keywords=keywords,
        )
        tokens, phase = _asked(text, question)
        self._check(tokens)
        question = replace(question, limits=self._limits(body, most, options, len(tokens)))
        if body.prediction is not None:
            content = body.prediction.content
            said = content if isinstance(content, str) else "".join(str(part.get("text", "")) for part in content)
            self._bound(len(said), "prediction")
            prediction = tuple(text.encode(said))
        else:
            prediction = ()
        shape = grammar(body, text.format, self.bounds)
        if shape is not None and self.backend.can.grammar:
            vocabulary(text).matcher(shape)  # a schema that cannot be kept to is refused before anything begins
        logprobs = (body.top_logprobs or 0) if body.logprobs or body.top_logprobs is not None else None
        request = Request(
            tokens,
            question.sampling,
            question.limits,
            question,
            phase=phase,
            drafts=options.draft,
            prediction=prediction,
            logprobs=logprobs,
            grammar=shape,
        )
        return self._jobs(request, body, id, owner, first, named, notes)

    def completion(self, body: CompletionBody, id: str, owner: str) -> list[Job]:
        """The jobs of a completion: for each prompt as many as there are to be replies."""
        if body.best_of is not None and body.best_of != (body.n or 1):
            raise RequestError("best_of is taken only where it is n.", "Ask for n replies and choose among them.")
        options, jobs, prompts = body.options(), [], body.prompts()
        if (replies := len(prompts) * (body.n or 1)) > self.bounds.n:
            raise RequestError(f"{replies} replies at once are too many.", f"At most {self.bounds.n}.")
        notes: list[str] = []
        _, _, first, named = self._thought(body, options, notes, body.max_tokens)
        # With stop strings, and nobody to control the thought, a completion is one text, and they end it anywhere.
        controlled = first or named or (named is None and self.backend.standing) or options.answer_room is not None
        parted = self.backend.text.format.thinks and (bool(controlled) or not body.stops())
        for prompt in prompts:
            tokens = self._prompt(prompt, special=body.add_special_tokens is not False)
            self._check(tokens)
            request = Request(
                tokens,
                self._sampling(body),
                self._limits(body, body.max_tokens, options, len(tokens)),
                drafts=options.draft,
                logprobs=body.logprobs,
                phase=self.backend.text.phase(tokens) if parted else "answer",
            )
            jobs += self._jobs(request, body, id, owner, first, named, notes)
        return jobs

    def _jobs(
        self,
        request: Request,
        body: Body,
        id: str,
        owner: str,
        first: tuple[Controller, ...],
        named: tuple[Controller, ...] | None,
        notes: list[str],
    ) -> list[Job]:
        can = self.backend.can
        for name, wanted, possible in (
            ("logprobs", request.logprobs is not None, can.logprobs),
            ("prediction", bool(request.prediction), can.prediction),
            ("laconic.draft", not request.drafts, can.drafts),
            ("an answer of a given format", request.grammar is not None, can.grammar),
            ("laconic.kv", body.options().kv is not None, can.kv),
        ):
            if wanted and not possible:
                raise RequestError(f"{name} cannot be had from this server's backend ({self.backend.name}).")
        if kept := body.options().kv:
            request = replace(request, kv=self.backend.keeper(kept))
        n = body.n or 1
        if n > self.bounds.n:
            raise RequestError(f"n={n} is more than this server gives.", f"At most {self.bounds.n}.")
        seeds = (replace(request.sampling, seed=request.sampling.seed + i) for i in range(n))
        return [
            Job(f"{id}-{i}" if n > 1 else id, owner, replace(request, sampling=sampling), named, first=first,
                streams=bool(body.stream), notes=notes)
            for i, sampling in enumerate(seeds)
        ]  # fmt: skip

    def _thought(
        self, body: Body, options: Options, notes: list[str], most: int | None
    ) -> tuple[bool, str, tuple[Controller, ...], tuple[Controller, ...] | None]:
        """Whether the model may think, the template's level of effort, what level and budget of this request ask for,
        and the controllers behind that; None for the server's own."""
        thinks = self.backend.text.format.thinks
        thinking, effort, named, before = True, "", None, []
        budget = body.thinking_token_budget
        if options.think is not None:
            specs = _specs(options.think)
            named = self.backend.controllers(tuple(spec for spec in specs if spec not in ("", "none")))
        level = getattr(body, "reasoning_effort", None)
        if level == "none" or budget == 0:
            thinking = False
        elif level is not None:
            known = self.backend.text.format.effort
            if known is not None and known.keywords(level) is not None:
                effort = level
            if level in self.efforts:
                before += list(self.efforts[level])
            elif not effort and thinks:
                notes.append(
                    f"reasoning_effort={level} has no effect: neither the model's template nor --efforts knows it"
                )
        if budget and thinks and self._cuts(budget, most, options):
            before += list(self.backend.controllers((f"budget:{budget}",)))
        if not thinks and (budget is not None or (level not in (None, "none"))):
            notes.append("the model does not think, as far as its chat template shows")
        if not thinking and not thinks:
            thinking = True  # there is nothing to switch off
        return thinking, effort, tuple(before), named

    def _cuts(self, budget: int, most: int | None, options: Options) -> bool:
        """Whether a budget ends a thought before the limit of all tokens does; else it is kept anyway."""
        limit = min(most or self.backend.defaults.limits.max_new_tokens, self.backend.context)
        room = limit // 4 if options.answer_room is None else options.answer_room
        return budget <= limit - min(room, 256) - _FAREWELL

    def _sampling(self, body: Body) -> Sampling:
        """The model's own sampling, with what the client says in its place; an own seed where none is said."""
        said = {
            name: getattr(body, name)
            for name in (
                "temperature", "top_p", "min_p", "presence_penalty", "frequency_penalty", "repetition_penalty", "seed"
            )
            if getattr(body, name) is not None
        }  # fmt: skip
        if body.top_k is not None:
            said["top_k"] = max(body.top_k, 0)
        said.setdefault("seed", secrets.randbits(31))
        if body.logit_bias:
            size = len(self.backend.text.tokenizer)
            try:
                said["logit_bias"] = tuple((int(token), bias) for token, bias in body.logit_bias.items())
            except ValueError as error:
                raise RequestError("logit_bias maps token ids, written as numbers, to biases.") from error
            strange = next((token for token, _ in said["logit_bias"] if not 0 <= token < size), None)
            if strange is not None:
                raise RequestError(f"logit_bias names token {strange}, which the model does not have.")
        return replace(self.backend.defaults.sampling, **said)

    def _limits(self, body: Body, most: int | None, options: Options, prompt: int) -> Limits:
        """As many tokens as the client or the checkpoint says, and the context leaves."""
        limits = Limits(most or self.backend.defaults.limits.max_new_tokens, body.stops(), options.answer_room)
        left = self.backend.context - prompt
        if limits.max_new_tokens <= left:
            return limits
        room = options.answer_room
        return replace(limits, max_new_tokens=left, answer_room=None if room is None else min(room, left - 1))

    def _bound(self, characters: int, what: str) -> None:
        """Refuse what cannot fit before it is made into tokens, which takes seconds a megabyte."""
        least, longest = -(-characters // self._widest), self.backend.context
        if least > longest:
            raise RequestError(f"the {what} has at least {least} tokens; {longest} are the most.", "Shorten it.")

    def _check(self, tokens: Sequence[int]) -> None:
        longest = min(self.bounds.prompt or self.backend.context, self.backend.context - 1)
        if len(tokens) > longest:
            raise RequestError(f"the prompt has {len(tokens)} tokens; {longest} are the most.", "Shorten the prompt.")

    def _prompt(self, prompt: str | list[int], *, special: bool) -> tuple[int, ...]:
        text = self.backend.text
        if isinstance(prompt, list):
            size = len(text.tokenizer)
            strange = next((token for token in prompt if token >= size), None)
            if strange is not None:
                raise RequestError(f"the prompt holds token {strange}, which the model does not have.")
            return tuple(prompt)
        self._bound(len(prompt.strip()), "prompt")
        ids = text.tokenizer.encode(prompt, add_special_tokens=special)
        if not ids:
            raise RequestError("the prompt is empty.", "Give at least one token to start from.")
        return tuple(ids)

    @property
    def _knows_tools(self) -> bool:
        return "tools" in (source(self.backend.text.tokenizer) or "")


def _specs(think: str | Sequence[str]) -> tuple[str, ...]:
    """The specs of controllers that a request names; they are counted before any is read."""
    parts = [think] if isinstance(think, str) else think
    if sum(map(len, parts)) > _SPECS or sum(1 + part.count("+") + part.count("[") for part in parts) > _METHODS:
        raise RequestError(
            "laconic.think names too much.", f"At most {_METHODS} methods, in {_SPECS} characters altogether."
        )
    return joined(think) if isinstance(think, str) else tuple(think)


def _asked(text: Any, question: Question) -> tuple[tuple[int, ...], str]:
    """The prompt. Templates take arguments of earlier calls as data or as text; each is tried."""
    options = {"thinking": question.thinking, "effort": question.effort, "keywords": question.keywords}
    asked: tuple[tuple[int, ...], str]
    try:
        asked = text.ask(question.messages, **options)
    except RequestError:
        if not any(message.get("tool_calls") for message in question.messages):
            raise
        asked = text.ask([_as_text(message) for message in question.messages], **options)
    return asked


def _told(message: Message) -> dict[str, Any]:
    """A message as chat templates take it."""
    told: dict[str, Any] = message.model_dump(exclude_none=True)
    if message.role == "developer":
        told["role"] = "system"
    if message.reasoning is not None:
        told.setdefault("reasoning_content", message.reasoning)
    told.setdefault("content", "" if message.tool_calls else None)
    for call in told.get("tool_calls", ()):
        arguments = call["function"].get("arguments")
        if isinstance(arguments, str):
            with suppress(ValueError, RecursionError):  # what the model wrote was no JSON; it is shown what it wrote
                call["function"]["arguments"] = json.loads(arguments) if arguments.strip() else {}
    return told


def _as_text(message: Mapping[str, Any]) -> dict[str, Any]:
    """The same message with arguments of calls as JSON text."""
    calls = [
        {**call, "function": {**call["function"], "arguments": json.dumps(call["function"].get("arguments", {}))}}
        for call in message.get("tool_calls") or ()
    ]
    return {**message, "tool_calls": calls} if calls else dict(message)
