"""The engine: joins a model, a draft model and methods, checks that they fit, and serves prompts."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterator, Mapping
from collections.abc import Sequence as Seq
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import torch

import laconic.methods  # noqa: F401  (fills the registry)
from laconic.errors import RequestError, UnmetNeed
from laconic.grammar.compiled import vocabulary
from laconic.kv.base import KV, reducible
from laconic.kv.full import Full
from laconic.loop import Loop, Plan
from laconic.models.base import LanguageModel, RunsParts, ShowsHidden, ShowsLayers, Steerable
from laconic.models.causal_lm import DECODED, CausalLM
from laconic.models.chat import plain
from laconic.models.defaults import Defaults
from laconic.models.devices import AUTO
from laconic.models.foreign import ForeignModel, Spelling
from laconic.models.formats import Format
from laconic.models.formats.named import named
from laconic.models.load import load_defaults, load_model, load_text
from laconic.models.loaded import note
from laconic.models.text import Message, Text
from laconic.policy import Policy, registry
from laconic.reading import Reading
from laconic.sequence import Sequence
from laconic.speculation.base import Drafter, LengthPolicy, Room, TreeShape, Verifier, layers_read
from laconic.speculation.pace import Pace
from laconic.thinking.base import Controller, Reader
from laconic.types import Grammar, Limits, Question, Request, Result, Sampling, Step

if TYPE_CHECKING:
    from laconic.judges.base import Bound, Judge
    from laconic.scaling.answering import Answering, Mover
    from laconic.scaling.base import Answered, Scaling

Prompt = str | Seq[Message]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Methods:
    """Which method to use for each part, as spec strings or policies. The defaults need no draft model.

    ``think`` holds controllers in their order of precedence; one alone need not be in a tuple.
    """

    drafter: str | Policy = "suffix"
    length: str | Policy = "marginal"
    shape: str | Policy = "chain"
    verifier: str | Policy = "match"
    think: tuple[str | Policy, ...] = ()
    probes: Literal["branch", "separate"] = "branch"
    kv: str | Policy = "full"
    kv_budget: int | None = None
    """Bytes of the target's cache that a request may take; ``kv`` says what goes, or snapkv where it is full."""

    def __post_init__(self) -> None:
        said: Any = self.think  # from users, who write think="settled", or a list
        object.__setattr__(self, "think", (said,) if isinstance(said, str | Policy) else tuple(said))

    def fields(self) -> dict[str, Any]:
        """Every field by name, as :meth:`Engine.load` and :meth:`Engine.using` take them."""
        return {name: getattr(self, name) for name in Methods.__dataclass_fields__}

    def plan(self) -> Plan:
        """Build every policy. Raises MethodError subclasses for names and knobs that are not known.

        A drafter that chooses among whole configurations decides lengths and shapes itself, in place of ours.
        """
        drafter = cast(Drafter, registry.build("drafter", self.drafter))
        length = cast(LengthPolicy, registry.build("length", self.length))
        shape = cast(TreeShape, registry.build("shape", self.shape))
        if drafter.choices:
            length, shape = Room(), cast(TreeShape, registry.build("shape", "chain"))
        return Plan(
            drafter,
            length,
            shape,
            cast(Verifier, registry.build("verifier", self.verifier)),
            tuple(cast(Controller, registry.build("think", spec)) for spec in self.think),
            self.probes,
            cast(KV, registry.build("kv", self.kv)),
        )


