"""A method, described from its class alone: card, needs, knobs and the first line of its docstring.

Most methods' modules import PyTorch, which takes seconds. So the descriptions of the built-in ones are also kept in a
file, ``methods.json``, which ``scripts/method_pages.py`` writes from the registry and ``make docs`` holds to it.
"""

from __future__ import annotations

import ast
import inspect
import json
import textwrap
import types
from collections.abc import Iterable
from dataclasses import MISSING, Field
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from laconic.policy import Family, Needs, Policy, ordered, registry

INDEX = Path(__file__).parent.parent / "methods.json"
"""What :func:`describe` says of every built-in method, in the registry's order."""

_BOUNDS = (("gt", ">"), ("ge", ">="), ("lt", "<"), ("le", "<="))


def known(families: Iterable[Family]) -> list[dict[str, Any]]:
    """The descriptions of all registered methods of these families, by name; no method's module is imported for it.

    A method that was registered by somebody else than ``laconic.methods`` is imported and described from its class.
    """
    kept = {(about["family"], about["name"]): about for about in json.loads(INDEX.read_text(encoding="utf-8"))}
    return [
        kept.get((family, name)) or describe(family, name, registry.get(family, name))
        for family in families
        for name in registry.names(family)
    ]


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
