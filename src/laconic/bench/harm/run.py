"""The measuring behind a promise: free thinking once, then a family's settings, from the safest on, until one fails.

Settings are run. What a finished thought tells of where it would have been ended (``bench.oracle.exits``) is not quite
what a run writes: its answer is a probe's, and in some texts of a few hundred another one. A promise of one in a
hundred cannot live with that. What is spared is all that comes after the first setting that fails, and texts that a
setting cannot have touched (``asked.untouched``).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

from laconic.bench.harm.aim import Aim
from laconic.bench.harm.asked import Asked, Told
from laconic.bench.harm.families import Setting
from laconic.bench.harm.judge import Answer, all_harmed, at_stake, kind_of
from laconic.bench.harm.promise import circumstances
from laconic.bench.harm.sequence import fixed_sequence
from laconic.bench.harm.shown import show
from laconic.bench.harm.split import Split, fingerprint
from laconic.config import PromiseTable
from laconic.engine import Engine
from laconic.errors import MethodError, TaskError
from laconic.policy import Policy
from laconic.types import Limits, Request, Sampling


class Calibration:
    """Finds the setting that saves most among those that pass, for one engine's models and drafts.

    The engine's own controllers are left out. ``sampling`` and ``limits`` that are not given are the checkpoint's.
    Raises TaskError for problems too few or of two kinds, MethodError where drafts may change what is written, and what
    a setting raises that cannot be run here: all before anything is.
    """

    def __init__(
        self,
        engine: Engine,
        split: Split,
        settings: Sequence[Setting],
        aim: Aim,
        *,
        sampling: Sampling | None = None,
        limits: Limits | None = None,
        told: Told = lambda stage, done, total: None,
    ) -> None:
        aim.possible(split)
        self.kind = kind_of([*split.calibration, *split.shown])
        self.free = engine.using(think=())
        if not self.free.lossless:
            raise MethodError(
                f"'{self.free.plan.verifier.spec()}' may change what is written: it does harm of its own.",
                "Draft with a lossless verifier, e.g. match.",
            )
        self.split, self.settings, self.aim, self.told = split, settings, aim, told
        self.sampling, self.limits = sampling or engine.defaults.sampling, limits or engine.defaults.limits
        self.circumstances = circumstances(engine, self.sampling, self.limits)
        self.requests = [self.request(item.question) for item in split.calibration]
        for setting in settings:
            for controller in self._under(setting).plan.controllers:
                controller.start(self.requests[0], engine.text)

    def request(self, question: str) -> Request:
        """A question with draws of its own, the same under every setting and in every order."""
        own = int.from_bytes(hashlib.sha256(question.encode("utf-8", "surrogatepass")).digest()[:4], "big")
        sampling = replace(self.sampling, seed=self.sampling.seed + own)
        return self.free.request(question, sampling=sampling, limits=self.limits)

    def run(self) -> dict[str, Any]:
        """Measure, choose, and measure the choice on the prompts that are shown; the record of all that.

        Raises TaskError where free thinking leaves nothing that could be harmed or spared.
        """
        asked = Asked(self.split.calibration, self.requests, self.told)
        free = asked.freely(self.free)
        stake = self._stake(free)
        rows: dict[str, dict[str, Any]] = {}
        cut: dict[str, bool] = {}

        def harms(setting: Setting) -> int:
            most = self.aim.allowed(len(free))
            answers = asked.under(
                self._under(setting), setting.label, lambda some: len(all_harmed(self.kind, free, some)) > most
            )
            rows[setting.spec] = row = self._row(setting, free, answers)
            cut[setting.spec] = any(answer.cut for answer in (*free, *answers))
            return int(row["harms"])

        passed = fixed_sequence(self.settings, harms, len(free), self.aim.limit, self.aim.confidence)
        for setting in passed:
            rows[setting.spec]["passed"] = True
        saving = [setting for setting in passed if rows[setting.spec]["saved"] > 0]
        best = min(saving, key=lambda setting: rows[setting.spec]["thinking_tokens"], default=None)
        promise = None if best is None else self._promise(rows[best.spec], stake, uncut=not cut[best.spec])
        return {
            "format": "laconic-harm-1",
            "kind": self.kind,
            "harm": self.aim.limit,
            "confidence": self.aim.confidence,
            "n": len(free),
            "allowed": self.aim.allowed(len(free)),
            "repeated": self.split.repeated,
            "reused": asked.reused,
            "free": {
                "at_stake": stake,
                "thinking_tokens": sum(answer.thinking for answer in free) / len(free),
                "cut_off": sum(answer.cut for answer in free),
            },
            "settings": list(rows.values()),
            "not_tried": [setting.spec for setting in self.settings if setting.spec not in rows],
            "best": None if best is None else best.spec,
            "why_not": "" if best is not None else self._why_not(rows[self.settings[0].spec]),
            "promise": None if promise is None else promise.model_dump(mode="json"),
            "shown": None if best is None else self._shown(best),
            "methods": self._methods() | {"think": [] if best is None else [best.spec]},
            "sampling": asdict(self.sampling),
            "max_tokens": self.limits.max_new_tokens,
        }

    def _methods(self) -> dict[str, Any]:
        fields = self.free.methods.fields()
        return {name: value.spec() if isinstance(value, Policy) else value for name, value in fields.items()}

    def _under(self, setting: Setting) -> Engine:
        return self.free.using(think=(setting.spec,))

    def _stake(self, free: Sequence[Answer]) -> int:
        stake = sum(at_stake(self.kind, answer) for answer in free)
        if not stake:
            found = "was right on" if self.kind == "right-answers-lost" else "answered"
            raise TaskError(f"free thinking {found} none of {len(free)} prompts, so there is nothing to lose.")
        if not any(answer.thinking for answer in free):
            raise TaskError("the model did not think on any prompt, so there is nothing to spare.")
        return stake

    def _row(self, setting: Setting, free: Sequence[Answer], answers: Sequence[Answer]) -> dict[str, Any]:
        """A setting's numbers. One that was asked no further has none of the tests', and the others of what it did."""
        found, n = all_harmed(self.kind, free, answers), len(answers)
        thinking, whole = (sum(answer.thinking for answer in some) for some in (answers, free[:n]))
        won = [a.right is False and b.right is True for a, b in zip(free, answers, strict=False)]
        return {
            "label": setting.label,
            "think": setting.spec,
            "n": n,
            "harms": len(found),
            "won": sum(won) if self.kind == "right-answers-lost" else None,
            "passed": False,
            "thinking_tokens": thinking / n,
            "saved": 1 - thinking / whole if whole else 0.0,
            "harmed": [self.split.calibration[i].id for i in found],
            **(self.aim.tested(len(found), n) if n == len(free) else {"p_value": None, "upper_bound": None}),
        }

    def _promise(self, row: dict[str, Any], stake: int, *, uncut: bool) -> PromiseTable:
        return PromiseTable(
            think=(row["think"],),
            kind=self.kind,
            harm=self.aim.limit,
            confidence=self.aim.confidence,
            n=row["n"],
            at_stake=stake,
            harms=row["harms"],
            upper_bound=row["upper_bound"],
            data=fingerprint(self.split.calibration),
            uncut=uncut,
            **self.circumstances,
        )

    def _why_not(self, first: dict[str, Any]) -> str:
        """Why nothing is promised."""
        if first["passed"]:
            return "the settings that pass spare no thinking"
        n = len(self.split.calibration)
        return (
            f"the safest setting, {first['think']}, harmed {first['harms']} of {first['n']} prompts, where at most "
            f"{self.aim.allowed(n)} of {n} may be; {self.aim.takes(first['harms'], first['n'])}"
        )

    def _shown(self, best: Setting) -> dict[str, Any] | None:
        items = self.split.shown
        return show(
            self.free, self._under(best), items, self.request, self.kind,
            lambda done, total: self.told("shown", done, total),
        )  # fmt: skip
