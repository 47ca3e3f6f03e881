"""Whether checkpoints can be merged: what must be the same in all of them, and what is only told where it is not."""

from __future__ import annotations

from typing import Any

from laconic.errors import MergeError, TokenizerMismatch
from laconic.models.formats.template import source
from laconic.models.load import load_defaults, load_text
from laconic.training.merging.checkpoint import Checkpoint

_SAME = (
    "model_type",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "hidden_act",
    "layer_types",
    "tie_word_embeddings",
)
"""Entries of a configuration under which the same weights mean other things."""
_ASIDE = ("_name_or_path", "architectures", "transformers_version", "dtype", "torch_dtype", "use_cache")
"""Entries that say nothing of what a model computes."""
_SHAPES = "Merging takes checkpoints that were trained from one base, without changing its shape."


def check(reference: Checkpoint, other: Checkpoint) -> list[str]:
    """Refuse to merge two checkpoints that do not go together; what else differs is told, a line each.

    Raises MergeError naming entries of the configuration, tensors or shapes, TokenizerMismatch for vocabularies, and
    what ``load_text`` and ``load_defaults`` do. What differs and is told, ``reference`` decides.
    """
    told = _configs(reference, other)
    check_tensors(reference, other)
    one, two = load_text(reference.name).tokenizer, load_text(other.name).tokenizer
    told += _vocabularies(reference, other, one, two)
    if source(one) != source(two):
        told.append("chat template")
    if load_defaults(reference.name) != load_defaults(other.name):
        told.append("generation config")
    return [f"'{other.name}' has another {what}; that of '{reference.name}' is written" for what in told]


def _configs(reference: Checkpoint, other: Checkpoint) -> list[str]:
    one, two = (_entries(checkpoint) for checkpoint in (reference, other))
    differing = [key for key in dict.fromkeys((*one, *two)) if one.get(key) != two.get(key)]
    for key in _SAME:
        if key in differing:
            raise MergeError(
                f"'{reference.name}' and '{other.name}' are of different architectures: {key} is {one.get(key)} in one "
                f"and {two.get(key)} in the other.",
                _SHAPES,
            )
    shaped = ("hidden_size", "intermediate_size", "vocab_size")  # their tensors are named instead
    return [key for key in differing if key not in (*_ASIDE, *shaped)]


def _entries(checkpoint: Checkpoint) -> dict[str, Any]:
    said: dict[str, Any] = checkpoint.config.to_dict()
    text = said.pop("text_config", None) or {}
    return {**said, **text}


def check_tensors(reference: Checkpoint, other: Checkpoint) -> None:
    """Raise MergeError where two checkpoints hold other tensors, or others of shape; all are told at once."""
    faults = [
        f"{len(names)} {what}: {', '.join(sorted(names)[:3])}{' ...' if len(names) > 3 else ''}"
        for names, what in (
            (reference.shapes.keys() - other.shapes.keys(), f"only in '{reference.name}'"),
            (other.shapes.keys() - reference.shapes.keys(), f"only in '{other.name}'"),
        )
        if names
    ]
    odd = [name for name, shape in reference.shapes.items() if other.shapes.get(name, shape) != shape]
    if odd:
        sizes = f"{list(reference.shapes[odd[0]])} and {list(other.shapes[odd[0]])}"
        faults.append(f"{len(odd)} of different shapes: {odd[0]} is {sizes}")
    if faults:
        raise MergeError(f"the tensors of '{reference.name}' and '{other.name}' differ; {'; '.join(faults)}.", _SHAPES)


def _vocabularies(reference: Checkpoint, other: Checkpoint, one: Any, two: Any) -> list[str]:
    """Ordinary tokens must be the same; those that were added later may differ, and the first few are told."""
    (first, own), (second, theirs) = _tokens(one), _tokens(two)
    differing = sorted(token for token in first.keys() | second.keys() if first.get(token) != second.get(token))
    for token in differing:
        if (token in first and token not in own) or (token in second and token not in theirs):
            raise TokenizerMismatch(
                f"'{reference.name}' and '{other.name}' have different vocabularies: token {token} is "
                f"{first.get(token)!r} in one and {second.get(token)!r} in the other.",
                "Rows of their embeddings stand for different words.",
            )
    shown = ", ".join(f"{token}: {second.get(token)!r}" for token in differing[:3])
    return [f"set of added tokens ({shown}{' ...' if len(differing) > 3 else ''})"] if differing else []


def _tokens(tokenizer: Any) -> tuple[dict[int, str], set[int]]:
    """Tokens by id, and the ids of those added to the vocabulary that was learned."""
    return {i: word for word, i in tokenizer.get_vocab().items()}, set(tokenizer.get_added_vocab().values())
