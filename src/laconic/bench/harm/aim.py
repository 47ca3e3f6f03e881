"""What is to be promised, and whether there are prompts enough."""

from __future__ import annotations

from dataclasses import dataclass

from laconic.bench.harm import CONFIDENCE, SHOWN
from laconic.bench.harm.sequence import MOST_SOUGHT, allowed, at_most, fewest, fewest_at, upper
from laconic.bench.harm.split import Split
from laconic.errors import RequestError, TaskError


@dataclass(frozen=True, slots=True)
class Aim:
    """Harm below ``limit``, with ``confidence``. Raises RequestError for what is no share of anything."""

    limit: float
    confidence: float = CONFIDENCE

    def __post_init__(self) -> None:
        for name, value in (("harm", self.limit), ("confidence", self.confidence)):
            if not 0 < value < 1:
                hint = "0.01 is one prompt in a hundred."
                raise RequestError(f"{name} must be between 0 and 1, not {value:g}.", hint)

    def possible(self, split: Split) -> None:
        """Raise TaskError where the prompts are too few for any promise, before time is spent on them."""
        n, needed = len(split.calibration), fewest(self.limit, self.confidence)
        if n >= needed:
            return
        repeated = f" ({split.repeated} more only repeat others)" if split.repeated else ""
        raise TaskError(
            f"{n} calibration prompts{repeated} cannot promise harm below {self.limit:g} with confidence "
            f"{self.confidence:g}: it takes {needed} even if none is harmed.",
            f"Of all prompts {SHOWN:.0%} are kept apart to be shown: give about {round(needed / (1 - SHOWN)) + 1} "
            "different ones (--n), or raise the limit.",
        )

    def allowed(self, n: int) -> int:
        """The most harms of ``n`` prompts with which a setting passes."""
        return allowed(n, self.limit, self.confidence)

    def tested(self, harms: int, n: int) -> dict[str, float]:
        """The p-value and the upper bound of a setting by itself."""
        return {"p_value": at_most(harms, n, self.limit), "upper_bound": upper(harms, n, self.confidence)}

    def takes(self, harms: int, n: int) -> str:
        """How many prompts it would take at the rate that was seen, in words."""
        needed = fewest_at(harms / n, self.limit, self.confidence)
        if needed is None and harms / n >= self.limit:
            return "at that rate no number of prompts would do"
        if needed is None:
            return f"at that rate it takes more than {MOST_SOUGHT:,} calibration prompts"
        return f"at that rate it takes about {needed} calibration prompts"
