"""``laconic.toml``: a model and the methods chosen for it, written by ``laconic tune`` or by hand.

    model = "Qwen/Qwen3-8B"
    draft_model = "Qwen/Qwen3-0.6B"
    dtype = "bfloat16"

    [methods]
    drafter = "draft-model"
    length = "svip:threshold=0.5"
    think = ["answer-confidence:0.95"]

Every key may be left out; what is named is checked when the file is read. A table ``[promise]`` is what ``laconic tune
--harm`` measured of these methods.
"""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic

import laconic.methods  # noqa: F401  (fills the registry)
from laconic.errors import LaconicError, RequestError, did_you_mean
from laconic.policy import Family, registry

DType = Literal["float32", "bfloat16", "float16"]
_FAMILIES: tuple[Family, ...] = ("drafter", "length", "shape", "verifier", "think", "kv")


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
    kv: str | None = None
    kv_budget: pydantic.PositiveInt | None = None
    """Bytes of the target's cache that a request may take."""

    def said(self) -> dict[str, Any]:
        """Fields of ``Methods`` that the table names."""
        return {name: value for name, value in self if value is not None}


Kind = Literal["right-answers-lost", "answers-changed"]
"""What counts as harm: right under free thinking and wrong now; or, without labels, answered otherwise, or no more."""
_Share = Annotated[float, pydantic.Field(gt=0, lt=1)]
_Count = Annotated[int, pydantic.Field(ge=0)]


class PromiseTable(pydantic.BaseModel):
    """The table ``[promise]``: what was measured, on what, and what follows; all of it must stay for it to hold."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    think: tuple[str, ...]
    """The controllers that it is about."""
    kind: Kind
    harm: _Share
    """The limit: the share of prompts that is harmed is below it."""
    confidence: _Share
    n: Annotated[int, pydantic.Field(gt=0)]
    """Calibration prompts."""
    at_stake: _Count
    """Those of them that could be harmed: right, or answered, under free thinking."""
    harms: _Count
    """Those that were."""
    upper_bound: Annotated[float, pydantic.Field(ge=0, le=1)]
    """Of this setting's harm by itself, as Clopper and Pearson have it. What is promised is the limit."""
    data: str
    """SHA-256 of the calibration prompts and their right answers."""
    model: str
    """The model's fingerprint."""
    dtype: DType
    device: str
    """``cpu``, ``cuda`` ..., wherever the rounding is another."""
    prompt: str
    """Fingerprint of the words and tags that the model is asked with."""
    temperature: float
    top_k: int
    top_p: float
    min_p: float
    repetition_penalty: float
    max_tokens: int
    """Limit of new tokens; room was kept for answers as usual."""
    uncut: bool
    """Whether no text met that limit, so that a higher one gives the same texts."""
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: tuple[tuple[int, float], ...] = ()


class Config(pydantic.BaseModel):
    """What a file says. None is "not said"."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    model: str | None = None
    draft_model: str | None = None
    dtype: DType | None = None
    device: str | None = None
    methods: MethodsTable = MethodsTable()
    promise: PromiseTable | None = None

    def toml(self, comment: str = "") -> str:
        """The file's text; ``comment`` goes on top."""
        lines = [f"# {line}".rstrip() for line in comment.splitlines()]
        lines += [f"{name} = {json.dumps(value)}" for name, value in self if isinstance(value, str)]
        for name, said in (("methods", self.methods.said()), ("promise", dict(self.promise or ()))):
            if said:
                lines += ["", f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in said.items())]
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
            tables: dict[str, type[pydantic.BaseModel]] = {"methods": MethodsTable, "promise": PromiseTable}
            known = tables.get(str(first["loc"][0]), Config).model_fields
            hint = did_you_mean(str(first["loc"][-1]), known)
        raise ConfigError(f"'{path}', key '{key}': {first['msg'].lower()}.", hint) from error
    _check_specs(config, path)
    return config


def _check_specs(config: Config, path: str | Path) -> None:
    said = config.methods.said()
    named: list[tuple[Family, str, str]] = []
    for family in _FAMILIES:
        specs = said.get(family, ())
        named += [(family, "methods", spec) for spec in ((specs,) if isinstance(specs, str) else specs)]
    if config.promise is not None:
        named += [("think", "promise", spec) for spec in config.promise.think]
    for family, table, spec in named:
        try:
            registry.build(family, spec)
        except LaconicError as error:
            raise ConfigError(f"'{path}', {table}.{family}: {error.message}", error.hint) from error
