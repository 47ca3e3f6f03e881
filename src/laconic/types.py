"""What goes into the engine and what comes out: requests, steps, usage, results."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from laconic.errors import RequestError

Kind = Literal["thinking", "answer", "injected"]
FinishReason = Literal["stop", "length", "cancelled"]
Origin = Literal["target", "draft", "injected"]
"""Where a token came from: the target's own choice, a draft that it accepted, or somebody who wrote it by force."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the next token is drawn. ``temperature=0`` is greedy and ignores the rest.

    The filters apply in the order top-k, top-p, min-p, as in Transformers. Draws depend on ``seed`` and on
    the position of the token alone, so the same seed gives the same output whatever else is in the batch.
    Before all of them, and in greedy decoding too, come ``logit_bias`` (what is added to the logits of tokens, by id),
    ``repetition_penalty`` (1 is none), and then the penalties for tokens that the output holds already: the
    ``presence_penalty`` once, the ``frequency_penalty`` for each time.
    """

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    seed: int = 0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: tuple[tuple[int, float], ...] = ()

    def __post_init__(self) -> None:
        if not (math.isfinite(self.temperature) and self.temperature >= 0):
            raise RequestError(f"temperature must be a finite number >= 0, not {self.temperature}.")
        if self.top_k < 0:
            raise RequestError(f"top_k must be >= 0, not {self.top_k}.", "0 keeps every token.")
        if not 0 < self.top_p <= 1:
            raise RequestError(f"top_p must be in (0, 1], not {self.top_p}.", "1 keeps every token.")
        if not 0 <= self.min_p < 1:
            raise RequestError(f"min_p must be in [0, 1), not {self.min_p}.", "0 keeps every token.")
        if not (math.isfinite(self.repetition_penalty) and self.repetition_penalty > 0):
            raise RequestError(
                f"repetition_penalty must be a finite number > 0, not {self.repetition_penalty}.", "1 is none."
            )
        for name in ("presence_penalty", "frequency_penalty"):
            if not math.isfinite(getattr(self, name)):
                raise RequestError(f"{name} must be a finite number, not {getattr(self, name)}.", "0 is none.")
        for token, bias in self.logit_bias:
            if token < 0 or math.isnan(bias) or bias == math.inf:
                raise RequestError(f"logit_bias maps token ids to numbers, not {token} to {bias}.")

    @property
    def greedy(self) -> bool:
        """Whether the most probable token is always taken."""
        return self.temperature == 0


@dataclass(frozen=True, slots=True)
class Limits:
    """When a request must end: at ``max_new_tokens`` tokens, or at one of the ``stop`` strings.

    A stop string may begin or end inside a token; the text is cut before it. Stop strings are looked for in
    the answer alone, never inside the thought, so that a stop cannot lose the answer.

    ``answer_room`` of the tokens are kept for the answer: a thought that reaches them is closed by the loop, and so is
    one in which the model ends its text. None keeps a quarter, 256 at most. 0 leaves all of this to the model, whose
    answer may then be lost; its text is that of other decoders.
    """

    max_new_tokens: int = 32_768
    stop: tuple[str, ...] = ()
    answer_room: int | None = None

    def __post_init__(self) -> None:
        if self.max_new_tokens <= 0:
            raise RequestError(f"max_new_tokens must be > 0, not {self.max_new_tokens}.")
        if any(not s for s in self.stop):
            raise RequestError("a stop string must not be empty.")
        if self.answer_room is not None and not 0 <= self.answer_room < self.max_new_tokens:
            raise RequestError(
                f"answer_room must be >= 0 and less than max_new_tokens={self.max_new_tokens}, not {self.answer_room}.",
                "Raise max_new_tokens, or leave answer_room out.",
            )

    def room(self, most: int) -> int:
        """Tokens that are kept for the answer where there are ``most`` new ones in all."""
        return min(256, most // 4) if self.answer_room is None else self.answer_room

    @property
    def answers(self) -> bool:
        """Whether the loop sees to it that a thought is answered."""
        return self.answer_room != 0


@dataclass(frozen=True, slots=True)
class Event:
    """A controller's decision: which ``method`` did what, after how many generated ``tokens``, and why."""

    method: str
    action: str
    tokens: int
    reason: str


