"""The engine that laconic is a guest in: what vLLM's configuration says of its model, and how requests are taken up."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property, lru_cache
from typing import Any

from laconic.engine import Methods, check
from laconic.errors import RequestError, UnmetNeed, did_you_mean
from laconic.loop import Plan
from laconic.models.formats.named import named
from laconic.models.load import load_text
from laconic.models.text import Text
from laconic.policy import joined, registry
from laconic.remote.elsewhere import Elsewhere
from laconic.types import Limits, Request, Sampling
from laconic.vllm.asked import SEED, Asked
from laconic.vllm.inside import Following, Inside, Think, has_its_say_before

log = logging.getLogger("vllm.laconic")  # beside vLLM's own, in its form
_EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
"""Levels of ``reasoning_effort`` that vLLM's servers take."""
_KNOWN = 256
"""Sets of controllers that are kept ready: clients may name as many as they like."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What a server says for all its requests: ``--additional-config '{"laconic": {...}}'``.

    ``think`` is for requests that name no controllers, ``efforts`` for those that name an effort (``reasoning_effort``)
    and neither controllers nor a budget: controllers by level, ``{"low": "budget:1024"}``. ``format`` says how the
    model marks its thought, where its chat template does not tell: a family's name, or tags as ``OPEN,CLOSE``.
    ``drafter`` and ``length`` are laconic's proposer's.
    """

    think: str = ""
    efforts: Mapping[str, str] = field(default_factory=dict)
    format: str = ""
    drafter: str = "suffix"
    length: str = "marginal"

    @staticmethod
    def of(config: Any) -> Settings:
        """Those of a vLLM configuration. Raises RequestError for what is none of them."""
        extra = getattr(config, "additional_config", None)
        given = extra.get("laconic", {}) if isinstance(extra, Mapping) else {}
        if not isinstance(given, Mapping):
            raise RequestError(f"laconic's additional_config is a mapping, not {given!r}.")
        known = [field.name for field in fields(Settings)]
        for name, value in given.items():
            if name not in known:
                raise RequestError(f"'{name}' is no setting of laconic's.", did_you_mean(name, known))
            if name == "efforts":
                if not isinstance(value, Mapping) or not all(isinstance(one, str) for one in value.values()):
                    raise RequestError(f"laconic's setting 'efforts' names controllers by level, not {value!r}.")
            elif not isinstance(value, str):
                raise RequestError(f"laconic's setting '{name}' is a text, not {value!r}.")
        return Settings(**given)


