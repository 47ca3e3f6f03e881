"""How laconic comes into vLLM: a general plug-in, which every process of vLLM calls when it starts.

It puts laconic where vLLM asks about thinking budgets, and before the places where vLLM takes requests in. A version
that is not known, or another plug-in in one of these places, is an error at start-up: silence would mean requests
whose controllers are not kept. ``VLLM_PLUGINS`` (names joined by commas) says which plug-ins vLLM shall load.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from laconic.errors import LaconicError

SUPPORTED = ((0, 32), (0, 33))
"""Versions of vLLM whose places are known. 0.32 is tested; 0.33 has the same ones, by its source."""
_WITHOUT = "To start vLLM without laconic, set VLLM_PLUGINS to the plug-ins that you want, or to none ('')."


class PluginError(LaconicError):
    """laconic cannot come into this vLLM."""


@dataclass(frozen=True, slots=True)
class Seam:
    """A place in vLLM: the attribute ``name`` of a module or, with ``owner``, of a class in it."""

    module: str
    name: str
    owner: str = ""

    def find(self) -> tuple[Any, Any]:
        """Where it is, and what is there. Raises PluginError where it is not, or somebody else is."""
        try:
            place = importlib.import_module(self.module)
            place = getattr(place, self.owner) if self.owner else place
            there = place.__dict__[self.name]
        except (ImportError, AttributeError, KeyError) as error:
            raise PluginError(f"this vLLM has no {self}.", _WITHOUT) from error
        function = getattr(there, "__func__", there)
        came = str(getattr(function, "__module__", ""))
        if came.split(".")[0] not in ("vllm", "laconic"):
            raise PluginError(f"another plug-in ({came}) has taken the place of {self}.", _WITHOUT)
        return place, there

    def __str__(self) -> str:
        return ".".join(filter(None, (self.module, self.owner, self.name)))

    def replace(self, wrap: Callable[[Any], Any]) -> None:
        """Put ``wrap`` of what is there in its place, once."""
        place, there = self.find()
        method = getattr(there, "__func__", None)
        if hasattr(method or there, "_laconic"):
            return
        new = wrap(there.__get__(None, place) if method is not None else there)
        new._laconic = True
        setattr(place, self.name, staticmethod(new) if method is not None else new)


HOLDER = Seam("vllm.v1.worker.gpu_input_batch", "maybe_create_thinking_budget_state_holder")
PROCESS = Seam("vllm.v1.engine.input_processor", "process_inputs", "InputProcessor")
STATE = Seam("vllm.v1.engine.output_processor", "from_new_request", "RequestState")
COMPLETION = Seam("vllm.v1.engine.output_processor", "_new_completion_output", "RequestState")
EXPAND = Seam("vllm.v1.sample.rejection_sampler", "expand_batch_to_tokens")
GENERATE = Seam("vllm.v1.engine.async_llm", "generate", "AsyncLLM")
CHAT = Seam("vllm.entrypoints.openai.chat_completion.protocol", "to_sampling_params", "ChatCompletionRequest")
RESPONSES = Seam("vllm.entrypoints.openai.responses.protocol", "to_sampling_params", "ResponsesRequest")

SEAMS = (HOLDER, EXPAND, PROCESS, STATE, COMPLETION, GENERATE, CHAT, RESPONSES)


def register() -> None:
    """Called by vLLM in each of its processes. Raises PluginError."""
    import vllm
    from vllm.config import get_current_vllm_config
    from vllm.exceptions import VLLMValidationError

    from laconic.vllm.admission import admitting, marking, noting_effort, reporting
    from laconic.vllm.repair import expanding
    from laconic.vllm.served import deciding
    from laconic.vllm.workers import holding

    if version(vllm.__version__) not in SUPPORTED:
        known = " and ".join(".".join(map(str, one)) for one in SUPPORTED)
        raise PluginError(f"laconic knows vLLM {known}, not {vllm.__version__}.", _WITHOUT)
    for seam in SEAMS:
        seam.find()
    HOLDER.replace(lambda make: holding(make, get_current_vllm_config))
    EXPAND.replace(expanding)

    def refuse(said: str) -> Exception:
        error: Exception = VLLMValidationError(said.replace("max_new_tokens", "max_tokens"))  # as clients know it
        return error

    PROCESS.replace(lambda process: admitting(process, refuse))
    CHAT.replace(noting_effort)
    RESPONSES.replace(noting_effort)
    STATE.replace(marking)
    COMPLETION.replace(reporting)
    GENERATE.replace(lambda generate: deciding(generate, refuse))


def version(text: str) -> tuple[int, ...]:
    """The first two numbers of a version.

    >>> version("0.32.1+cpu")
    (0, 32)
    """
    parts = text.split("+")[0].split(".")[:2]
    return tuple(int(part) if part.isdigit() else -1 for part in parts)
