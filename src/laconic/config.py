"""``laconic.toml``: a model and the methods chosen for it, written by ``laconic tune`` or by hand.

    model = "Qwen/Qwen3-8B"
    draft_model = "Qwen/Qwen3-0.6B"
    dtype = "bfloat16"

    [methods]
    drafter = "draft-model"
    length = "svip:threshold=0.5"
    think = ["answer-confidence:0.95"]

Every key may be left out; what is named is checked when the file is read.
"""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any, Literal

import pydantic

import laconic.methods  # noqa: F401  (fills the registry)
from laconic.errors import LaconicError, RequestError, did_you_mean
from laconic.policy import registry

DType = Literal["float32", "bfloat16", "float16"]


class ConfigError(RequestError):
    """A configuration file that cannot be used."""


class MethodsTable(pydantic.BaseModel):
    """The table ``[methods]``: spec strings, as on the command line."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    drafter: str | None = None
    length: str | None = None
    shape: str | None = None
    verifier: str | None = None
    think: tuple[str, ...] | None = None

    def said(self) -> dict[str, Any]:
        """Fields of ``Methods`` that the table names."""
        return {name: value for name, value in self if value is not None}


class Config(pydantic.BaseModel):
    """What a file says. None is "not said"."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    model: str | None = None
    draft_model: str | None = None
    dtype: DType | None = None
    device: str | None = None
    methods: MethodsTable = MethodsTable()

    def toml(self, comment: str = "") -> str:
        """The file's text; ``comment`` goes on top."""
        lines = [f"# {line}".rstrip() for line in comment.splitlines()]
        lines += [f"{name} = {json.dumps(value)}" for name, value in self if isinstance(value, str)]
        said = self.methods.said()
        if said:
            lines += ["", "[methods]"]
            lines += [
                f"{name} = {json.dumps(list(value) if isinstance(value, tuple) else value)}"
                for name, value in said.items()
            ]
        return "\n".join(lines) + "\n"


def load(path: str | Path) -> Config:
    """Read a file. Raises ConfigError naming the file, the key and what is wrong with it."""
    try:
        said = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigError(f"cannot read '{path}': {reason}.") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"'{path}' is not TOML: {error}.") from error
    try:
        config = Config.model_validate(said)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        hint = ""
        if first["type"] == "extra_forbidden":
            known = MethodsTable.model_fields if first["loc"][0] == "methods" else Config.model_fields
            hint = did_you_mean(str(first["loc"][-1]), known)
        raise ConfigError(f"'{path}', key '{key}': {first['msg'].lower()}.", hint) from error
    _check_specs(config, path)
    return config


def _check_specs(config: Config, path: str | Path) -> None:
    said = config.methods.said()
    for family in ("drafter", "length", "shape", "verifier", "think"):
        specs = said.get(family, ())
        for spec in (specs,) if isinstance(specs, str) else specs:
            try:
                registry.build(family, spec)
            except LaconicError as error:
                raise ConfigError(f"'{path}', methods.{family}: {error.message}", error.hint) from error
