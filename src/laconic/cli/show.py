"""What ``laconic run`` shows: the text as it comes, a status line below it, and one closing line."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict, replace
from types import TracebackType
from typing import Any, Self

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from laconic.engine import Engine
from laconic.models.defaults import Defaults
from laconic.remote import RemoteEngine
from laconic.types import Result, Sampling, Step

_STYLES = {"thinking": "dim", "answer": "bold", "injected": "dim italic"}


class Screen:
    """Shows steps. On a terminal with styles and a live status line; elsewhere the bare text; nothing if ``quiet``."""

    def __init__(self, engine: Engine, *, quiet: bool = False) -> None:
        self._engine = engine
        self._first_pass = engine.target.passes
        self._counts_passes = not isinstance(engine, RemoteEngine)
        self._quiet = quiet
        self._console = Console(highlight=False, soft_wrap=False)
        self._live: Live | None = None
        self._line = Text()
        self._wrote = "\n"
        self._begun = time.perf_counter()
        self._tokens = 0

    def __enter__(self) -> Self:
        self._begun = time.perf_counter()
        if not self._quiet and self._console.is_terminal:
            self._live = Live(self._below(), console=self._console, transient=True, auto_refresh=False)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()
            if self._line:
                self._console.print(self._line)
        elif not self._quiet and not self._wrote.endswith("\n"):
            sys.stdout.write("\n")

    def show(self, step: Step) -> None:
        """Add a step's text."""
        if self._quiet:
            return
        text = step.text
        if step.tokens and step.tokens[-1] in self._engine.text.eos:
            text = text.removesuffix(self._engine.text.decode(step.tokens[-1:]))
        if self._live is None:
            sys.stdout.write(text)
            sys.stdout.flush()
            self._wrote = text or self._wrote
            return
        self._tokens += len(step.tokens) if step.kind != "injected" else 0
        self._line.append(text, _STYLES[step.kind])
        *whole, self._line = self._line.split("\n", allow_blank=True)
        self._live.update(self._below(), refresh=True)  # first, or the lines would show twice for a moment
        if whole:
            self._console.print(Text("\n").join(whole))

    def _below(self) -> Group:
        seconds, passes = time.perf_counter() - self._begun, self._engine.target.passes - self._first_pass
        rate = f" · {self._tokens / passes if passes else 0.0:.2f} per target pass" if self._counts_passes else ""
        return Group(self._line, Text(f"{self._tokens} tokens{rate} · {seconds:.1f} s", "cyan"))


def how(engine: Engine, sampling: Sampling) -> str:
    """One line: what ran, and by which path; a slower way than the fastest says why. Of a model elsewhere, sampling."""
    told = engine.describe().get("model")
    drawn = drawing(engine.defaults, sampling)
    if told is None:
        return drawn
    slower = f" (not {'; not '.join(told['notes'])})" if told["notes"] else ""
    even = "" if told["exact"] else "; drafts may decide between equally likely tokens"
    doubt = engine.text.format.reason
    unknown = f"; thinking not controlled: {doubt}" if doubt else ""
    ran = f"{told['model_type']}, {told['dtype']} on {told['device']}, passes: {told['path']}{slower}{even}{unknown}"
    return f"{ran}; {drawn}"


def drawing(defaults: Defaults, sampling: Sampling) -> str:
    """How tokens were drawn, where that comes from, and what the checkpoint asks for that is ignored."""
    idle = Sampling(seed=sampling.seed)
    names = ("repetition_penalty",) if sampling.greedy else ("temperature", "top_k", "top_p", "min_p",
                                                             "repetition_penalty")  # fmt: skip
    changed = (f"{name} {value:g}" for name in names if (value := getattr(sampling, name)) != getattr(idle, name))
    said = ", ".join((["greedy"] if sampling.greedy else []) + list(changed))
    own = (
        f" ({defaults.source})"
        if defaults.source and sampling == replace(defaults.sampling, seed=sampling.seed)
        else ""
    )
    unheard = f"; ignored: {', '.join(defaults.unheard)} of generation_config.json" if defaults.unheard else ""
    return f"sampling: {said}{own}{unheard}"


