"""``laconic run --url``: the thinking methods of the command line over a model behind a server."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from laconic.errors import RequestError, did_you_mean

if TYPE_CHECKING:
    from laconic.remote import RemoteEngine

    from .options import Choice

_DRAFTING = {"drafter": "--drafter", "length": "--length", "shape": "--shape", "verifier": "--verify", "kv": "--kv",
             "kv_budget": "--kv-budget"}  # fmt: skip

_YES = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}
_SERVER: dict[str, Callable[[str], Any]] = {
    "send": str,
    "logprobs": int,
    "piece": int,
    "ahead": lambda value: _YES[value],
    "extras": lambda value: _YES[value],
    "timeout": float,
    "retries": int,
}


def connect(
    url: str,
    model: str | None,
    tokenizer: str | None,
    choice: Choice,
    config: Path | None,
    *,
    thinking: bool,
    spoken: dict[str, Any] | None = None,
    server: Sequence[str] = (),
    **local: Any,
) -> RemoteEngine:
    """An engine over the server at ``url``, with the controllers that were said, a file's, or the default ones.

    Raises RequestError for what is the server's business: drafting, and the options in ``local``, which say how a model
    runs here. Of a file, the controllers alone are used.
    """
    from laconic.config import Config, load
    from laconic.remote import RemoteEngine

    from .defaults import DEFAULT

    said = {option: getattr(choice, name) for name, option in _DRAFTING.items()}
    said |= {f"--{name.replace('_', '-')}": value for name, value in local.items()}
    for option, value in said.items():
        if value is not None:
            raise RequestError(
                f"{option} cannot be chosen for a model behind a server.",
                "The server runs the model, and drafts as it was told when it was started.",
            )
    file = load(config) if config is not None else Config()
    engine = RemoteEngine.load(url, model, tokenizer=tokenizer, **asked(server), **(spoken or {}))
    try:
        default = file.methods.said().get("think", DEFAULT.think if engine.text.format.thinks else ())
        return engine.using(think=choice.controllers(default) if thinking else ())
    except BaseException:
        engine.close()
        raise


def asked(said: Sequence[str]) -> dict[str, Any]:
    """Options ``KEY=VALUE`` on how a server is asked, as RemoteEngine.load takes them. Raises RequestError.

    >>> asked(["send=text", "logprobs=5", "extras=no"])
    {'send': 'text', 'logprobs': 5, 'extras': False}
    """
    found: dict[str, Any] = {}
    for option in said:
        name, equals, value = option.partition("=")
        if not equals:
            raise RequestError(f"--server {option}: no value.", "Write it as KEY=VALUE, e.g. send=text.")
        if name not in _SERVER:
            raise RequestError(f"--server {option}: no such setting.", did_you_mean(name, _SERVER))
        try:
            found[name] = _SERVER[name](value)
        except (ValueError, KeyError):
            raise RequestError(f"--server {name} cannot be {value!r}.", "See laconic run --help.") from None
    return found