class Engine:
    """A model ready to answer. Build it with :meth:`load`, or from parts already loaded.

    Among these, a draft model must be one of the target's tokens; :func:`joined` makes one of any other.

    >>> engine = Engine.load("bundled", think=("answer-confidence",))
    >>> result = engine.generate("What is 37 * 48 + 15?")
    >>> result.answer, result.usage.thinking, result.usage.tokens_per_pass
    """

    def __init__(
        self,
        target: LanguageModel,
        text: Text,
        methods: Methods | None = None,
        draft_model: LanguageModel | None = None,
        defaults: Defaults | None = None,
    ) -> None:
        self.target = target
        self.text = text
        self.draft_model = draft_model
        self.defaults = defaults or Defaults()
        """Sampling and limits of requests that name none."""
        self.pace = Pace()
        """What rounds cost with these models, learned by all loops."""
        self._scalings: dict[str, Scaling] = {}
        self._judges: dict[Judge, Bound] = {}
        self.methods = methods or Methods()
        self.plan = self.methods.plan()
        if self.methods.kv_budget is not None:
            self.plan = replace(self.plan, kv=within(self.plan.kv, self.methods.kv_budget, target))
        check(self.plan, text, target, draft_model)
        _keep_hidden(self.plan, target, draft_model)

    @staticmethod
    def load(
        model: str | Path = "bundled",
        *,
        draft: str | Path | None = None,
        dtype: torch.dtype | None = None,
        device: str = AUTO,
        format: Format | str | None = None,
        system: str = "",
        keywords: Mapping[str, Any] | None = None,
        weights: str = DECODED,
        lora_scale: float | None = None,
        **methods: Any,
    ) -> Engine:
        """Load ``model`` (a path, a hub name or ``bundled``) and, where a method needs one, the ``draft`` model.

        ``device`` is ``auto``, ``cpu``, ``cuda``, ``cuda:1``, ``mps``, ``xpu`` or ``spread`` (see models.devices).
        A ``draft`` model drafts, unless another ``drafter`` is named. ``methods`` are the fields of :class:`Methods`;
        ``format`` (also a family's name, or tags as ``OPEN,CLOSE``), ``system`` and ``keywords`` say how the model is
        spoken to (:class:`laconic.models.text.Text`). With the bundled model, a draft model that is needed and not
        named is the bundled one. A draft model with a tokenizer of its own drafts the tokens that both vocabularies
        have (laconic.models.foreign), and :meth:`notes` says so. ``weights="coded"`` keeps those of ``model`` as
        ``laconic compress-weights`` stored them, and ``lora_scale`` is the strength of ``model`` as an adapter of
        another (CausalLM.load). Raises ModelError and MethodError subclasses, and
        RequestError for what is no format.
        """
        if draft is not None:
            methods.setdefault("drafter", "draft-model")
        chosen, format = Methods(**methods), None if format is None else named(format)
        needs_draft = any(policy.needs.draft_model for policy in policies(chosen.plan()))
        defaults = load_defaults(model)
        target = load_model(model, dtype=dtype, device=device, weights=weights, lora_scale=lora_scale)
        text = load_text(model, format=format, system=system, keywords=keywords)
        if draft is None and needs_draft and str(model) == "bundled":
            draft = "bundled-draft"
        draft_model: LanguageModel | None = None
        if draft is not None:
            draft_model = joined(load_model(draft, dtype=dtype, device=device), load_text(draft), target, text)
        return Engine(target, text, chosen, draft_model, defaults)

    def using(self, **methods: Any) -> Engine:
        """The same models under other methods; fields of :class:`Methods` that are not named stay as they are."""
        return Engine(self.target, self.text, replace(self.methods, **methods), self.draft_model, self.defaults)

    @property
    def lossless(self) -> bool:
        """Whether the methods in use promise what plain decoding under the same thinking settings gives.

        A result says more: in 16-bit passes that are not even, drafting may decide between equally likely tokens
        whatever the methods promise (see CausalLM.exact).
        """
        return self._drafts_lossless and self.plan.kv.lossless

    @property
    def _drafts_lossless(self) -> bool:
        plan = self.plan
        return all(part.lossless for part in (plan.drafter, plan.length, plan.shape, plan.verifier))

    def describe(self) -> dict[str, Any]:
        """What runs here and how: models, methods, thinking tags, notes; plain values, ready for JSON."""
        models = (("model", self.target), ("draft_model", self.draft_model))
        told = {name: model.describe() for name, model in models if isinstance(model, CausalLM | ForeignModel)}
        methods = {
            name: [policy.spec() for policy in value] if isinstance(value, tuple) else value.spec()
            for name, value in (
                ("drafter", self.plan.drafter), ("length", self.plan.length), ("shape", self.plan.shape),
                ("verifier", self.plan.verifier), ("think", self.plan.controllers), ("kv", self.plan.kv),
            )
        }  # fmt: skip
        return {
            **told,
            "methods": methods,
            "thinking": self.text.thinking(),
            "notes": self.notes(),
            "sampling": self.defaults.describe(self.target.context),
            "lossless": self.lossless,
        }

    def notes(self) -> list[str]:
        """What may not be as meant in how the models are spoken to and go together: one sentence each, mostly none."""
        drafts = [self.draft_model.note] if isinstance(self.draft_model, ForeignModel) else []
        return [*self.text.notes(), *drafts]

    def reports(self) -> dict[str, dict[str, Any]]:
        """What methods have learned while they served, by their specs; see Policy.report."""
        told = ((policy.spec(), policy.report()) for policy in policies(self.plan))
        return {spec: report for spec, report in told if report is not None}

    def loop(self) -> Loop:
        """A fresh decode loop over this engine's models."""
        return Loop(self.target, self.text, self.plan, self.draft_model, self.pace)

    def request(
        self,
        prompt: Prompt,
        *,
        sampling: Sampling | None = None,
        limits: Limits | None = None,
        thinking: bool = True,
        effort: str = "",
        keywords: Mapping[str, Any] | None = None,
        grammar: Grammar | None = None,
    ) -> Request:
        """Turn a question or chat messages into a request. Raises RequestError if it cannot be served.

        ``sampling`` and ``limits`` that are not given are the checkpoint's own (``defaults``). ``effort`` is a level of
        the chat template's own, ``keywords`` are passed to the template as they are. The answer keeps to ``grammar``
        (laconic.grammar), which is read here; raises UnmetNeed for a tokenizer with which that cannot be done.
        """
        messages = tuple(plain(prompt))
        if effort and (self.text.format.effort is None or self.text.format.effort.keywords(effort) is None):
            known = () if self.text.format.effort is None else self.text.format.effort.levels
            names = ", ".join(level for level, _, _ in known) or "none"
            raise RequestError(
                f"the chat template knows no effort '{effort}'.",
                f"Its levels: {names}. The method effort cuts thoughts.",
            )
        sampling, limits = sampling or self.defaults.sampling, limits or self.defaults.limits
        if grammar is not None:
            vocabulary(self.text).matcher(grammar)
        question = Question(messages, thinking, sampling, limits, effort=effort, keywords=keywords or {})
        return replace(self.made(question), grammar=grammar)

    def fitted(self, request: Request) -> Request:
        """The request as the controllers of this engine want it: they may rewrite the question, or name others for it.

        Requests that are not made of a question, and those that have controllers of their own, stay as they are.
        """
        question = request.question
        if question is None or request.controllers is not None:
            return request
        found = self.under(request, self.plan.controllers)
        untouched = replace(request, controllers=self.plan.controllers, events=question.events)
        return request if found == untouched else found

    def under(self, request: Request, controllers: tuple[Controller, ...]) -> Request:
        """The request as these controllers want it, and those that act on it; they may ask the model first."""
        question = request.question
        if question is None:
            return replace(request, controllers=controllers)
        reading = self.reading()
        mine, asked = acting(controllers, question, reading)
        if cost := reading.cost():
            asked = asked.noting("reader", "read", cost)
        if asked != replace(question, events=asked.events):
            made = self.made(asked)
            request = replace(
                request, prompt=made.prompt, sampling=made.sampling, limits=made.limits, question=made.question,
                phase=made.phase, prior=(),
            )  # fmt: skip
        return replace(request, controllers=mine, events=asked.events)

    def reading(self) -> Reading:
        """What controllers may ask this engine about one question before it is answered."""
        return Reading(self)

    def made(self, question: Question) -> Request:
        """The request that asks ``question``. Raises RequestError if its prompt does not fit."""
        tokens, phase = self._asked(question)
        return Request(tokens, question.sampling, question.limits, question, phase=phase)

    def prompt(self, question: Question) -> tuple[int, ...]:
        """The prompt's tokens. Raises RequestError if they do not fit."""
        return self._asked(question)[0]

    def _asked(self, question: Question) -> tuple[tuple[int, ...], str]:
        tokens, phase = self.text.ask(
            question.messages, thinking=question.thinking, effort=question.effort, keywords=question.keywords
        )
        if len(tokens) >= self.target.context:
            raise RequestError(
                f"the prompt has {len(tokens)} tokens, the model's context is {self.target.context}.",
                "Shorten the prompt.",
            )
        return tokens, phase

    def generate(self, prompt: Prompt, **options: Any) -> Result:
        """Answer one prompt. ``options`` are those of :meth:`request`."""
        return self.run([self.request(prompt, **options)])[0]

    def generate_many(self, prompts: Seq[Prompt], *, batch: int = 8, **options: Any) -> list[Result]:
        """Answer many prompts, ``batch`` at a time; results in the order of the prompts.

        Every prompt is checked before the first pass is made.
        """
        return self.run([self.request(prompt, **options) for prompt in prompts], batch=batch)

    def answer(self, prompt: Prompt, *, scaling: str | Scaling = "enough", n: int = 8, **options: Any) -> Answered:
        """Answer one prompt by at most ``n`` attempts, as many as ``scaling`` finds worth while.

        ``options`` are those of :meth:`request`. Where neither they nor the checkpoint name a temperature, attempts are
        sampled at 0.7, and an event says so: greedy ones would all be the same.
        """
        answering = self.answering(prompt, scaling=scaling, n=n, **options)
        for _ in answering:
            pass
        return answering.result

    def answering(self, prompt: Prompt, *, scaling: str | Scaling = "enough", n: int = 8, **options: Any) -> Answering:
        """As :meth:`answer`, watched: iterate over what is returned to see what stands, then read its ``result``."""
        from laconic.scaling.answering import Answering, sampled
        from laconic.scaling.base import Scaling

        if isinstance(scaling, str):  # what a policy learns it shall know for the next question
            scaling = self._scalings.setdefault(scaling, cast(Scaling, registry.build("scaling", scaling)))
        policy = scaling
        several = n > 1 or policy.walks
        request = sampled(self.request(prompt, **options), options.get("sampling"), several=several)
        return Answering(self, request, policy, n)

    def mover(self, *, shares: bool = False) -> Mover:
        """What moves the attempts at one question on; ``shares`` where there will be several with one prompt."""
        from laconic.scaling.movers import Own

        return Own(self, shares=shares)

    def controllers(self, request: Request) -> tuple[Controller, ...]:
        """Those that act on a request: its own, or those of the run."""
        return self.plan.controllers if request.controllers is None else request.controllers

    def judge(self, judge: Judge) -> Bound:
        """A judge beside this engine; what it loads or connects to is kept for the next question."""
        if judge not in self._judges:
            self._judges[judge] = judge.bind(self)
        return self._judges[judge]

    def dismiss(self) -> None:
        """Give back what judges hold: models, connections."""
        while self._judges:
            self._judges.popitem()[1].close()

    def allows(self, policy: Scaling) -> None:
        """Raise UnmetNeed for a scaling policy that needs to know more than this engine's model shows.

        One that looks at hidden states has the model keep them from now on. Raises HeadError for what was trained with
        another model.
        """
        policy.suits(self.target, self.draft_model)
        if policy.needs.target_hidden:
            if not isinstance(self.target, ShowsHidden):
                raise UnmetNeed(
                    f"'{policy.name}' looks at the target's hidden states, which this model does not show.",
                    "Use it with a model that laconic runs itself (CausalLM).",
                )
            self.target.keep_hidden = True

    def run(self, requests: Seq[Request], *, batch: int = 1) -> list[Result]:
        """Serve requests, at most ``batch`` at once; one joins as soon as another leaves."""
        if batch < 1:
            raise RequestError(f"batch must be >= 1, not {batch}.")
        loop = self.loop()
        waiting = deque([(i, self.fitted(request)) for i, request in enumerate(requests)])
        index: dict[int, int] = {}
        results: dict[int, Result] = {}
        try:
            while waiting or loop.active:
                while waiting and len(loop.active) < batch:
                    i, request = waiting.popleft()
                    index[id(loop.add(request))] = i
                for sequence in loop.step():
                    results[index.pop(id(sequence))] = self.result(sequence)
        finally:
            for sequence in list(loop.active):
                loop.cancel(sequence)
        return [results[i] for i in range(len(requests))]

    def stream(self, prompt: Prompt, **options: Any) -> Stream:
        """Answer one prompt step by step; iterate over the returned stream, then read its ``result``."""
        return Stream(self, self.request(prompt, **options))

    def result(self, sequence: Sequence) -> Result:
        """What a request of one of this engine's loops has written."""
        even = getattr(self.target, "exact", True) or not sequence.usage.drafted
        kept = (sequence.request.kv or self.plan.kv).lossless
        sequence.lossless = self._drafts_lossless and even and kept
        return sequence.result()


