"""A method, described from its class alone: card, needs, knobs and the first line of its docstring."""

from __future__ import annotations

import ast
import inspect
import textwrap
import types
from dataclasses import MISSING, Field
from itertools import pairwise
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from laconic.policy import Needs, Policy, ordered

_BOUNDS = (("gt", ">"), ("ge", ">="), ("lt", "<"), ("le", "<="))


def describe(family: str, name: str, cls: type[Policy]) -> dict[str, Any]:
    """Everything that a reader, a docs page or a form needs to know; ready for JSON, keys in a fixed order."""
    hints = get_type_hints(cls, include_extras=True)
    notes = knob_docs(cls)
    return {
        "family": family,
        "name": name,
        "summary": (inspect.getdoc(cls) or "").partition("\n")[0],
        "paper": cls.card.paper,
        "catalogue": list(cls.card.catalogue),
        "arxiv": cls.card.arxiv,
        "lossless": cls.card.lossless,
        "needs": [need for need in Needs.__dataclass_fields__ if getattr(cls.needs, need)],
        "knobs": [
            {
                "name": knob.name,
                "type": type_name(hints[knob.name]),
                "required": _required(knob),
                "default": _default(knob, knob.name in cls.several),
                "doc": notes.get(knob.name, ""),
            }
            for knob in ordered(cls)
        ],
    }


def type_name(hint: Any) -> str:
    """A type as a person would write it, with its bounds.

    >>> type_name(int | None), type_name(Literal["mean", "min"])
    ('int or none', 'mean | min')
    """
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        bounds = _bounds(arguments[1:])
        return f"{type_name(arguments[0])} {bounds}".rstrip()
    if origin is Literal:
        return " | ".join(map(str, arguments))
    if origin in (Union, types.UnionType):
        return " or ".join(type_name(part) for part in arguments)
    if origin is tuple:
        return f"list of {type_name(arguments[0])}"
    if hint is type(None):
        return "none"
    if isinstance(hint, type) and issubclass(hint, Policy):
        return "method"
    return str(getattr(hint, "__name__", hint))


def _bounds(notes: tuple[Any, ...]) -> str:
    found = []
    for note in notes:
        for part in (note, *getattr(note, "metadata", ())):
            found += [f"{sign} {getattr(part, key)}" for key, sign in _BOUNDS if getattr(part, key, None) is not None]
    return ", ".join(dict.fromkeys(found))


def _required(knob: Field[Any]) -> bool:
    return knob.default is MISSING and knob.default_factory is MISSING


def _default(knob: Field[Any], several: bool) -> Any:
    value = knob.default_factory() if knob.default_factory is not MISSING else knob.default
    if value is MISSING:
        return None
    if isinstance(value, Policy):
        return value.spec()
    if isinstance(value, tuple):
        return f"[{'+'.join(part.spec() for part in value)}]" if several else "/".join(map(str, value))
    return value if isinstance(value, (bool, int, float, str, type(None))) else str(value)


def knob_docs(cls: type) -> dict[str, str]:
    """The string written below each knob, in its class or in one that it builds on; nothing without a source."""
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        found |= _docs_in(base)
    return found


def _docs_in(cls: type) -> dict[str, str]:
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(cls)))
    except (OSError, TypeError, SyntaxError):
        return {}
    body = tree.body[0].body if tree.body and isinstance(tree.body[0], ast.ClassDef) else []
    found = {}
    for at, below in pairwise(body):
        match at, below:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                found[name] = " ".join(text.split())
    return found
