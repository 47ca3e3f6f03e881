"""What a method is: frozen knobs, a card, its needs, and a name in the registry.

A method class is decorated with :func:`knobs`, which makes it a frozen, validated dataclass that refuses unknown
knobs. What changes during a request lives in the state that its ``start`` returns. A *spec* string names a
method everywhere (command line, TOML, HTTP)::

    svip                        the method with its defaults
    svip:threshold=0.3          a knob by name
    constant:5                  the first knob by position
    suffix:fallback=[draft-model]   a method as a knob, in brackets
    cascade:hard=[budget:64+settled]    several methods as a knob, joined by +; [] is none
    hybrid:[suffix]+[prompt-lookup]     the same, each in brackets of its own
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, fields
from typing import Any, ClassVar, Literal, TypeVar, cast, dataclass_transform, get_args

from laconic.errors import InvalidKnob, MethodError, UnknownKnob, UnknownMethod, did_you_mean

Family = Literal[
    "drafter",
    "length",
    "shape",
    "verifier",
    "transform",
    "relaxation",
    "think",
    "memory",
    "scaling",
    "judge",
    "collaboration",
    "kv",
    "allocator",
    "merger",
    "codec",
    "reward",
    "plan",
    "trace",
    "sufficiency",
    "selector",
]
FAMILIES: tuple[Family, ...] = get_args(Family)


@dataclass(frozen=True, slots=True)
class Card:
    """Where a method comes from. ``catalogue`` are the project's paper ids, ``arxiv`` names classics outside it.

    ``lossless`` is a promise that the contract tests hold the method to: greedy output equals plain decoding
    token for token, sampled output has the target's distribution. ``timed`` says that it decides by measured times:
    drafts then differ from run to run, and with them which sample of that distribution a seed gives.
    """

    paper: str
    lossless: bool
    timed: bool = False
    catalogue: tuple[int, ...] = ()
    arxiv: str = ""


@dataclass(frozen=True, slots=True)
class Needs:
    """What a method must be given. The engine checks it before a run and says what is missing."""

    draft_model: bool = False
    """A second, smaller model with the target's vocabulary."""
    draft_distribution: bool = False
    """A drafter that knows the distribution of each token it proposes."""
    expand: bool = False
    """A drafter that can grow a tree: it scores any node it is asked about."""
    thinking: bool = False
    """A model with a thinking phase, i.e. known opening and closing tags."""
    draft_hidden: bool = False
    """A drafter that is a model and shows its hidden state at every node."""
    target_hidden: bool = False
    """A target that shows the hidden states behind its logits."""
    target_layers: bool = False
    """A target that shows what its layers put out, token by token; which ones, Drafter.reads_layers says."""
    target_parts: bool = False
    """A target that makes passes through part of its layers. Drafters alone: they draft with the target itself."""
    target_rows: bool = False
    """A target that shows its logits. Drafters alone: they then hear of every round, with the target's rows."""
    probabilities: bool = False
    """Probabilities of what a probe finds: every model that laconic runs has them, a server may not."""
    chances: bool = False
    """How likely the model found every token that it wrote. A server that gives probabilities tells this, too."""
    reducible_cache: bool = False
    """A target of whose cache part can be kept without the rest: one that runs on laconic's slot cache."""
    steerable: bool = False
    """A target whose residual stream can be pushed."""