class Stream:
    """An iterator of steps. Leaving it early, or an exception, cancels the request; ``result`` is then partial."""

    def __init__(self, engine: Engine, request: Request) -> None:
        self._engine = engine
        self._loop = engine.loop()
        self._sequence = self._loop.add(engine.fitted(request))

    def __iter__(self) -> Iterator[Step]:
        """Yield steps as they are decided."""
        try:
            while not self._sequence.done:
                self._loop.step()
                yield from self._sequence.drain()
        finally:
            self.close()

    def close(self) -> None:
        """Stop here and free the cache. Safe to call more than once."""
        self._loop.cancel(self._sequence)

    @property
    def result(self) -> Result:
        """What has been produced so far; final once the iteration has ended."""
        return self._engine.result(self._sequence)


def acting(controllers: Seq[Controller], question: Question, reader: Reader) -> tuple[tuple[Controller, ...], Question]:
    """Who acts on a question, and what is asked in its place. Those that are chosen may choose in turn."""
    mine: list[Controller] = []
    for controller in controllers:
        chosen = controller.resolve(question, reader)
        if list(chosen) == [controller]:
            question = controller.prepare(question)
            mine.append(controller)
        else:
            more, question = acting(chosen, question, reader)
            mine += more
    return tuple(mine), question


def joined(draft: LanguageModel, theirs: Text, target: LanguageModel, text: Text) -> LanguageModel:
    """The draft model as a model of the target's tokens. Raises TokenizerMismatch for one that cannot be."""
    if text.same_vocabulary(theirs):
        return draft
    made = ForeignModel(draft, Spelling(text.tokenizer), Spelling(theirs.tokenizer), target.vocab_size)
    log.info(made.note)
    if isinstance(draft, CausalLM):
        note(made)
    return made


