"""What a checkpoint says of its own use: sampling, the limit of new tokens, end tokens."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, TypeVar

import pydantic
from transformers import AutoConfig
from transformers.utils import cached_file

from laconic.errors import ModelError, ModelNotFound, RequestError
from laconic.models.damage import AGAIN, readable
from laconic.types import Limits, Sampling

FILE = "generation_config.json"
LONG = 32_768
"""New tokens at most where a checkpoint does not say: what the cards of reasoning models recommend."""
_HEARD = ("temperature", "top_k", "top_p", "min_p", "repetition_penalty")
_UNHEARD = (
    "typical_p", "top_h", "epsilon_cutoff", "eta_cutoff", "encoder_repetition_penalty", "no_repeat_ngram_size",
    "encoder_no_repeat_ngram_size", "bad_words_ids", "min_length", "min_new_tokens", "forced_bos_token_id",
    "forced_eos_token_id", "exponential_decay_length_penalty", "suppress_tokens", "begin_suppress_tokens",
    "sequence_bias", "guidance_scale", "watermarking_config", "penalty_alpha", "dola_layers", "stop_strings",
    "num_beams",
)  # fmt: skip
"""Settings of a generation config that change what is written, and that laconic does not have; max_length too."""
_IDLE: dict[str, Any] = {"num_beams": 1, "typical_p": 1.0, "epsilon_cutoff": 0.0, "eta_cutoff": 0.0, "min_length": 0,
                         "no_repeat_ngram_size": 0, "encoder_repetition_penalty": 1.0, "guidance_scale": 1.0,
                         "encoder_no_repeat_ngram_size": 0}  # fmt: skip
"""Values that change nothing."""


@dataclass(frozen=True, slots=True)
class Defaults:
    """How a request is served where it does not say.

    ``source`` is the file that said something of sampling, empty where none did. ``unheard`` names what it asks for and
    laconic does not do. ``max_new_tokens`` is None where no limit is said.
    """

    sampling: Sampling = field(default_factory=Sampling)
    max_new_tokens: int | None = None
    source: str = ""
    unheard: tuple[str, ...] = ()

    @property
    def limits(self) -> Limits:
        """The limits of a request that names none."""
        return Limits(self.max_new_tokens or LONG)

    def describe(self, context: int) -> dict[str, Any]:
        """Plain values, ready for JSON; no more new tokens than a model's ``context`` holds."""
        sampling = {name: getattr(self.sampling, name) for name in _HEARD}
        most = min(self.limits.max_new_tokens, context)
        return sampling | {"max_new_tokens": most, "source": self.source or "laconic", "unheard": list(self.unheard)}


def _whole(value: Any) -> Any:
    """A number without a fraction as an integer: some tools write 20.0."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


_Int = Annotated[int, pydantic.BeforeValidator(_whole)]
_Count = Annotated[_Int, pydantic.Field(gt=0)]
_Token = Annotated[_Int, pydantic.Field(ge=0)]


class _Ends(pydantic.BaseModel):
    """What a file says of the tokens that end a text."""

    model_config = pydantic.ConfigDict(strict=True)

    eos_token_id: _Token | list[_Token] | None = None

    @property
    def tokens(self) -> tuple[int, ...] | None:
        """None where nothing is said."""
        ends = self.eos_token_id
        return None if ends is None else (ends,) if isinstance(ends, int) else tuple(ends)


class _Generation(_Ends):
    """The entries of a generation config that are followed; Sampling knows their ranges."""

    do_sample: bool | None = None
    temperature: float | None = None
    top_k: _Int | None = None
    top_p: float | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    max_new_tokens: _Count | None = None
    max_length: _Count | None = None


_Form = TypeVar("_Form", bound=_Ends)


def read_defaults(place: str | Path) -> Defaults:
    """The defaults of a checkpoint, as its ``generation_config.json`` says them, read as vLLM reads it.

    A temperature counts unless ``do_sample`` is false, and top-k only where it is said. Without either word decoding is
    greedy. Raises ModelError, naming file and entry, for values of another kind or out of range.
    """
    raw = _raw(place)
    if raw is None:
        return Defaults()
    config = _checked(_Generation, place, FILE, raw)
    said = {name: value for name in _HEARD if (value := getattr(config, name)) is not None}
    drawn = config.do_sample is not False and (config.do_sample or "temperature" in said)
    if drawn:
        made = _sampling(place, {"temperature": 1.0} | said)
    else:
        made = _sampling(place, {name: said[name] for name in said if name == "repetition_penalty"})
    return Defaults(made, config.max_new_tokens, FILE if said else "", _unheard(raw))


def end_tokens(place: str | Path) -> tuple[int, ...]:
    """The tokens that end a text, by the generation config, else by the model's; none where neither says.

    Raises ModelError, naming the file, where they are no token ids.
    """
    raw = _raw(place)
    ends = None if raw is None else _checked(_Generation, place, FILE, raw).tokens
    if ends is not None:
        return ends
    if Path(place).is_dir() and not (Path(place) / "config.json").is_file():
        return ()
    try:
        with readable("configuration", place):
            own = AutoConfig.from_pretrained(place)
    except ModelNotFound:
        return ()
    for config in (own, own.get_text_config()):
        said = {"eos_token_id": getattr(config, "eos_token_id", None)}
        if ends := _checked(_Ends, place, "config.json", said).tokens:
            return ends
    return ()


def _raw(place: str | Path) -> dict[str, Any] | None:
    """What the file says; None where there is none. Raises ModelError where it is no JSON object."""
    if Path(place).is_file():  # a .gguf file has none
        return None
    try:
        with readable(FILE, place):
            found = cached_file(
                str(place), FILE, _raise_exceptions_for_missing_entries=False,
                _raise_exceptions_for_connection_errors=False,
            )  # fmt: skip
            raw = None if found is None else json.loads(Path(found).read_text(encoding="utf-8"))
    except ModelNotFound:
        return None
    if raw is not None and not isinstance(raw, dict):
        raise ModelError(f"{FILE} of '{place}' holds no JSON object.", AGAIN)
    return raw


def _checked(form: type[_Form], place: str | Path, file: str, raw: dict[str, Any]) -> _Form:
    try:
        return form.model_validate({name: raw[name] for name in form.model_fields if name in raw})
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        key, value = first["loc"][0], raw[str(first["loc"][0])]
        raise ModelError(
            f"{file} of '{place}': {key} is {json.dumps(value)}: {first['msg'].lower()}.", "Correct it in that file."
        ) from error


def _sampling(place: str | Path, said: dict[str, Any]) -> Sampling:
    if said.get("top_k", 0) < 0:  # as some write "all"
        said = said | {"top_k": 0}
    try:
        return Sampling(**said)
    except RequestError as error:
        raise ModelError(f"{FILE} of '{place}': {error.message}", error.hint or "Correct it in that file.") from None


def _unheard(raw: dict[str, Any]) -> tuple[str, ...]:
    asked = [name for name in _UNHEARD if raw.get(name) is not None and raw[name] != _IDLE.get(name)]
    if raw.get("max_length") is not None and raw.get("max_new_tokens") is None:  # which goes before it
        asked.append("max_length")
    return tuple(asked)
