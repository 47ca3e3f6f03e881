"""A whole replay: every file under every drafter and length rule, and the record of what was counted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any, cast

import laconic.methods  # noqa: F401  (fills the registry)
from laconic.bench.provenance import provenance
from laconic.bench.replay.decode import QUARTERS, Script, Tally, play
from laconic.bench.replay.fields import Fields
from laconic.bench.replay.records import Recording, Recordings, read
from laconic.bench.replay.thoughts import summary
from laconic.bench.replay.tokens import Tokenizer, load
from laconic.errors import RequestError, TaskError, UnmetNeed
from laconic.policy import registry
from laconic.speculation.base import Drafter, LengthPolicy, TreeShape

LENGTHS = ("constant:8", "aimd")
After = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Setup:
    """What to replay under. No ``drafters`` means every one that needs no model, each with and without sharing."""

    drafters: tuple[str, ...] = ()
    lengths: tuple[str, ...] = LENGTHS
    shapes: tuple[str, ...] = ("chain",)
    tokenizer: str | None = None
    limit: int | None = None
    fields: Fields | None = None
    """Where records keep question, response and answer; None for the common names."""


@dataclass(frozen=True, slots=True)
class Variant:
    """One drafter under one length rule, growing one shape. Built anew for each file, so files share nothing."""

    drafter: str
    length: str
    shape: str

    def build(self) -> tuple[Drafter, LengthPolicy, TreeShape]:
        """Fresh policies. Raises MethodError subclasses, UnmetNeed for what a replay cannot give."""
        drafter = cast(Drafter, registry.build("drafter", self.drafter))
        length = cast(LengthPolicy, registry.build("length", self.length))
        shape = cast(TreeShape, registry.build("shape", self.shape))
        if drafter.choices:
            raise UnmetNeed(f"'{drafter.name}' goes by what rounds cost.", "In a replay nothing does: name its arms.")
        for policy in (*drafter.walk(), *length.walk(), *shape.walk()):
            if policy.needs.draft_model:
                raise UnmetNeed(f"'{policy.name}' needs a draft model.", "A replay has no model.")
            if policy.needs.target_hidden or policy.needs.target_layers:
                raise UnmetNeed(f"'{policy.name}' looks at hidden states.", "A replay has no model, and so none.")
            if policy.needs.target_parts:
                raise UnmetNeed(f"'{policy.name}' drafts with the target's layers.", "A replay has no model.")
            if policy.needs.target_rows:
                raise UnmetNeed(f"'{policy.name}' learns from logits.", "A replay has no model, and so none.")
            if policy.needs.draft_distribution and not drafter.knows_distribution:
                raise UnmetNeed(
                    f"'{policy.name}' looks at draft distributions, which '{drafter.name}' does not have.",
                    "A replay needs a length rule that goes by outcomes, e.g. constant:8 or aimd.",
                )
            if policy.needs.expand and not drafter.expands:
                raise UnmetNeed(
                    f"'{policy.name}' grows trees, which '{drafter.name}' cannot.",
                    "Use the chain shape, or name with --drafter only those that expand.",
                )
        return drafter, length, shape


def model_free() -> tuple[str, ...]:
    """Specs of every registered drafter that can be replayed by itself; one that can share a store also without."""
    specs = []
    for name in registry.names("drafter"):
        cls = registry.get("drafter", name)
        if (
            cls.required()
            or cls.needs.draft_model
            or cls.needs.target_rows
            or cls.needs.target_parts
            or cls.needs.target_layers
            or cast(Drafter, registry.build("drafter", name)).choices
        ):
            continue
        specs.append(name)
        if any(knob.name == "shared" for knob in fields(cls)):
            specs.append(f"{name}:shared=false")
    return tuple(specs)


def variants(setup: Setup) -> list[Variant]:
    """Every combination asked for, each of them checked. Raises MethodError subclasses before any file is read."""
    chosen = [
        Variant(drafter, length, shape)
        for drafter in setup.drafters or model_free()
        for length in setup.lengths
        for shape in setup.shapes
    ]
    for variant in chosen:
        variant.build()
    return list(dict.fromkeys(chosen))


def replay(paths: Sequence[str], setup: Setup, after: After = lambda said: None) -> dict[str, Any]:
    """Replay every file and return the record. ``after`` is told what has just been done.

    Raises TaskError for a file that cannot be read or has no usable record, MethodError subclasses and ModelNotFound
    for what was asked, ReplayError if a decoded text is not the recorded one.
    """
    if not paths:
        raise TaskError("no file is named.", "Name JSONL files of recorded outputs.")
    if setup.limit is not None and setup.limit < 1:
        raise RequestError(f"--limit must be > 0, not {setup.limit}.")
    chosen = variants(setup)
    tokenizer = load(setup.tokenizer)
    loaded = [read(path, setup.limit, setup.fields) for path in paths]
    files = []
    for recordings in loaded:
        files.append(_file(recordings, chosen, tokenizer, after))
    return {
        "kind": "replay",
        "setup": {
            "tokenizer": tokenizer.name,
            "approximate": tokenizer.approximate,
            "limit": setup.limit,
            "lengths": list(setup.lengths),
            "shapes": list(setup.shapes),
        },
        "files": files,
        "provenance": provenance(),
    }


def _file(recordings: Recordings, chosen: Sequence[Variant], tokenizer: Tokenizer, after: After) -> dict[str, Any]:
    kept, texts, problems = [], [], list(recordings.problems)
    left_out = [{"line": p.line, "reason": p.reason} for p in problems]
    for recording in recordings.records:
        tokens = _tokens(recording, tokenizer)
        if tokens is None:
            left_out.append({"line": recording.line, "reason": f"{tokenizer.name} does not reproduce '{recording.id}'"})
        else:
            kept.append(recording)
            texts.append(tokens)
    if not kept:
        raise TaskError(
            f"the tokenizer {tokenizer.name} reproduces no record of '{recordings.path}'.",
            "Name the tokenizer of the model that wrote them, or leave --tokenizer away.",
        )
    end = tokenizer.size  # An id that no text has.
    scripts = [
        Script(r.id, tuple((given, [*written, end]) for given, written in t)) for r, t in zip(kept, texts, strict=True)
    ]
    drafts = []
    for variant in chosen:
        drafts.append(_replayed(scripts, variant, end))
        after(f"{recordings.path}: {variant.drafter}, {variant.length}, {variant.shape}")
    return {
        "path": recordings.path,
        "records": len(kept),
        "turns": sum(len(script.turns) for script in scripts),
        "given_tokens": sum(script.given for script in scripts),
        "output_tokens": sum(script.written for script in scripts),
        "empty_lines": recordings.empty_lines,
        "left_out": sorted(left_out, key=lambda entry: int(str(entry["line"]))),
        "drafts": drafts,
        "thoughts": summary(kept, tokenizer),
    }


def _tokens(recording: Recording, tokenizer: Tokenizer) -> list[tuple[list[int], list[int]]] | None:
    """Ids of every turn; None unless they decode to the very text."""
    turns = []
    for turn in recording.turns:
        given, written = tokenizer.encode(turn.given), tokenizer.encode(turn.written)
        if tokenizer.decode(given) != turn.given or tokenizer.decode(written) != turn.written:
            return None
        turns.append((given, written))
    return turns


def _replayed(scripts: Sequence[Script], variant: Variant, end: int) -> dict[str, Any]:
    """All records in the order of the file under one variant; policy objects are shared, as in a server."""
    drafter, length, shape = variant.build()
    total = Tally()
    by_request = [Tally() for _ in range(QUARTERS)]
    for at, script in enumerate(scripts):
        tally = play(script, drafter, length, shape, end=end, vocab_size=end + 1)
        total.add(tally)
        by_request[QUARTERS * at // len(scripts)].add(tally)
    return {
        "drafter": variant.drafter,
        "length": variant.length,
        "shape": variant.shape,
        "output_tokens": total.output,
        "passes": total.passes,
        "tokens_per_pass": total.output / total.passes,
        "drafted": total.drafted,
        "accepted": total.accepted,
        "acceptance_rate": total.accepted / total.drafted if total.drafted else None,
        "waste_per_token": (total.drafted - total.accepted) / total.output,
        "drafting_us_per_token": 1e6 * total.drafting_seconds / total.output,
        "tokens_per_second": (total.given + total.output) / max(total.seconds, 1e-9),
        "cpu_seconds": total.seconds,
        "by_request": [t.output / t.passes if t.passes else None for t in by_request],
        "by_place": [tokens / passes if passes else None for tokens, passes in total.by_place],
    }
