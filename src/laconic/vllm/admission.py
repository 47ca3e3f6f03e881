"""Requests as vLLM's server takes them in: what asks for laconic is checked, and refused where it cannot be done."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any

from laconic.errors import LaconicError, UnmetNeed
from laconic.vllm import counters
from laconic.vllm.asked import EFFORT, SEED, Asked, check_own, left_alone
from laconic.vllm.host import Host, log

FAULT = "laconic: control of this request failed, see the server's log"
"""Why a request was ended, as vLLM's ``stop_reason``."""
_SERVER_ONLY = (
    "Use AsyncLLM or `vllm serve` in place of LLM, or methods that ask the model nothing (budget, loop-break)."
)


def hosted(holder: Any) -> Host:
    """The host of an object that has vLLM's configuration, made once for each."""
    host: Host | None = holder.__dict__.get("_laconic_host")
    if host is None:
        host = holder._laconic_host = Host.of(holder.vllm_config)
    return host


def admitting(process_inputs: Callable[..., Any], refuse: Callable[[str], Exception]) -> Callable[..., Any]:
    """vLLM's ``InputProcessor.process_inputs`` with laconic's checks before it.

    ``refuse`` makes the error that vLLM's servers answer with status 400.
    """

    def admitted(self: Any, request_id: str, prompt: Any, params: Any, *args: Any, **kwargs: Any) -> Any:
        if not hasattr(params, "extra_args"):  # pooling
            return process_inputs(self, request_id, prompt, params, *args, **kwargs)
        host = hosted(self)
        try:
            check_own(params)
            asked = host.asked(params)
            if asked is not None and not host.in_workers(asked):
                names = "+".join(str(spec) for spec in asked.think) or "none"
                raise UnmetNeed(f"'{names}' is decided in vLLM's server, which is not asked here.", _SERVER_ONLY)
        except LaconicError as error:
            raise refuse(str(error)) from error
        request = process_inputs(self, request_id, prompt, params, *args, **kwargs)
        if asked is not None:
            mine = request.sampling_params
            try:
                _together(mine, resumable=kwargs.get("resumable", False))
                host.follow(asked, request.prompt_token_ids or (0,), mine)  # a controller may refuse
            except LaconicError as error:
                stand_aside(error, asked, mine, request_id, refuse)
                return request
            _prepare(mine, host)
        return request

    return admitted


def stand_aside(
    error: LaconicError, asked: Asked, params: Any, request_id: str, refuse: Callable[[str], Exception]
) -> None:
    """Leave a request to vLLM that laconic cannot control, and say so; refuse it if its client has named laconic."""
    if asked.named:
        raise refuse(str(error)) from error
    log.info("request %s is left to vLLM: %s", request_id, error)
    counters.request(asked.think, "vllm")
    params.extra_args = left_alone(params)


def _together(params: Any, *, resumable: bool) -> None:
    """Refuse what cannot be had together with control in the workers. Raises UnmetNeed."""
    if resumable:
        raise UnmetNeed("laconic cannot control a request whose prompt is still being sent.")
    if params.ignore_eos:
        raise UnmetNeed("laconic cannot see to an answer where ignore_eos lets no text end.", "Leave ignore_eos out.")
    if params.structured_outputs is not None:
        raise UnmetNeed(
            "laconic's own words behind a thought are not in the grammar of structured outputs.",
            "Leave one of both out; vLLM's own thinking_token_budget goes with structured outputs.",
        )


def _prepare(params: Any, host: Host) -> None:
    """Give the workers dice that are the same on all of them, and a token to say that control has failed."""
    params.extra_args = {**(params.extra_args or {}), SEED: secrets.randbits(62)}
    params.stop_token_ids = [*(params.stop_token_ids or ()), host.fault]


def noting_effort(to_sampling_params: Callable[..., Any]) -> Callable[..., Any]:
    """``to_sampling_params`` of vLLM's chats and responses, which keeps the effort that the client has named."""

    def noted(self: Any, *args: Any, **kwargs: Any) -> Any:
        params = to_sampling_params(self, *args, **kwargs)
        effort = getattr(self, "reasoning_effort", None) or getattr(getattr(self, "reasoning", None), "effort", None)
        if effort is not None:
            params.extra_args = {**(params.extra_args or {}), EFFORT: str(effort)}
        return params

    return noted


def marking(from_new_request: Callable[..., Any]) -> Callable[..., Any]:
    """vLLM's ``RequestState.from_new_request``, which notes what a worker writes where control has failed."""

    def marked(tokenizer: Any, request: Any, *args: Any, **kwargs: Any) -> Any:
        state = from_new_request(tokenizer, request, *args, **kwargs)
        params = request.sampling_params
        if params is not None and SEED in (params.extra_args or {}):
            state.laconic_fault = params.stop_token_ids[-1]
        return state

    return marked


def reporting(completion: Callable[..., Any]) -> Callable[..., Any]:
    """vLLM's ``RequestState._new_completion_output``; a request whose control has failed ended in an error."""

    def reported(self: Any, *args: Any, **kwargs: Any) -> Any:
        output = completion(self, *args, **kwargs)
        fault = getattr(self, "laconic_fault", None)
        if fault is not None and output.finish_reason == "stop" and output.stop_reason == fault:
            output.finish_reason, output.stop_reason = "error", FAULT
        return output

    return reported
