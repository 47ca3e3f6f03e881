"""What laconic meets in vLLM's server, made small: an engine that streams, and the modules that laconic imports."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

import pytest
import torch

from laconic import Sampling
from laconic.speculation.draws import warp
from laconic.vllm import counters
from laconic.vllm.served import deciding
from tests.vllm_fakes import END, MODEL, TEXT, Kind, Params, configuration, host


class Refused(ValueError):
    """What vLLM's servers answer with status 400."""


@dataclass
class Completion:
    """One of a request's replies, or what is new of it."""

    index: int
    text: str
    token_ids: Sequence[int]
    cumulative_logprob: float | None
    logprobs: list[dict[int, Any]] | None
    finish_reason: str | None = None
    stop_reason: Any = None


@dataclass
class Output:
    """What vLLM tells of a request."""

    request_id: str
    prompt: str | None
    prompt_token_ids: list[int]
    prompt_logprobs: Any
    outputs: list[Completion]
    finished: bool
    lora_request: Any = None


class Detokenizer:
    """Text of tokens as they come; what may begin a stop string is held back."""

    def __init__(self, tokenizer: Any, params: Any) -> None:
        self.tokens: list[int] = []
        self.text, self.sent, self.tokenizer = "", 0, tokenizer
        self.stop = list(params.stop or ())
        self.held = 0 if params.include_stop_str_in_output else max(map(len, self.stop), default=1) - 1
        self.include = params.include_stop_str_in_output

    @classmethod
    def from_new_request(cls, tokenizer: Any, request: Any) -> Detokenizer:
        return cls(tokenizer, request.sampling_params)

    def update(self, new: list[int], stop_terminated: bool) -> str | None:
        before = len(self.text)
        self.tokens += new[:-1] if stop_terminated and not self.include else new
        if self.tokenizer is None:
            return None
        self.text = TEXT.decode(self.tokens)
        for stop in self.stop:
            at = self.text.find(stop, max(before - len(stop) + 1, 0))
            if at >= 0:
                self.text = self.text[: at + len(stop) * self.include]
                return stop
        return None

    def get_next_output_text(self, finished: bool, delta: bool) -> str:
        end = len(self.text) - (0 if finished else self.held)
        begin, self.sent = (self.sent, max(end, self.sent)) if delta else (0, self.sent)
        return self.text[begin:end]


class Count:
    """A counter of Prometheus: ``of`` is what was counted, by labels."""

    made: ClassVar[dict[str, Count]] = {}

    def __init__(self, name: str, about: str, labelnames: Sequence[str] = ()) -> None:
        self.of: dict[tuple[str, ...], float] = {}
        self.which: tuple[str, ...] = ()
        Count.made[name] = self

    def labels(self, *values: str) -> Any:
        return SimpleNamespace(inc=lambda by=1: self._add(values, by))

    def inc(self, by: float = 1) -> None:
        self._add((), by)

    def _add(self, labels: tuple[str, ...], by: float) -> None:
        self.of[labels] = self.of.get(labels, 0) + by