@dataclass(frozen=True)
class Policy:
    """Base of every method. Instances hold knobs only and are shared by all requests."""

    card: ClassVar[Card]
    needs: ClassVar[Needs] = Needs()
    name: ClassVar[str] = ""
    parts: ClassVar[Mapping[str, Family]] = {}
    """Families of knobs that are methods of another family than this one."""
    several: ClassVar[frozenset[str]] = frozenset()
    """Knobs that hold any number of methods, as a tuple: in brackets, joined by ``+``."""
    files: ClassVar[frozenset[str]] = frozenset()
    """Knobs that name a file or folder of this machine, which no stranger may have opened."""
    patterns: ClassVar[frozenset[str]] = frozenset()
    """Knobs that are regular expressions: a stranger's may take for ever, and nothing else would run meanwhile."""
    hints: ClassVar[Mapping[str, str]] = {}
    """What to do about a knob that is missing or refused, by its name."""

    @classmethod
    def required(cls) -> list[str]:
        """Knobs without a default: a bare name is no spec of a method that has any."""
        return [f.name for f in fields(cls) if f.default is MISSING and f.default_factory is MISSING]

    def suits(self, target: Any, draft_model: Any) -> None:
        """Raise a MethodError if this policy was made for other models than these; asked before a run."""

    @property
    def lossless(self) -> bool:
        """Whether the policy promises, with all policies among its knobs, what its card says of it alone."""
        return self.card.lossless and all(policy.lossless for policy in self.within_knobs())

    def spec(self) -> str:
        """The spec string that rebuilds this policy; knobs at their default are left out."""
        changed = [f"{f.name}={self._shown(f.name)}" for f in ordered(self) if not _at_default(self, f)]
        return self.name + (":" + ",".join(changed) if changed else "")

    def _shown(self, knob: str) -> str:
        value = getattr(self, knob)
        return f"[{'+'.join(policy.spec() for policy in value)}]" if knob in self.several else _show(value)

    def report(self) -> dict[str, Any] | None:
        """What the policy has learned while it served, ready for JSON; None from those with nothing to tell.

        ``says`` is a sentence for people. What ``laconic run`` and ``compare`` show and record.
        """
        return None

    def walk(self) -> Iterator[Policy]:
        """This policy and every policy among its knobs, depth first."""
        yield self
        for policy in self.within_knobs():
            yield from policy.walk()

    def within_knobs(self) -> Iterator[Policy]:
        """The policies that are this one's knobs, not those of theirs."""
        for f in fields(self):
            value = getattr(self, f.name)
            yield from (each for each in (value if f.name in self.several else (value,)) if isinstance(each, Policy))


def _at_default(policy: Policy, f: Field[Any]) -> bool:
    default = f.default_factory() if f.default_factory is not MISSING else f.default
    return default is not MISSING and getattr(policy, f.name) == default


def _show(value: Any) -> str:
    if isinstance(value, tuple):
        return "/".join(map(_show, value))
    return f"[{value.spec()}]" if isinstance(value, Policy) else str(value)


T = TypeVar("T")
P = TypeVar("P", bound=Policy)


@dataclass_transform(frozen_default=True)
def knobs(cls: type[T]) -> type[T]:
    """Make ``cls`` a frozen, validated dataclass that refuses unknown knobs and values of the wrong type."""
    import pydantic  # here and not above: names and cards are listed without it
    from pydantic.dataclasses import dataclass as pydantic_dataclass

    config = pydantic.ConfigDict(extra="forbid", arbitrary_types_allowed=True)
    return cast("type[T]", pydantic_dataclass(frozen=True, config=config)(cls))


def ordered(policy: Policy | type[Policy]) -> list[Field[Any]]:
    """The knobs in the order in which a spec may give them without their names; keyword-only ones come last."""
    return sorted(fields(policy), key=lambda knob: bool(knob.kw_only))