def closing_line(result: Result, plain: Result | None = None, context: int | None = None) -> str:
    """One line: what was written, at how many passes, what is known to have been saved, and how it is known.

    ``context`` is the model's, where it is known: it may have cut the text off before the limit of new tokens did.
    """
    usage = result.usage
    chosen = usage.thinking + usage.answer
    parts = [f"{usage.thinking} thinking + {usage.answer} answer tokens"]
    saved = chosen - usage.target_passes
    if usage.target_passes:
        parts.append(f"{usage.tokens_per_pass:.2f} tokens per target pass")
    if not usage.target_passes:  # those of a server are not known
        parts += [f"{usage.probed} tokens in probes"] if usage.probed else []
    elif saved >= 0:
        parts.append(f"{saved} of {chosen} target passes saved (counted: tokens - passes)")
    else:
        parts.append(f"{-saved} passes more than tokens (probes)")
    parts += [f"{event.method} at token {event.tokens}: {event.reason}" for event in result.events]
    if result.finish_reason != "stop":
        parts.append(_unfinished(result, context))
    if not result.lossless:
        parts.append("lossy: drafts, or what the cache lost, may have changed the text")
    if result.cache_bytes:
        parts.append(f"{result.cache_bytes / 2**20:,.1f} MiB of cache")
    if plain is not None:
        parts.append(_against(result, plain))
    return " · ".join(parts)


def _unfinished(result: Result, context: int | None) -> str:
    """Why a text was not written to its end, and what became of the answer."""
    if result.finish_reason == "cancelled":
        return "stopped"
    full = context is not None and result.usage.prompt + len(result.tokens) >= context
    end = f"the end of the model's context of {context:,} tokens" if full else "the token limit"
    return f"cut off at {end}: " + ("the answer is incomplete" if result.answer else "there is no answer")


def _against(result: Result, plain: Result) -> str:
    """What plain decoding took on the same prompt, and the difference; times are those of the decode loop.

    Passes of a server are not known, and are left out.
    """
    mine, theirs = result.usage, plain.usage
    seconds, plain_seconds = sum(mine.seconds.values()), sum(theirs.seconds.values())
    faster = plain_seconds / seconds
    took = f"{theirs.target_passes} passes, " if theirs.target_passes else ""
    takes = f"{_change(mine.target_passes, theirs.target_passes)} passes, " if mine.target_passes else ""
    speed = f"{faster:.2f} times faster" if faster >= 1 else f"{1 / faster:.2f} times slower"
    return (
        f"plain decoding, measured: {theirs.thinking} thinking tokens, {took}"
        f"{plain_seconds:.2f} s{' (same tokens)' if result.tokens == plain.tokens else ''}; "
        f"here {_change(mine.thinking, theirs.thinking)} thinking tokens, {takes}{speed}"
    )


def _change(ours: int, theirs: int) -> str:
    if ours == theirs or not theirs:
        return "as many" if ours == theirs else "more"
    return f"{abs(1 - ours / theirs):.0%} {'fewer' if ours < theirs else 'more'}"


def result_json(
    result: Result,
    plain: Result | None = None,
    learned: dict[str, Any] | None = None,
    ran: dict[str, Any] | None = None,
    promise: dict[str, Any] | None = None,
) -> str:
    """A result as JSON; with the plain one under ``baseline`` if it was measured, and what methods ``learned``.

    ``ran`` says what made it (Engine.describe), ``promise`` what its file promises and whether it holds here.
    """
    record = _fields(result)
    if ran is not None:
        record["engine"] = ran
    if learned:
        record["learned"] = learned
    if promise is not None:
        record["promise"] = promise
    if plain is not None:
        record["baseline"] = _fields(plain)
    return json.dumps(record, ensure_ascii=False)


def _fields(result: Result) -> dict[str, Any]:
    return asdict(result) | {"usage": result.usage.as_dict()}
