"""What a checkpoint says of its own use: sampling, the limit of new tokens, end tokens."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from transformers import AutoConfig, GenerationConfig

from laconic.errors import RequestError
from laconic.types import Limits, Sampling

LONG = 32_768
"""New tokens at most where a checkpoint does not say: what the cards of reasoning models recommend."""
_HEARD = ("temperature", "top_k", "top_p", "min_p", "repetition_penalty")
_UNHEARD = (
    "typical_p", "top_h", "epsilon_cutoff", "eta_cutoff", "encoder_repetition_penalty", "no_repeat_ngram_size",
    "encoder_no_repeat_ngram_size", "bad_words_ids", "min_length", "min_new_tokens", "forced_bos_token_id",
    "forced_eos_token_id", "exponential_decay_length_penalty", "suppress_tokens", "begin_suppress_tokens",
    "sequence_bias", "guidance_scale", "watermarking_config", "penalty_alpha", "dola_layers", "stop_strings",
)  # fmt: skip
"""Settings of a generation config that change what is written, and that laconic does not have."""
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

    def describe(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        sampling = {name: getattr(self.sampling, name) for name in _HEARD}
        return sampling | {"max_new_tokens": self.limits.max_new_tokens, "source": self.source or "laconic",
                           "unheard": list(self.unheard)}  # fmt: skip


def read_defaults(place: str | Path) -> Defaults:
    """The defaults of a checkpoint, as its ``generation_config.json`` says them, read as vLLM reads it.

    A temperature counts unless ``do_sample`` is false, and top-k only where it is said. Without either word decoding is
    greedy. Raises RequestError for values that are out of range.
    """
    config = _generation(place)
    if config is None:
        return Defaults()
    said = {name: value for name in _HEARD if (value := getattr(config, name, None)) is not None}
    drawn = config.do_sample is not False and (config.do_sample or "temperature" in said)
    if drawn:
        made = _sampling(place, {"temperature": 1.0} | said)
    else:
        made = _sampling(place, {name: said[name] for name in said if name == "repetition_penalty"})
    return Defaults(made, config.max_new_tokens, "generation_config.json" if said else "", _asked(config))


def end_tokens(place: str | Path) -> tuple[int, ...]:
    """The tokens that end a text, by the generation config, else by the model's; none where neither says."""
    config = _generation(place)
    ends = None if config is None else config.eos_token_id
    if ends is None:
        try:
            own = AutoConfig.from_pretrained(place)
        except (OSError, ValueError):
            return ()
        ends = getattr(own, "eos_token_id", None) or getattr(own.get_text_config(), "eos_token_id", None)
    return () if ends is None else (ends,) if isinstance(ends, int) else tuple(ends)


def _generation(place: str | Path) -> GenerationConfig | None:
    try:
        return GenerationConfig.from_pretrained(place)
    except (OSError, ValueError):
        return None


def _sampling(place: str | Path, said: dict[str, Any]) -> Sampling:
    if said.get("top_k", 0) < 0:  # as some write "all"
        said = said | {"top_k": 0}
    try:
        return Sampling(**said)
    except RequestError as error:
        raise RequestError(f"generation_config.json of '{place}': {error.message}", error.hint) from None


def _asked(config: GenerationConfig) -> tuple[str, ...]:
    values = {name: getattr(config, name, None) for name in (*_UNHEARD, "num_beams")}
    return tuple(name for name, value in values.items() if value is not None and value != _IDLE.get(name))