@dataclass(frozen=True, slots=True)
class Question:
    """A request before it has become tokens. ``events`` are what controllers have done to it."""

    messages: tuple[Mapping[str, Any], ...]
    thinking: bool = True
    sampling: Sampling = field(default_factory=Sampling)
    limits: Limits = field(default_factory=Limits)
    events: tuple[Event, ...] = ()
    effort: str = ""
    """A level of effort, said in the chat template's own words where it has such a level."""
    keywords: Mapping[str, Any] = field(default_factory=dict)
    """Keywords for the chat template."""

    def asked(self) -> str:
        """The last message of the user."""
        return next((str(m["content"]) for m in reversed(self.messages) if m.get("role") == "user"), "")

    def saying(self, text: str, method: str, reason: str, *, role: Literal["user", "system"] = "user") -> Question:
        """The same question with ``text`` below the user's last message, or below the system's (which is made)."""
        messages: list[Mapping[str, Any]] = list(self.messages)
        at = next((i for i in reversed(range(len(messages))) if messages[i].get("role") == role), None)
        if at is None:
            messages.insert(0, {"role": role, "content": text})
        else:
            messages[at] = {**messages[at], "content": f"{messages[at]['content']}\n\n{text}"}
        return replace(self, messages=tuple(messages)).noting(method, "prepare", reason)

    def noting(self, method: str, action: str, reason: str) -> Question:
        """The same question with an event more."""
        return replace(self, events=(*self.events, Event(method, action, 0, reason)))


@dataclass(frozen=True, slots=True)
class GrammarLimits:
    """How much a grammar may ask for: characters of its source, and what llguidance bounds of reading it and of masks.

    Those who take grammars from strangers set them lower.
    """

    size: int = 100_000
    grammar_size: int = 500_000
    items_in_row: int = 2_000
    lexer_fuel: int = 1_000_000
    lexer_states: int = 250_000
    step_lexer_fuel: int = 200_000
    step_items: int = 50_000


@dataclass(frozen=True, slots=True)
class Grammar:
    """What an answer must be; see :mod:`laconic.grammar`, which makes them."""

    kind: Literal["json", "regex", "choice", "lark", "calls"]
    source: str
    limits: GrammarLimits = GrammarLimits()


@dataclass(frozen=True, slots=True)
class Request:
    """One prompt, as token ids, with its own sampling and limits.

    ``question`` is what the prompt was made of, where it was made by an engine: thinking controllers may ask it in
    other words. ``controllers`` are those of this request alone, in place of the run's; they have had their say, and
    ``events`` are what they did. ``phase`` is that in which the reply begins (``before``, ``thinking``, ``answer``);
    None looks for tags at the end of the prompt.

    ``drafts`` False decodes this request plainly, whatever drafts for others. ``prediction`` is what somebody thinks
    the answer will be, as tokens: a draft, and never forced. ``prior`` is an output that this prompt has had before,
    thought and all: a draft, too, from its first token on. Verifiers that couple draft and target need one that was
    drawn with another seed; ``match``, which draws as if there were no draft, takes any. ``logprobs`` asks for the log
    probabilities of what is written, and of so many of the likeliest tokens in each place. ``grammar`` is what the
    answer must keep to; the thought is free. ``kv`` is the policy that keeps this request's cache, in place of the
    run's.
    """

    prompt: tuple[int, ...]
    sampling: Sampling = Sampling()
    limits: Limits = Limits()
    question: Question | None = None
    controllers: tuple[Any, ...] | None = None
    events: tuple[Event, ...] = ()
    phase: str | None = None
    drafts: bool = True
    prediction: tuple[int, ...] = ()
    prior: tuple[int, ...] = ()
    logprobs: int | None = None
    grammar: Grammar | None = None
    kv: Any = None

    def __post_init__(self) -> None:
        if not self.prompt:
            raise RequestError("the prompt is empty.", "Give at least one token to start from.")
        if self.logprobs is not None and self.logprobs < 0:
            raise RequestError(f"logprobs must be >= 0, not {self.logprobs}.")