class Registry:
    """Names of methods by family, each pointing to ``"module:Class"``, imported when first used."""

    def __init__(self) -> None:
        self._targets: dict[Family, dict[str, str]] = {family: {} for family in FAMILIES}
        self._classes: dict[tuple[Family, str], type[Policy]] = {}

    def register(self, family: Family, name: str, target: str) -> None:
        """Add ``name`` to ``family``. ``target`` is ``"package.module:Class"``.

        Raises MethodError if the name is taken by another class.
        """
        if self._targets[family].setdefault(name, target) != target:
            raise MethodError(f"{family} '{name}' is already {self._targets[family][name]}.")

    def names(self, family: Family) -> list[str]:
        """The registered names of a family, sorted."""
        return sorted(self._targets[family])

    def get(self, family: Family, name: str) -> type[Policy]:
        """The class behind a name. Raises UnknownMethod with the nearest known name."""
        if name not in self._targets[family]:
            raise UnknownMethod(f"no {family} is called '{name}'.", did_you_mean(name, self._targets[family]))
        if (family, name) not in self._classes:
            module, _, attribute = self._targets[family][name].partition(":")
            cls = cast("type[Policy]", getattr(importlib.import_module(module), attribute))
            cls.name = name
            self._classes[family, name] = cls
        return self._classes[family, name]

    def all(self) -> Iterator[tuple[Family, str, type[Policy]]]:
        """Every registered method, by family and name."""
        for family in FAMILIES:
            for name in self.names(family):
                yield family, name, self.get(family, name)

    def build(self, family: Family, spec: str | Policy, *, files: bool = True) -> Policy:
        """Build a policy from a spec string; a policy passes through unchanged.

        Without ``files``, specs are taken from strangers: knobs that name a file, and regular expressions, are refused
        before anything is opened or tried.
        Raises UnknownMethod, UnknownKnob or InvalidKnob, each naming what was wrong.
        """
        if isinstance(spec, Policy):
            return spec
        name, _, rest = spec.strip().partition(":")
        cls = self.get(family, name)
        known = [f.name for f in ordered(cls)]
        values: dict[str, Any] = {}
        for index, part in enumerate(split(rest)):
            knob, equals, value = part.partition("=")
            if not equals or "[" in knob:
                if index >= len(known):
                    raise UnknownKnob(f"'{name}' takes no value '{part}'.", did_you_mean(part, known))
                knob, value = known[index], part
            knob = knob.strip().replace("-", "_")
            if knob not in known:
                raise UnknownKnob(f"'{name}' has no knob '{knob}'.", did_you_mean(knob, known) if known else "")
            if knob in cls.files and not files:
                raise InvalidKnob(f"'{name}', knob '{knob}' names a file, which no request may.", "Leave it out.")
            if knob in cls.patterns and not files:
                raise InvalidKnob(f"'{name}', knob '{knob}' is a pattern, which no request may give.", "Leave it out.")
            inner = cls.parts.get(knob, family)
            value = value.strip()
            if knob in cls.several and value.startswith("["):
                specs = joined(value[1:-1] if bracketed(value) else value)
                each = [spec[1:-1] if bracketed(spec) else spec for spec in specs]
                values[knob] = tuple(self.build(inner, spec, files=files) for spec in each)
            elif not bracketed(value):
                values[knob] = value
            else:
                values[knob] = self.build(inner, value[1:-1], files=files)
        return construct(cls, values)


def construct(cls: type[P], values: dict[str, Any]) -> P:
    """Call ``cls(**values)``, turning validation errors into InvalidKnob or UnknownKnob."""
    import pydantic

    try:
        return cls(**values)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        knob = ".".join(str(part) for part in first["loc"])
        if first["type"] == "unexpected_keyword_argument":
            names = [f.name for f in fields(cls)]
            raise UnknownKnob(f"'{cls.name}' has no knob '{knob}'.", did_you_mean(knob, names)) from None
        given = f" (given {first.get('input')!r})" if first["type"] != "missing" else ""
        raise InvalidKnob(f"'{cls.name}', knob '{knob}': {first['msg']}{given}.", cls.hints.get(knob, "")) from None


def bracketed(text: str) -> bool:
    """Whether ``text`` is one pair of brackets and what is between them; ``[a]@[b]`` is not."""
    depth = 0
    for at, char in enumerate(text):
        depth += (char == "[") - (char == "]")
        if depth <= 0:
            return char == "]" and at == len(text) - 1
    return False


def split(text: str, by: str = ",") -> list[str]:
    """Split ``a=1,b=[x:y=2,z=3]`` at the commas outside brackets. Raises InvalidKnob if these do not match."""
    parts, depth, start = [], 0, 0
    for i, char in enumerate(text):
        depth += (char == "[") - (char == "]")
        if char == by and depth == 0:
            parts.append(text[start:i])
            start = i + 1
    if depth != 0:
        raise InvalidKnob(f"brackets do not match in '{text}'.")
    return [*parts, text[start:]] if text else []


def joined(specs: str) -> tuple[str, ...]:
    """Specs joined by ``+``, outside brackets; nothing is no spec. Raises InvalidKnob for empty ones among others.

    >>> joined("budget:256+answer-confidence:patience=2")
    ('budget:256', 'answer-confidence:patience=2')
    """
    parts = tuple(part.strip() for part in split(specs.strip(), "+"))
    if not all(parts):
        raise InvalidKnob(f"an empty spec in '{specs}'.", "Put a method's spec on both sides of every '+'.")
    return parts


registry = Registry()
"""The registry that ``laconic.methods`` fills; plug-ins may add to it with ``registry.register``."""
