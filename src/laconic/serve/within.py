"""vLLM in this process as a backend: its engine writes, and laconic decides about the thoughts as they stream by."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NoReturn

from laconic.engine import Engine, Methods
from laconic.errors import MissingExtra, ModelError, RequestError, UnmetNeed
from laconic.models.defaults import Defaults
from laconic.models.load import load_defaults, load_text
from laconic.models.text import Text
from laconic.remote.elsewhere import Elsewhere as Model
from laconic.remote.loop import RemoteLoop
from laconic.serve.elsewhere import Elsewhere
from laconic.serve.fitted import fitted
from laconic.serve.job import Job
from laconic.types import Request, Sampling
from laconic.vllm.writer import EngineLoop, EngineWriter, FromEngine, GivenUp


class VllmFailure(ModelError):
    """vLLM's engine has failed, or ended a request before its time."""


class _NoReader:
    """Answers nothing: what controllers would ask of the model beforehand costs passes that nobody has planned here."""

    def cost(self) -> str:
        """Nothing was read."""
        return ""

    def __getattr__(self, name: str) -> NoReturn:
        raise UnmetNeed(
            "a method that asks the model before it answers cannot be used with vLLM in this process.",
            "Use laconic's own engine, or do without this method.",
        )


class _VllmEngine(Engine):
    """Requests and controllers over a model that vLLM runs."""

    def reading(self) -> Any:
        """Nobody to ask."""
        return _NoReader()


class Within(Elsewhere):
    """A vLLM ``AsyncLLM``, made of ``args`` (fields of vLLM's ``AsyncEngineArgs``), when the server starts.

    What a reply shares with vLLM are its filters, penalties that look at the whole text, and its own drafting. A
    thought streams on while controllers decide and is broken off where they act.
    """

    name = "vllm"

    def __init__(
        self,
        model: str,
        text: Text,
        methods: Methods,
        args: Mapping[str, Any],
        *,
        context: int,
        vocab_size: int,
        defaults: Defaults,
        places: int = 16,
        queue: int = 256,
    ) -> None:
        engine = _VllmEngine(Model(vocab_size, context), text, methods, defaults=defaults)
        super().__init__(engine, places=places, queue=queue)
        self._args = {"model": model, **args}
        self._vllm: Any = None
        self._count = 0

    @staticmethod
    def prepared(
        model: str,
        think: tuple[Any, ...],
        args: Mapping[str, Any],
        *,
        places: int = 16,
        queue: int = 256,
        **spoken: Any,
    ) -> Within:
        """For a checkpoint's path or name. Raises MissingExtra, ModelError and MethodError subclasses."""
        try:
            from vllm.engine.arg_utils import AsyncEngineArgs
        except ImportError as error:
            raise MissingExtra("vllm", "vllm") from error
        try:
            made = AsyncEngineArgs(model=model, **args).create_model_config()
        except (TypeError, ValueError) as error:
            raise RequestError(
                f"vLLM refuses these settings: {error}.", "They are fields of its AsyncEngineArgs."
            ) from error
        methods = Methods(drafter="none", length="constant", think=think)
        return Within(
            model,
            load_text(model, **spoken),
            methods,
            args,
            context=int(made.max_model_len),
            vocab_size=int(made.get_vocab_size()),
            defaults=load_defaults(model),
            places=places,
            queue=queue,
        )

    def describe(self) -> Mapping[str, Any]:
        """The engine, and how it was made."""
        args = {name: str(value) for name, value in self._args.items() if name not in ("model", "tokenizer")}
        return {**super().describe(), "vllm": args}

    async def start(self) -> None:
        """Start vLLM's engine, and wait until it serves."""
        from vllm.engine.arg_utils import AsyncEngineArgs
        from vllm.v1.engine.async_llm import AsyncLLM

        self._vllm = AsyncLLM.from_engine_args(AsyncEngineArgs(**self._args))

    async def fitted(self, job: Job) -> Request:
        """The request as its controllers want it."""
        return fitted(self.engine, job)

    def refuse(self, request: Request) -> None:
        """As :meth:`Elsewhere.refuse`; and what vLLM's own bounds rule out."""
        super().refuse(request)
        try:
            _params(request.sampling)
        except Exception as error:  # of vLLM's own kinds, which differ by version
            raise RequestError(f"vLLM refuses this request: {error}") from error

    def loop(self, job: Job) -> RemoteLoop:
        """A loop of the job's own, whose writer has the job's sampling."""
        model = self.engine.target
        assert isinstance(model, Model)
        writer = EngineWriter(self._ask, _params(job.request.sampling), self.text)
        return _Loop(writer, model, replace(self.engine.plan, controllers=()))

    async def stop(self, grace: float) -> None:
        """Drain, and end vLLM's engine."""
        await super().stop(grace)
        if self._vllm is not None:
            self._vllm.shutdown()

    async def _ask(self, before: Sequence[int], params: Any) -> AsyncGenerator[Any, None]:
        self._count += 1
        outputs = self._vllm.generate({"prompt_token_ids": list(before)}, params, f"laconic-{self._count}")
        async with contextlib.aclosing(outputs) as told:
            async for output in told:
                yield output


def _params(sampling: Sampling) -> Any:
    """vLLM's sampling parameters. Raises an error of vLLM's for values that it does not take."""
    from vllm import SamplingParams

    return SamplingParams(
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        top_k=sampling.top_k or -1,
        min_p=sampling.min_p,
        seed=sampling.seed,
        repetition_penalty=sampling.repetition_penalty,
        logit_bias=dict(sampling.logit_bias) or None,
    )


class _Loop(EngineLoop):
    """Its failures as laconic's own."""

    async def advance(self, s: Any) -> None:
        """A piece more. Raises VllmFailure."""
        try:
            await super().advance(s)
        except FromEngine as failure:
            raise VllmFailure(f"vLLM has failed: {type(failure.error).__name__}: {failure.error}.") from failure
        except GivenUp as ended:
            raise VllmFailure(f"vLLM has ended the request ({ended.reason}).") from ended