@dataclass(frozen=True, slots=True)
class Logprob:
    """How likely the model found a token that was written, as a natural logarithm, before temperature and rules.

    ``top`` are the likeliest tokens in its place with theirs, the likeliest first.
    """

    token: int
    logprob: float
    top: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Step:
    """What one pass added to one request, in the order of the text.

    ``drafted`` and ``accepted`` count the draft tokens of that pass; ``method`` names who proposed or injected
    the tokens; ``seconds`` is the time since the previous step of this request. ``origins`` says of each token where it
    came from, ``logprobs`` how likely it was, where the request asks; None for a token that nobody drew.
    """

    kind: Kind
    text: str
    tokens: tuple[int, ...]
    drafted: int = 0
    accepted: int = 0
    method: str = ""
    seconds: float = 0.0
    origins: tuple[Origin, ...] = ()
    logprobs: tuple[Logprob | None, ...] = ()


@dataclass(slots=True)
class Usage:
    """The one counter. Tokens by kind, passes by model, seconds by phase.

    ``thinking`` and ``answer`` count tokens that the model chose; tags count with the thought. ``injected``
    tokens were forced by a controller. ``drafted`` were proposed (by the drafter, or by a controller that expects an
    answer), ``accepted`` survived verification; ``probed`` were scored on a probe's branch or in a probe's own pass;
    ``dropped`` were written by a server and paid for, and are no part of the text. ``predicted`` and ``mispredicted``
    are drafted tokens of a client's prediction, or of an output that the prompt has had before, that did and did not
    survive; both count as drafted, too. ``reused`` are
    tokens of the prompt that an earlier request had read already.
    In a batch, a pass is shared: ``target_passes``
    counts each pass that a request took part in, ``seconds`` its equal share of the time.
    """

    prompt: int = 0
    thinking: int = 0
    answer: int = 0
    injected: int = 0
    drafted: int = 0
    accepted: int = 0
    probed: int = 0
    dropped: int = 0
    predicted: int = 0
    mispredicted: int = 0
    reused: int = 0
    target_passes: int = 0
    draft_passes: int = 0
    prefill_passes: int = 0
    probe_passes: int = 0
    seconds: dict[str, float] = field(
        default_factory=lambda: dict.fromkeys(("prefill", "draft", "score", "verify", "policy"), 0.0)
    )

    @property
    def generated(self) -> int:
        """Tokens written after the prompt, of every kind."""
        return self.thinking + self.answer + self.injected

    @property
    def tokens_per_pass(self) -> float:
        """Tokens that the model chose per target pass (mean acceptance length, bonus token included)."""
        return (self.thinking + self.answer) / self.target_passes if self.target_passes else 0.0

    @property
    def acceptance_rate(self) -> float | None:
        """Accepted share of the drafted tokens; None if nothing was drafted."""
        return self.accepted / self.drafted if self.drafted else None

    def add(self, other: Usage) -> None:
        """Add ``other`` to this counter, field by field."""
        for name in COUNTERS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for phase, value in other.seconds.items():
            self.seconds[phase] = self.seconds.get(phase, 0.0) + value

    def as_dict(self) -> dict[str, Any]:
        """Counters and the rates derived from them, ready for JSON."""
        return asdict(self) | {"tokens_per_pass": self.tokens_per_pass, "acceptance_rate": self.acceptance_rate}


COUNTERS = tuple(name for name in Usage.__dataclass_fields__ if name != "seconds")


@dataclass(frozen=True, slots=True)
class Result:
    """A finished request. ``text`` is ``thinking`` + tags + ``answer`` as the model would see it again.

    ``tokens`` are the ids after the prompt; ``lossless`` is False when any method in use may change the output
    beyond what plain decoding under the same thinking settings gives. ``thought`` are the tokens before the answer's
    own, tags and what was written by force included. ``cache_bytes`` is the most that its keys and values took at one
    time, with what is remembered of them; 0 where the model runs elsewhere.
    """

    text: str
    thinking: str
    answer: str
    tokens: tuple[int, ...]
    finish_reason: FinishReason
    usage: Usage
    events: tuple[Event, ...] = ()
    lossless: bool = True
    thought: int = 0
    cache_bytes: int = 0