def stand_ins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put what laconic takes from vLLM, and from the client of Prometheus, where it looks for them."""
    parts: dict[str, dict[str, Any]] = {
        "vllm": {"envs": SimpleNamespace(VLLM_DISABLE_REQUEST_ID_RANDOMIZATION=False)},
        "vllm.sampling_params": {"RequestOutputKind": Kind},
        "vllm.outputs": {"RequestOutput": Output, "CompletionOutput": Completion},
        "vllm.v1": {},
        "vllm.v1.engine": {},
        "vllm.v1.engine.detokenizer": {"IncrementalDetokenizer": Detokenizer},
        "vllm.renderers": {},
        "vllm.renderers.inputs": {},
        "vllm.renderers.inputs.preprocess": {"parse_model_prompt": lambda config, prompt: (config, prompt)},
        "prometheus_client": {"Counter": Count},
    }
    for name, attributes in parts.items():
        module = ModuleType(name)
        vars(module).update(attributes)
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(Count, "made", {})
    counters._counter.cache_clear()


class LLM:
    """An engine like vLLM's AsyncLLM over the hashed model. ``chunk`` tokens come at once, as they do with drafts.

    ``fails`` says what is raised in which completion, ``aborted`` how a completion ends after a few tokens; ``abort``
    ends all of a name. ``open`` counts those that are being read, ``most`` is how many there were at most, ``asked``
    keeps all; ``written`` counts tokens.
    """

    def __init__(self, chunk: int = 1, follows: bool = True, context: int = 512, **settings: str) -> None:
        self.vllm_config = configuration(context=context)
        self.model_config = self.vllm_config.model_config
        self._laconic_host = host(follows=follows, context=context, **settings)
        self.chunk, self.context = chunk, context
        self.open = self.most = self.written = 0
        self.asked: list[tuple[Any, Params, str, dict[str, Any]]] = []
        self.fails: dict[int, Exception] = {}
        self.aborted: dict[int, str] = {}
        self._ends: set[str] = set()
        tok_params = SimpleNamespace(with_kwargs=lambda **given: given)
        renderer = SimpleNamespace(render_cmpl=self._render, default_cmpl_tok_params=tok_params)
        self.input_processor = SimpleNamespace(renderer=renderer, tokenizer=TEXT.tokenizer)

    def abort(self, request_id: str) -> None:
        """End the completions of this name that are under way."""
        self._ends.add(request_id)

    def _render(self, prompts: Any, tok_params: Any) -> list[dict[str, Any]]:
        ((config, prompt),) = prompts
        assert config is self.model_config
        self.tok_params = tok_params
        return [{"type": "token", "prompt": prompt, "prompt_token_ids": TEXT.encode(prompt)}]

    async def write(
        self, prompt: Any, sampling_params: Params, request_id: str, **kwargs: Any
    ) -> AsyncGenerator[Output, None]:
        """vLLM's own ``generate``."""
        params, tokens, new = sampling_params, list(prompt["prompt_token_ids"]), list[int]()
        self.asked.append((prompt, params, request_id, kwargs))
        abort = self.aborted.get(len(self.asked))
        if len(self.asked) in self.fails:
            raise self.fails[len(self.asked)]
        self.open += 1
        self.most = max(self.most, self.open)
        try:
            dice = torch.Generator().manual_seed(params.seed or 0)
            written, said, finish = 0, list[dict[int, Any]](), None
            while finish is None:
                await asyncio.sleep(0)
                if (abort is not None and written == 3) or request_id in self._ends:
                    one = Completion(0, "", [], None, [], abort or "abort")
                    yield Output(request_id, None, list(prompt["prompt_token_ids"]), None, [one], True)
                    return
                row = self._row(tokens, params)
                token = int(row.argmax())
                if params.temperature:
                    shaped = warp(row.float(), Sampling(params.temperature, top_p=params.top_p))
                    token = int(torch.multinomial(shaped, 1, generator=dice))
                tokens.append(token)
                new.append(token)
                written += 1
                self.written += 1
                said.append(_said(row, token, params.logprobs or 0))
                finish = self._finish(tokens, written, params)
                if finish or len(new) == self.chunk:
                    told = None if params.logprobs is None else said
                    one = Completion(0, TEXT.decode(new), new, None, told, finish)
                    yield Output(request_id, None, list(prompt["prompt_token_ids"]), None, [one], finish is not None)
                    new, said = [], []
        finally:
            self.open -= 1

    def _row(self, tokens: Sequence[int], params: Params) -> torch.Tensor:
        row = MODEL.after(tokens).clone()
        if params.allowed_token_ids is not None:
            banned = sorted(set(range(264)) - set(params.allowed_token_ids))
            row[banned] = -torch.inf
        return row

    def _finish(self, tokens: Sequence[int], written: int, params: Params) -> str | None:
        text = TEXT.decode(tokens[len(tokens) - written :])
        if tokens[-1] in (END, *(params.stop_token_ids or ())) or any(stop in text for stop in params.stop or ()):
            return "stop"
        return "length" if written == params.max_tokens or len(tokens) == self.context else None

    generate = deciding(write, Refused)


def _said(row: torch.Tensor, token: int, most: int) -> dict[int, Any]:
    logprobs = row.float().log_softmax(-1)
    likeliest = logprobs.topk(most).indices.tolist() if most else []
    return {one: SimpleNamespace(logprob=float(logprobs[one])) for one in {token, *likeliest}}


def served(llm: LLM, prompt: Any, params: Params, **kwargs: Any) -> list[Output]:
    """All outputs of one request, which leaves nothing open."""

    async def collected() -> list[Output]:
        try:
            return [output async for output in llm.generate(prompt, params, "one", **kwargs)]
        finally:
            assert llm.open == 0

    return asyncio.run(collected())


def tokens_of(outputs: Sequence[Output], index: int = 0) -> list[int]:
    """What DELTA outputs say of one reply."""
    ones = [one for output in outputs for one in output.outputs if one.index == index]
    return [token for one in ones for token in one.token_ids]


def ids(prompt: Sequence[int]) -> dict[str, Any]:
    """A prompt as vLLM's server renders it."""
    return {"type": "token", "prompt_token_ids": list(prompt), "prompt": TEXT.decode(prompt)}
