"""Options that several commands share, and how they become Methods and Sampling."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, overload

import typer

from laconic.errors import InvalidKnob, MethodError, RequestError, did_you_mean
from laconic.policy import joined

if TYPE_CHECKING:
    import torch

    from laconic.config import Config
    from laconic.engine import Methods
    from laconic.types import Sampling

_METHODS = "Methods"
_SAMPLING = "Sampling"

MODELS = (
    "A checkpoint's path or hub name, or a model of laconic's own: 'bundled', 'smollm2' (see laconic specimen) or "
    "'smollm2-reasoner'"
)
Model = Annotated[str, typer.Option("--model", "-m", help=f"{MODELS}.")]
AnyModel = Annotated[str | None, typer.Option("--model", "-m", help=f"{MODELS}. Default: 'bundled'.")]
ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", "-c", help="A laconic.toml (see laconic tune); what is said here goes before it."),
]
Draft = Annotated[
    str | None, typer.Option("--draft-model", "--draft", help="Draft model; the bundled pair brings its own.")
]
Drafter = Annotated[
    str | None, typer.Option(help="Who proposes tokens, e.g. suffix, draft-model, none.", rich_help_panel=_METHODS)
]
Length = Annotated[
    str | None,
    typer.Option(help="How many tokens to draft, e.g. marginal, svip, constant:8.", rich_help_panel=_METHODS),
]
Shape = Annotated[str | None, typer.Option(help="Shape of a draft, e.g. chain, best-first.", rich_help_panel=_METHODS)]
Verify = Annotated[
    str | None, typer.Option(help="How drafts are verified, e.g. match, traversal.", rich_help_panel=_METHODS)
]
Think = Annotated[
    str | None,
    typer.Option(
        help="All thinking controllers in order, joined by '+': budget:256+answer-confidence. 'none' for none.",
        rich_help_panel=_METHODS,
    ),
]
Exit = Annotated[
    str | None,
    typer.Option(
        "--exit", help="When to stop thinking early, e.g. answer-confidence:0.9, or none.", rich_help_panel=_METHODS
    ),
]
Memory = Annotated[
    str | None,
    typer.Option(
        "--memory",
        help="Reason in several calls with bounded notes between them, e.g. infty-think:segment=512, pdr:width=4.",
        rich_help_panel=_METHODS,
    ),
]
Scaling = Annotated[
    str | None,
    typer.Option(
        "--scaling",
        help="Answer by several attempts, e.g. enough, self-consistency, adaptive-consistency, short-m:1.",
        rich_help_panel=_METHODS,
    ),
]
Together = Annotated[
    str | None,
    typer.Option(
        "--together",
        help="Have a second model write steps of the thought: spec-reason, speculative-thinking, foreal ...",
        rich_help_panel=_METHODS,
    ),
]
Small = Annotated[
    str | None, typer.Option("--small-model", help="The second, smaller model of --together.", rich_help_panel=_METHODS)
]
Attempts = Annotated[
    int | None,
    typer.Option(
        "--attempts",
        help="Most attempts of --scaling (of a search: under way at once); 8 if not said.",
        rich_help_panel=_METHODS,
    ),
]
Budget = Annotated[int | None, typer.Option(help="Most thinking tokens.", rich_help_panel=_METHODS)]
Temperature = Annotated[float, typer.Option(help="0 is greedy.", rich_help_panel=_SAMPLING)]
TopK = Annotated[int, typer.Option(help="Keep the k likeliest tokens; 0 keeps all.", rich_help_panel=_SAMPLING)]
TopP = Annotated[float, typer.Option(help="Keep this much probability; 1 keeps all.", rich_help_panel=_SAMPLING)]
MinP = Annotated[
    float, typer.Option(help="Keep tokens at least this likely, relative to the best.", rich_help_panel=_SAMPLING)
]
Seed = Annotated[int, typer.Option(help="Seed of all draws.", rich_help_panel=_SAMPLING)]
Threads = Annotated[
    int | None, typer.Option(min=1, help="CPU threads; 1 for the bundled pair, which is too small for more.")
]
Dtype = Annotated[
    str | None,
    typer.Option(help="Number format of the weights: float32, bfloat16 or float16; what suits model and device."),
]
Device = Annotated[
    str | None,
    typer.Option(
        help="auto (the default: an accelerator if there is one), cpu, cuda, cuda:1, mps, xpu, or spread: over several."
    ),
]
Weights = Annotated[
    str,
    typer.Option(
        help="decoded, or coded: keep the weights of a checkpoint of laconic compress-weights as they are stored, and "
        "decode them layer by layer in every pass; less memory, slower passes."
    ),
]
LoraScale = Annotated[
    float | None,
    typer.Option(
        "--lora-scale",
        help="The strength of a model that is an adapter: 0 is its base, 1 the adapter as saved; any number.",
    ),
]
_WORDS = "Prompt"
Format = Annotated[
    str | None,
    typer.Option(
        "--format",
        help="How the model writes its thought, where its chat template does not say: a family (think, gpt-oss, "
        "gemma-4, magistral ...), its tags as OPEN,CLOSE, or none.",
        rich_help_panel=_WORDS,
    ),
]
System = Annotated[
    str | None, typer.Option("--system", help="What the system says before the question.", rich_help_panel=_WORDS)
]
Template = Annotated[
    list[str] | None,
    typer.Option(
        "--template",
        "-T",
        help="KEY=VALUE, a keyword for the chat template (reasoning_effort=high); may be said several times.",
        rich_help_panel=_WORDS,
    ),
]
Url = Annotated[
    str | None,
    typer.Option(
        help="An OpenAI-compatible server, e.g. http://127.0.0.1:8000/v1, that runs the model. LACONIC_API_KEY holds "
        "its key.",
    ),
]
Server = Annotated[
    list[str] | None,
    typer.Option(
        metavar="KEY=VALUE",
        help="With --url or --upstream, how it is asked: send=text (where it takes no token ids), logprobs=5, "
        "piece=64, ahead=no, extras=no, timeout=60, retries=0. May be given several times.",
    ),
]
Tokenizer = Annotated[
    str | None,
    typer.Option(help="With --url or --upstream: path or hub name of the model's tokenizer, if not the model's name."),
]
OwnTemperature = Annotated[
    float | None, typer.Option(help="0 is greedy. Default: the checkpoint's own.", rich_help_panel=_SAMPLING)
]
OwnTopK = Annotated[
    int | None,
    typer.Option(
        "--top-k",
        help="Keep the k likeliest tokens; 0 keeps all. Default: the checkpoint's.",
        rich_help_panel=_SAMPLING,
    ),
]
OwnTopP = Annotated[
    float | None,
    typer.Option(
        "--top-p", help="Keep this much probability; 1 keeps all. Default: the checkpoint's.", rich_help_panel=_SAMPLING
    ),
]
OwnMinP = Annotated[
    float | None,
    typer.Option(
        "--min-p",
        help="Keep tokens at least this likely, relative to the best. Default: the checkpoint's.",
        rich_help_panel=_SAMPLING,
    ),
]
RepetitionPenalty = Annotated[
    float | None,
    typer.Option(
        help="Make tokens that stood before less likely by this factor; 1 is none. Default: the checkpoint's.",
        rich_help_panel=_SAMPLING,
    ),
]
AnswerRoom = Annotated[
    int | None,
    typer.Option(
        "--answer-room",
        min=0,
        help="Tokens kept for the answer, before which a thought is ended. Default: a quarter of the limit, at most "
        "256; 0 leaves thoughts alone.",
        rich_help_panel=_SAMPLING,
    ),
]
OwnMaxTokens = Annotated[
    int | None,
    typer.Option(
        "--max-tokens",
        help="Most tokens after the prompt. Default: the checkpoint's own limit, else 32768, within its context.",
        rich_help_panel=_SAMPLING,
    ),
]
KV = Annotated[
    str | None,
    typer.Option(
        "--kv",
        help="What of the past stays in the cache: snapkv:budget=1024, quantised:[kivi:bits=4] ... or full.",
        rich_help_panel=_METHODS,
    ),
]
KVBudget = Annotated[
    str | None,
    typer.Option(
        "--kv-budget",
        help="Most memory that a request's cache may take: 512MB, 2GiB. What goes --kv says, or else snapkv.",
        rich_help_panel=_METHODS,
    ),
]
MaxTokens = Annotated[int, typer.Option(help="Most tokens after the prompt.", rich_help_panel=_SAMPLING)]


@dataclass(frozen=True, slots=True)
class Choice:
    """What was said about methods. None is "not said", and leaves the default."""

    drafter: str | None = None
    length: str | None = None
    shape: str | None = None
    verifier: str | None = None
    think: str | None = None
    exit: str | None = None
    budget: int | None = None
    kv: str | None = None
    kv_budget: str | None = None

    def methods(
        self,
        model: str,
        draft: str | None,
        *,
        thinking: bool = True,
        base: dict[str, Any] | None = None,
        spoken: dict[str, Any] | None = None,
    ) -> Methods:
        """The default for this model, with what a file (``base``) and the command line said in its place.

        ``thinking`` False leaves out every controller; ``spoken`` is what :func:`spoken` gives. Raises MethodError
        subclasses; reads the model's tokenizer alone, to know whether it thinks.
        """
        from laconic.models.load import load_text

        from .defaults import default

        thinks = thinking and load_text(model, **(spoken or {})).format.thinks
        chosen = default(draft_model=draft is not None or model == "bundled", thinking=thinks)
        if base:
            chosen = replace(chosen, **base)
        named = {name: getattr(self, name) for name in ("drafter", "length", "shape", "verifier", "kv")}
        said: dict[str, Any] = {name: spec for name, spec in named.items() if spec is not None}
        if draft is not None and self.drafter is None and "drafter" not in (base or {}):
            said = {"drafter": "draft-model"} | said
        if self.drafter is not None and self.drafter != chosen.drafter:
            # The default's length and shape were chosen for its own drafter and may not suit another one.
            said = {"length": "constant:8", "shape": "chain"} | said
        if self.kv_budget is not None:
            said["kv_budget"] = nbytes(self.kv_budget)
        controllers = self.controllers(chosen.think) if thinking else ()
        made = replace(chosen, **said, think=controllers)
        plan = made.plan()  # a misspelt name is found before any model is loaded
        unheard = [name for name in ("length", "shape") if getattr(self, name) is not None]
        if plan.drafter.choices and unheard:
            raise MethodError(
                f"'{plan.drafter.name}' decides lengths and shapes itself, so --{unheard[0]} would not be heard.",
                "Say it in the arms: drafter@length@shape.",
            )
        return made

    def controllers(self, default: tuple[Any, ...]) -> tuple[Any, ...]:
        """What was said about thinking, or else ``default``."""
        if self.think is not None:
            default = split(self.think)
        if self.exit is not None:
            default = split(self.exit)
        return default if self.budget is None else (f"budget:{self.budget}", *default)


_UNITS = {"": 1, "B": 1} | {
    f"{prefix}{unit}": base**power
    for power, prefix in enumerate("KMGT", start=1)
    for unit, base in (("B", 1000), ("iB", 1024), ("", 1024))
}


def nbytes(said: str) -> int:
    """A number of bytes as people write it: 512MB, 1.5GiB, 4096. Raises RequestError for anything else."""
    number = said.strip().rstrip("BiKMGTkmgtb ")
    unit = said.strip()[len(number) :].strip()
    known = {name.lower(): factor for name, factor in _UNITS.items()}
    try:
        found = int(float(number) * known[unit.lower()])
    except (ValueError, KeyError, OverflowError):
        found = 0
    if found <= 0:
        raise RequestError(f"'{said}' is no amount of memory.", "Say a number with its unit, like 512MB or 2GiB.")
    return found


@dataclass(frozen=True, slots=True)
class Chosen:
    """Model, draft model, number format and methods of a run: the command line's, else a file's, else the default."""

    model: str
    draft: str | None
    dtype: torch.dtype | None
    methods: Methods
    device: str = "auto"


def choose(
    choice: Choice,
    config: Path | None,
    model: str | None,
    draft: str | None,
    dtype: str | None,
    device: str | None = None,
    *,
    thinking: bool = True,
    spoken: dict[str, Any] | None = None,
) -> Chosen:
    """Put together what was said. Raises ConfigError, MethodError subclasses and RequestError."""
    from laconic.config import Config, load

    said = load(config) if config is not None else Config()
    other_model = model is not None and model != said.model
    model = _first(model, said.model, "bundled")
    # A file's draft model belongs to the file's model.
    draft = _first(draft, None if other_model else said.draft_model)
    methods = choice.methods(model, draft, thinking=thinking, base=said.methods.said(), spoken=spoken)
    return Chosen(model, draft, named_dtype(_first(dtype, said.dtype)), methods, _first(device, said.device, "auto"))


@overload
def _first(said: str | None, fallback: str | None, default: str) -> str: ...
@overload
def _first(said: str | None, fallback: str | None, default: None = None) -> str | None: ...
def _first(said: str | None, fallback: str | None, default: str | None = None) -> str | None:
    """The first that was said; an empty word is a word, and is refused as such by whoever reads it."""
    return next((word for word in (said, fallback) if word is not None), default)


def spoken(format: str | None, system: str | None, template: list[str] | None) -> dict[str, Any]:
    """How the model is spoken to, as ``Engine.load`` takes it; what was not said is left out. Raises RequestError."""
    from laconic.models.formats.named import named

    said: dict[str, Any] = {} if format is None else {"format": named(format)}
    if system is not None:
        said["system"] = system
    for pair in template or ():
        try:
            key, value = keyword(pair)
        except ValueError as error:
            raise RequestError(f"'{pair}' is no keyword of a chat template.", "Say -T KEY=VALUE.") from error
        said.setdefault("keywords", {})[key] = value
    return said


def keyword(pair: str) -> tuple[str, Any]:
    """A key and its value, out of KEY=VALUE. Raises ValueError."""
    key, equals, value = pair.partition("=")
    if not key or not equals:
        raise ValueError(pair)
    return key, _value(value)


def _value(text: str) -> Any:
    """A number, a truth value or whatever else JSON writes; other text as it is."""
    try:
        return json.loads(text)
    except ValueError:
        return {"True": True, "False": False}.get(text, text)


def sampled(default: Sampling, **said: Any) -> Sampling:
    """The default sampling with what was said in its place; None is "not said"."""
    return replace(default, **{name: value for name, value in said.items() if value is not None})


_DTYPES = ("float32", "bfloat16", "float16")


def named_dtype(name: str | None) -> torch.dtype | None:
    """A number format by its name; None stays None. Raises RequestError."""
    import torch

    if name is None:
        return None
    if name not in _DTYPES:
        raise RequestError(f"no number format is called '{name}'.", did_you_mean(name, _DTYPES))
    made: torch.dtype = getattr(torch, name)
    return made


def to_config(model: str, draft_model: str | None, dtype: str | None, methods: Methods) -> Config:
    """A configuration file's content; every method must be given by its spec string."""
    from laconic.config import Config, MethodsTable

    fields = {name: getattr(methods, name) for name in MethodsTable.model_fields}
    table = MethodsTable.model_validate(fields)
    return Config.model_validate({"model": model, "draft_model": draft_model, "dtype": dtype, "methods": table})


def split(specs: str) -> tuple[str, ...]:
    """Controllers joined by ``+``, outside brackets; ``none`` is no controller. Raises InvalidKnob for empty ones.

    >>> split("budget:256+answer-confidence:patience=2")
    ('budget:256', 'answer-confidence:patience=2')
    """
    if specs.strip() == "none":
        return ()
    try:
        parts = joined(specs)
    except InvalidKnob as error:
        message = error.message.replace("an empty spec", "an empty controller")
        raise InvalidKnob(message, "Join controllers with '+', or say 'none'.") from None
    if not parts:
        raise InvalidKnob("an empty list of controllers.", "Join controllers with '+', or say 'none'.")
    return parts


def settle(threads: int | None, model: str) -> None:
    """Set the number of CPU threads, and keep off the screen what tells a user nothing (see cli.quiet)."""
    import torch

    from .quiet import quiet

    quiet()
    if threads is not None or model == "bundled":
        torch.set_num_threads(threads or 1)
