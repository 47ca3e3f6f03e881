"""Heads in folders: laconic's own, and EAGLE-3 checkpoints in the ``speculators`` format."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from laconic.errors import HeadError
from laconic.models.trained import Folder
from laconic.speculation.drafters.head.contract import About, DraftHead, Shape
from laconic.speculation.drafters.head.kinds import built
from laconic.speculation.drafters.head.speculators import checkpoint

FOLDER = Folder("draft_head", "draft head")
HINT = "Train one on this model: laconic fit head mtp OUT; then --drafter head:OUT."


@dataclass(frozen=True, eq=False)
class Loaded:
    """A head as it was read, and what it is."""

    head: DraftHead
    about: About
    _made: dict[tuple[torch.dtype, torch.device], DraftHead] = field(default_factory=dict, repr=False)

    def suits(self, target: Any) -> None:
        """Raise HeadError unless it was made for this target: by fingerprint, or by sizes where none is known."""
        shape = self.head.shape
        if self.about.model:
            FOLDER.check(self.about.model, target, HINT, "target")
        for what, mine, theirs in (
            ("states of width", shape.width, getattr(target, "hidden_size", None)),
            ("a vocabulary of", shape.vocab, target.vocab_size),
        ):
            if theirs is not None and mine != theirs:
                raise HeadError(f"the draft head is for {what} {mine}, the target has {theirs}.", HINT)
        layers = getattr(target, "num_layers", None)
        if layers is not None and max(shape.layers) >= layers:
            raise HeadError(f"the draft head reads layer {max(shape.layers)}, the target has {layers}.", HINT)

    def ready(self, like: Tensor) -> DraftHead:
        """The head in the number format and on the device of ``like``, its weights laid out for use; made once."""
        key = like.dtype, like.device
        if key not in self._made:
            head = built(self.about.kind, self.head.shape, self.about.knobs)
            head.load_state_dict(self.head.state_dict())
            self._made[key] = head.to(*key[::-1]).eval().requires_grad_(False).packed()
        return self._made[key]

    def save(self, folder: str | Path) -> None:
        """Write it into ``folder``, which is made where there is none."""
        FOLDER.save(folder, self.head, self.about)


def load(folder: str | Path) -> Loaded:
    """Read a head. Raises HeadError for what is missing, damaged, or of a kind that is not known."""
    place = Path(folder)
    if not (place / f"{FOLDER.stem}.json").is_file() and (place / "config.json").is_file():
        return Loaded(*checkpoint(place))

    def build(said: dict[str, Any]) -> tuple[DraftHead, About]:
        about = About(**said)
        shape = Shape(**{**about.shape, "layers": tuple(about.shape["layers"])})
        return built(about.kind, shape, about.knobs), about

    return Loaded(*FOLDER.load(place, build, HINT))


def described(kind: str, fingerprint: str, shape: Shape, knobs: dict[str, Any], **more: Any) -> About:
    """What a head is, ready for its description."""
    return About(kind, fingerprint, asdict(shape), knobs, **more)