_WITHIN = "snapkv"
"""What keeps to a budget of bytes where nobody is named."""


def within(policy: KV, nbytes: int, target: LanguageModel) -> KV:
    """The policy that keeps a request's cache within ``nbytes``. Raises UnmetNeed, InvalidKnob, RequestError."""
    if nbytes <= 0:
        raise RequestError(f"a budget of {nbytes} bytes holds nothing.", "Give a positive number.")
    chosen = cast(KV, registry.build("kv", _WITHIN)) if isinstance(policy, Full) else policy
    return chosen.within(nbytes, reducible(target, chosen.name).cache_shape)


def policies(plan: Plan) -> list[Policy]:
    """Every policy of a plan, those among the knobs of others included."""
    top: list[Policy] = [plan.drafter, plan.length, plan.shape, plan.verifier, *plan.controllers, plan.kv]
    return [policy for root in top for policy in root.walk()]


def check(plan: Plan, text: Text, target: LanguageModel, draft_model: LanguageModel | None) -> None:
    """Raise UnmetNeed if a policy needs something that this run does not have, HeadError if it was made for another."""
    for inner in list(plan.drafter.walk())[1:]:
        if isinstance(inner, Drafter) and inner.choices:
            raise UnmetNeed(f"'{inner.name}' decides lengths itself and cannot be part of '{plan.drafter.name}'.")
    for arm in plan.drafter.choices:
        try:
            check(replace(plan, drafter=arm.drafter, length=arm.length, shape=arm.shape), text, target, draft_model)
        except UnmetNeed as error:
            raise UnmetNeed(f"arm '{arm}': {error.message}", error.hint) from None
    for policy in () if plan.drafter.choices else policies(plan):  # each arm has just stood for the whole
        needs = policy.needs
        if needs.draft_model and draft_model is None:
            raise UnmetNeed(f"'{policy.name}' needs a draft model.", "Name one with draft=... (--draft-model).")
        if needs.draft_distribution and not plan.drafter.knows_distribution:
            raise UnmetNeed(
                f"'{policy.name}' looks at draft distributions, which '{plan.drafter.name}' does not have.",
                "Use it with a model drafter, e.g. draft-model.",
            )
        if needs.expand and not plan.drafter.expands:
            raise UnmetNeed(
                f"'{policy.name}' grows trees, which '{plan.drafter.name}' cannot.",
                "Use the chain shape, or a drafter that expands (draft-model, suffix).",
            )
        if needs.thinking and not text.format.thinks:
            raise UnmetNeed(
                f"'{policy.name}' needs a model with a thinking phase; no thinking tags were found.",
                "Name the tags with format=Format(opens, closes) (--format), or do without thinking methods.",
            )
        if needs.draft_hidden and not plan.drafter.knows_hidden:
            raise UnmetNeed(
                f"'{policy.name}' looks at the draft model's hidden states, which '{plan.drafter.name}' does not have.",
                "Use it with a model drafter, e.g. draft-model.",
            )
        if needs.reducible_cache:
            reducible(target, policy.name)
        for needed, model, role in (
            (needs.draft_hidden, draft_model, "draft model"), (needs.target_hidden, target, "target")
        ):  # fmt: skip
            if needed and not isinstance(model, ShowsHidden):
                raise UnmetNeed(
                    f"'{policy.name}' looks at the {role}'s hidden states, which this model does not show.",
                    "Use it with a model that laconic runs itself (CausalLM).",
                )
        if needs.steerable and not isinstance(target, Steerable):
            raise UnmetNeed(
                f"'{policy.name}' pushes the target's residual stream, which this model does not let it do.",
                "Use it with a model that laconic runs itself (CausalLM).",
            )
        if needs.target_layers and not (isinstance(target, ShowsLayers) and target.shows_layers):
            raise UnmetNeed(
                f"'{policy.name}' reads the outputs of the target's layers, which this model does not show.",
                "Use it with a model that laconic runs over slots (laconic inspect says how passes are made).",
            )
        if needs.target_parts and not (isinstance(target, RunsParts) and target.runs_parts):
            raise UnmetNeed(
                f"'{policy.name}' drafts with a part of the target's own layers, which this model cannot run alone.",
                "Use it with a model that laconic runs over slots, without recurrent layers (laconic inspect).",
            )
        policy.suits(target, draft_model)


def _keep_hidden(plan: Plan, target: LanguageModel, draft_model: LanguageModel | None) -> None:
    """Ask the models for the hidden states that policies look at; other engines over them take no notice."""
    needs = [policy.needs for policy in policies(plan)]
    if any(need.target_hidden for need in needs):
        cast(ShowsHidden, target).keep_hidden = True
    if any(need.draft_hidden for need in needs):
        cast(ShowsHidden, draft_model).keep_hidden = True
    if isinstance(target, ShowsLayers) and (read := layers_read(plan.drafter, target.num_layers)):
        target.show(read)
