"""An engine whose model runs behind an OpenAI-compatible server: same requests, controllers and results."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from collections.abc import Sequence as Seq
from dataclasses import asdict, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from laconic.engine import Engine, Methods, check
from laconic.errors import MethodError, RemoteError, RequestError, UnmetNeed
from laconic.models.defaults import Defaults
from laconic.models.formats import Format
from laconic.models.formats.named import named
from laconic.models.load import load_defaults, load_text
from laconic.models.remote import RemoteModel
from laconic.models.text import Text
from laconic.policy import Policy
from laconic.remote.elsewhere import Elsewhere
from laconic.remote.loop import RemoteLoop, all_or_none
from laconic.remote.reading import RemoteReading
from laconic.remote.writer import Asking, Writer
from laconic.scaling.base import Scaling
from laconic.scaling.movers import Served
from laconic.types import Request, Result

UNKNOWN = 1 << 20
"""Context of a server that does not say it: its own refusal of too long a text must do."""
_CAREFUL = 2048
"""New tokens at most by default there: many servers refuse a request that could outgrow their context."""
Think = tuple[str | Policy, ...]


class RemoteEngine(Engine):
    """Thinking controllers over a server; whether and how it drafts is the server's own business.

    >>> with RemoteEngine.load("http://127.0.0.1:8000/v1", "Qwen/Qwen3-8B", think=("settled",)) as engine:
    ...     result = engine.generate("What is 37 * 48 + 15?")

    Tokens are counted by the local tokenizer, which must be the model's own. Of the counters in ``Usage``, passes stay
    0, since they are not known; ``probed`` are the tokens that probes put after the shared prefix and those that they
    found; ``seconds`` are waiting times, under ``score`` for pieces of the text and under ``policy`` for probes.

    ``asking`` are the fields of :class:`Asking`: how the server is asked, which changes the cost and not the outcome.
    """

    def __init__(
        self,
        model: RemoteModel,
        text: Text,
        think: Think = (),
        *,
        context: int | None = None,
        defaults: Defaults | None = None,
        **asking: Any,
    ) -> None:
        self.model = model
        self.writer = Writer(model, text, Asking(**asking))
        target = Elsewhere(len(text.tokenizer.get_vocab()), context or UNKNOWN)
        defaults = defaults or Defaults()
        if context is None and defaults.max_new_tokens is None:
            defaults = replace(defaults, max_new_tokens=_CAREFUL)
        super().__init__(target, text, Methods(drafter="none", length="constant", think=think), defaults=defaults)
        self.check_probabilities(self.plan.controllers)

    @staticmethod
    def load(  # type: ignore[override]  # another place to load from
        base_url: str,
        model: str | None = None,
        *,
        tokenizer: str | Path | None = None,
        think: Think = (),
        format: Format | str | None = None,
        system: str = "",
        keywords: Mapping[str, Any] | None = None,
        api_key: str | None = None,
        extras: bool = True,
        timeout: float = 600.0,
        retries: int = 2,
        context: int | None = None,
        **asking: Any,
    ) -> RemoteEngine:
        """Connect to the server at ``base_url``, which mostly ends in ``/v1``.

        ``model`` is the name that the server knows it by; it may be left out where there is only one. ``tokenizer`` is
        a path, a hub name or ``bundled``, and the model's name if it is not given. ``context`` is what the server says,
        else unlimited. The others are those of the constructor and of :class:`RemoteModel`. Raises RemoteError,
        ModelError and MethodError subclasses.
        """
        format = None if format is None else named(format)
        remote = RemoteModel(base_url, model or "", api_key=api_key, extras=extras, timeout=timeout, retries=retries)
        try:
            served = remote.wait(remote.served())
            if model is None:
                if len(served) != 1:
                    names = ", ".join(one.name for one in served) or "none that it lists"
                    raise RequestError(f"the server has several models, or none: {names}.", "Name one (--model).")
                remote.model = served[0].name
            if context is None:
                context = next((one.context for one in served if one.name == remote.model), None)
            text = load_text(tokenizer or remote.model, format=format, system=system, keywords=keywords)
            defaults = load_defaults(tokenizer or remote.model)
            return RemoteEngine(remote, text, think, context=context, defaults=defaults, **asking)
        except BaseException:
            remote.close()
            raise

    def using(self, **methods: Any) -> RemoteEngine:
        """The same server under other controllers (``think``), over the same connections."""
        for name in methods:
            if name != "think":
                raise MethodError(f"'{name}' cannot be chosen for a model behind a server.", "Only think= can.")
        think = methods.get("think", self.methods.think)
        context, asking = self.target.context, asdict(self.writer.asking)
        made = RemoteEngine(self.model, self.text, think, context=context, defaults=self.defaults, **asking)
        made.writer = self.writer
        return made

    def fitted(self, request: Request) -> Request:
        """As :meth:`Engine.fitted`; controllers that others have named are checked as those of the run are."""
        request = super().fitted(request)
        if request.controllers is not None:
            check(replace(self.plan, controllers=request.controllers), self.text, self.target, None)
            self.check_probabilities(request.controllers)
        return request

    def reading(self) -> RemoteReading:
        """As :meth:`Engine.reading`, by short completions."""
        return RemoteReading(self)

    def loop(self) -> RemoteLoop:
        """A fresh loop over the server."""
        assert isinstance(self.target, Elsewhere)
        return RemoteLoop(self.writer, self.target, self.plan)

    def run(self, requests: Seq[Request], *, batch: int = 1) -> list[Result]:
        """Serve requests, at most ``batch`` at once; each goes on as soon as the server has answered it.

        A request has up to two completions under way: the next piece of its thought, and a probe. A RemoteError that
        ends the run holds the results of the requests that were done (``error.results``, by their place).
        """
        if batch < 1:
            raise RequestError(f"batch must be >= 1, not {batch}.")
        return self.model.wait(self._all([self.fitted(request) for request in requests], batch))

    async def _all(self, requests: Seq[Request], batch: int) -> list[Result]:
        loop, gate = self.loop(), asyncio.Semaphore(batch)

        done: dict[int, Result] = {}

        async def serve(at: int, request: Request) -> Result:
            async with gate:
                sequence = loop.add(request)
                await loop.finish(sequence)
                done[at] = self.result(sequence)
                return done[at]

        try:
            return await all_or_none([serve(at, request) for at, request in enumerate(requests)])
        except RemoteError as error:
            error.results = done
            raise

    def mover(self, *, shares: bool = False) -> Served:
        """Attempts behind the server, each by itself; what they share is the server's affair."""
        return Served(self)

    def allows(self, policy: Scaling) -> None:
        """As :meth:`Engine.allows`: a server tells the probability of what it writes, and no alternatives."""
        if policy.needs.target_hidden:
            raise UnmetNeed(
                f"'{policy.name}' looks at hidden states, which a server does not show.",
                "Use it with a model that laconic runs itself.",
            )
        if policy.alternatives:
            raise UnmetNeed(
                f"'{policy.name}' looks at the likeliest tokens in every place, which are not asked of a server.",
                "Use top=0, or a model that laconic runs itself.",
            )
        self.check_probabilities((policy,))

    def close(self) -> None:
        """Close the connections, also those of other engines over this model. Safe to call more than once."""
        self.dismiss()
        self.model.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def check_probabilities(self, controllers: Seq[Policy]) -> None:
        """Raise UnmetNeed for policies that look at probabilities where none are asked for."""
        for policy in (inner for controller in controllers for inner in controller.walk()):
            if (policy.needs.probabilities or policy.needs.chances) and not self.writer.asking.logprobs:
                raise UnmetNeed(
                    f"'{policy.name}' looks at probabilities, and none are asked for (logprobs=0).",
                    "Ask for some, or use a method that needs none (answer-agreement, budget).",
                )