@dataclass
class Host:
    """One vLLM engine. ``tokenizer`` is a path or a name, ``rows`` the width of its logits, ``context`` its length.

    ``follows`` says whether its workers ask laconic about their logits; where they do not, whole requests are decided
    in the server.
    """

    tokenizer: str
    context: int
    rows: int
    settings: Settings = field(default_factory=Settings)
    follows: bool = True

    @staticmethod
    def of(config: Any) -> Host:
        """The engine of a vLLM configuration. Raises RequestError for settings that cannot be."""
        model = config.model_config
        settings = Settings.of(config)
        follows = not getattr(config, "use_v2_model_runner", False)
        return Host(str(model.tokenizer), int(model.max_model_len), int(model.get_vocab_size()), settings, follows)

    @cached_property
    def text(self) -> Text:
        """The model's tokenizer and format. Raises ModelError subclasses."""
        return load_text(self.tokenizer, format=named(self.settings.format) if self.settings.format else None)

    @cached_property
    def fault(self) -> int:
        """The token that a worker writes in place of all others where control of a request has failed.

        It is the last row of the logits that no token belongs to, else a special token that no model writes in a reply.
        """
        size = max(self.text.tokenizer.get_vocab().values()) + 1
        if self.rows > size:
            return self.rows - 1
        tokenizer, ends = self.text.tokenizer, set(self.text.eos)
        others = (tokenizer.bos_token_id, tokenizer.pad_token_id, tokenizer.unk_token_id)
        spare = next((token for token in others if token is not None and token not in ends), None)
        return spare if spare is not None else min(ends)

    def asked(self, params: Any) -> Asked | None:
        """What sampling parameters ask of laconic here, checked; None where vLLM keeps to itself.

        A budget of vLLM's own stays vLLM's where the model's format is not known, or the workers do not ask laconic.
        Raises RequestError, MethodError and ModelError subclasses.
        """
        asked = Asked.of(params, self.settings.think, self.settings.efforts)
        if asked is None or (not asked.own and not self._keeps_budgets):
            return None
        self._limits(asked, 1, params)
        self.plan(asked.think)
        return asked

    @cached_property
    def _keeps_budgets(self) -> bool:
        """Whether budgets of vLLM's own are taken over: not where the model's tokenizer cannot be read here."""
        try:
            return self.follows and self.text.format.thinks
        except Exception:
            log.info("vLLM keeps its thinking budgets itself: laconic cannot read the tokenizer")
            return False

    @cached_property
    def inside(self) -> Callable[[Think], Inside]:
        """Controllers over the rows of a worker. Raises UnmetNeed for those that cannot work so."""

        def made(think: Think) -> Inside:
            return Inside(self.text, self.plan(think).controllers, vocab_size=self.rows, context=self.context)

        return lru_cache(_KNOWN)(made)

    @cached_property
    def plan(self) -> Callable[[Think], Plan]:
        """Controllers, checked for a model that laconic does not run. Raises MethodError subclasses."""
        return lru_cache(_KNOWN)(self._plan)

    def _plan(self, think: Think) -> Plan:
        named = tuple(registry.build("think", spec, files=False) for spec in think)
        plan = Methods(drafter="none", length="constant", think=named).plan()
        check(plan, self.text, self.target, None)
        for policy in (inner for controller in plan.controllers for inner in controller.walk()):
            if has_its_say_before(policy):
                raise UnmetNeed(
                    f"'{policy.name}' has its say before the request begins, which vLLM has begun already.",
                    "Run the model in laconic's own engine, or do without this method.",
                )
        return plan

    def check(self) -> str:
        """Try the server's settings out; returns what is said of them at start-up. Raises LaconicError subclasses."""
        settings = self.settings
        for specs in filter(None, (settings.think, *settings.efforts.values())):
            self.plan(() if specs.strip() == "none" else joined(specs))
        for level in settings.efforts:
            if level not in _EFFORTS:
                raise RequestError(f"'{level}' is no reasoning_effort.", did_you_mean(level, _EFFORTS))
        format = self.text.format
        thought = f"thoughts in {format.opens.strip()} ... {format.closes.strip()}" if format.thinks else "no thoughts"
        return f"{thought}; requests that name no controllers: {settings.think or 'left to vLLM'}"

    @property
    def target(self) -> Elsewhere:
        """The model, as a loop over a server sees it."""
        return Elsewhere(self.rows, self.context)

    def in_workers(self, asked: Asked) -> bool:
        """Whether the workers can decide all of it, row by row; else the server decides, by asking the model."""
        if not self.follows:
            return False
        try:
            self.inside(asked.think)
        except UnmetNeed:
            return False
        return True

    def follow(self, asked: Asked, prompt: Sequence[int], params: Any, salt: int = 0) -> Following:
        """A request in a worker's hands. Raises RequestError and MethodError subclasses."""
        return self.inside(asked.think).follow(self.request(asked, prompt, params, salt))

    def request(self, asked: Asked, prompt: Sequence[int], params: Any, salt: int = 0) -> Request:
        """The request as laconic's loops know it; ``salt`` tells requests without a seed apart. Raises RequestError."""
        seed = (params.extra_args or {}).get(SEED, 0) + salt if params.seed is None else params.seed
        sampling = Sampling(
            params.temperature,
            max(params.top_k, 0),
            params.top_p,
            params.min_p,
            seed=seed & (2**63 - 1),
        )
        limits = self._limits(asked, len(prompt), params)
        return Request(tuple(prompt), sampling, limits, phase=self.text.phase(prompt))

    def _limits(self, asked: Asked, prompt: int, params: Any) -> Limits:
        most = self.context - prompt
        most = most if params.max_tokens is None else min(most, params.max_tokens)
        return Limits(max(most, 1), answer_room=asked.answer_room)
