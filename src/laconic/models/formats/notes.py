"""What a user should know of how a model is spoken to, where it may not be what was meant."""

from __future__ import annotations

from laconic.models.formats.template import Template


def notes(template: Template) -> list[str]:
    """One sentence for each thing that may not be as meant; mostly none."""
    if not template.source:
        return ["there is no chat template: questions go in as plain text."]
    return []
