"""Small networks trained on a model's states, and the folders they are kept in: weights, and a readable description.

The description names the model by its fingerprint, so that a network is refused for any other.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from laconic.errors import HeadError
from laconic.models.base import ShowsHidden

N = TypeVar("N", bound=nn.Module)
A = TypeVar("A")


@dataclass(frozen=True, slots=True)
class Folder:
    """One kind of folder: ``stem.safetensors`` and ``stem.json``. ``noun`` is what errors call what is in it."""

    stem: str
    noun: str

    def save(self, folder: str | Path, network: nn.Module, about: Any) -> None:
        """Write weights and description (a dataclass) into ``folder``, which is made where there is none."""
        place = Path(folder)
        place.mkdir(parents=True, exist_ok=True)
        weights = {name: part.contiguous() for name, part in network.state_dict().items()}
        save_file(weights, place / f"{self.stem}.safetensors")
        (place / f"{self.stem}.json").write_text(json.dumps(asdict(about), indent=1) + "\n", encoding="utf-8")

    def load(self, folder: str | Path, build: Callable[[dict[str, Any]], tuple[N, A]], hint: str) -> tuple[N, A]:
        """Read what ``save`` wrote; ``build`` makes an untrained network and the description from what the JSON says.

        Raises HeadError, with ``hint``, for what is missing or damaged.
        """
        place = Path(folder)
        try:
            network, about = build(json.loads((place / f"{self.stem}.json").read_text(encoding="utf-8")))
            network.load_state_dict(load_file(place / f"{self.stem}.safetensors"))
        except OSError as error:
            raise HeadError(f"no trained {self.noun} at '{folder}': {error.strerror or error}.", hint) from error
        except (ValueError, TypeError, KeyError, AttributeError, RuntimeError, SafetensorError) as error:
            first = str(error).splitlines()[0]
            raise HeadError(f"the {self.noun} at '{folder}' is damaged: {first}", hint) from error
        return network.eval().requires_grad_(False), about

    def check(self, fingerprint: str, model: Any, hint: str, role: str = "model") -> None:
        """Raise HeadError unless ``model`` is the one with this ``fingerprint``."""
        found = model.fingerprint() if isinstance(model, ShowsHidden) else "unknown"
        if fingerprint != found:
            raise HeadError(
                f"the {self.noun} was trained on another {role} (fingerprint {fingerprint}, this one is {found}).", hint
            )
