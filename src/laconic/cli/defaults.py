"""The configuration that ``run`` and ``compare`` use where nothing else is asked for."""

from __future__ import annotations

from dataclasses import replace

from laconic.engine import Methods
from laconic.engine import policies as policies_of

DEFAULT = Methods(
    drafter="draft-model",
    length="marginal",
    think=("loop-break:every=128", "settled"),
)
"""For the bundled pair, and for every model with a thinking phase as far as it needs no draft model."""

WITHOUT_DRAFT_MODEL = replace(DEFAULT, drafter="suffix", shape="chain")
"""What takes its place where there is no draft model."""


def default(*, draft_model: bool, thinking: bool) -> Methods:
    """The default for a run that has, or has not, a draft model and a model with a thinking phase."""
    needed = any(policy.needs.draft_model for policy in policies_of(DEFAULT.plan()))
    chosen = WITHOUT_DRAFT_MODEL if needed and not draft_model else DEFAULT
    return chosen if thinking else replace(chosen, think=())
