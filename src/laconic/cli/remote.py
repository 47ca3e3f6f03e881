"""``laconic run --url``: the thinking methods of the command line over a model behind a server."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from laconic.errors import RequestError

if TYPE_CHECKING:
    from laconic.remote import RemoteEngine

    from .options import Choice

_DRAFTING = {"drafter": "--drafter", "length": "--length", "shape": "--shape", "verifier": "--verify"}


def connect(
    url: str,
    model: str | None,
    tokenizer: str | None,
    choice: Choice,
    config: Path | None,
    *,
    thinking: bool,
    spoken: dict[str, Any] | None = None,
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
    engine = RemoteEngine.load(url, model, tokenizer=tokenizer, **(spoken or {}))
    try:
        default = file.methods.said().get("think", DEFAULT.think if engine.text.format.thinks else ())
        return engine.using(think=choice.controllers(default) if thinking else ())
    except BaseException:
        engine.close()
        raise
