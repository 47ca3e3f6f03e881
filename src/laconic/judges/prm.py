"""Process reward models: checkpoints whose head says of every step whether it is right."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from laconic.errors import ModelNotFound, RequestError, UnsupportedModel
from laconic.judges.base import Bound, Judge, asked_of, checked
from laconic.models.text import Message
from laconic.policy import Card, knobs

if TYPE_CHECKING:
    from laconic.engine import Engine

_EXTRA = "<extra_0>"
"""Qwen's mark at the end of a step."""
_SYSTEM = r"Please reason step by step, and put your final answer within \boxed{}."
"""What Qwen's process reward models were trained with."""
_EMBEDDING = "embed_tokens.weight"
Head = Callable[[Tensor], Tensor]
"""Last hidden states ``[steps, width]`` to chances that the steps are right, ``[steps]``."""


@knobs
class PRM(Judge):
    """What a process reward model says of the steps: of the last one, of the worst, or of all multiplied.

    Three kinds of checkpoint are read, told apart by the names of their head's weights; code that comes with them is
    never run. Qwen2.5-Math-PRM (Zhang et al. 2025): a network of two layers on the hidden state of ``<extra_0>`` behind
    every step, two classes. Skywork-o1-Open-PRM: one output at the last token of each line, through a sigmoid. And
    token classifiers of two labels, as TRL's PRMTrainer makes them: at the separator behind every step.
    """

    card = Card(paper="The Lessons of Developing Process Reward Models", lossless=False, arxiv="2501.07301")
    files = frozenset({"path"})

    path: Annotated[str, Field(min_length=1)]
    """The checkpoint's folder."""
    by: Literal["last", "min", "product"] = "last"
    """What of the steps' scores counts."""
    separator: str = "\n"
    """What a token classifier was trained to judge a step at."""

    def bind(self, engine: Engine) -> Bound:
        """Load the checkpoint. Raises ModelNotFound or UnsupportedModel for what is none."""
        return _PRM(self, *_loaded(Path(self.path)))


@dataclass(frozen=True, slots=True)
class _PRM:
    judge: PRM
    model: Any
    tokenizer: Any
    head: Head
    kind: Literal["extra", "line", "classifier"]

    def score(self, question: Sequence[Message], steps: Sequence[str]) -> float:
        """One reading of question and steps."""
        written = [step.strip() for step in steps if step.strip()]
        if not written:
            raise RequestError("there is no step to judge.")
        tokens, ends = self._laid_out(asked_of(question), written)
        most = getattr(self.model.config, "max_position_embeddings", None)
        if most is not None and len(tokens) > most:
            raise RequestError(
                f"{len(tokens)} tokens are more than the judge's context of {most}.", "Shorten the steps."
            )
        with torch.inference_mode():
            ids = torch.tensor([tokens], device=self.model.device)
            hidden = self.model(input_ids=ids, use_cache=False).last_hidden_state[0, ends]
            scores = self.head(hidden).float().tolist()
        found = {"last": scores[-1], "min": min(scores), "product": math.prod(scores)}[self.judge.by]
        return checked(self.judge.name, found)

    def _laid_out(self, question: str, steps: Sequence[str]) -> tuple[list[int], list[int]]:
        """Tokens as the model was trained to read them, and where each step is judged."""
        encode = self.tokenizer.encode
        if self.kind == "extra":
            said = [
                {"role": "system", "content": _SYSTEM},
                {"role": "user", "content": question},
                {"role": "assistant", "content": _EXTRA.join(steps) + _EXTRA},
            ]
            text = self.tokenizer.apply_chat_template(said, tokenize=False, add_generation_prompt=False)
            tokens, mark = encode(text, add_special_tokens=False), self.tokenizer.convert_tokens_to_ids(_EXTRA)
            return tokens, [at for at, token in enumerate(tokens) if token == mark][-len(steps) :]
        if self.kind == "line":
            begin = (self.tokenizer.bos_token or "") + question + "\n"
            tokens, separator = encode(begin, add_special_tokens=False), "\n"
            steps = [" ".join(step.split("\n")) for step in steps]
        else:
            tokens, separator = encode(question + "\n", add_special_tokens=False), self.judge.separator
        end, ends = encode(separator, add_special_tokens=False)[-1:], []
        for step in steps:
            tokens = [*tokens, *encode(step, add_special_tokens=False), *end]
            ends.append(len(tokens) - 1)
        return tokens, ends

    def close(self) -> None:
        """Nothing but memory is held."""


def _loaded(path: Path) -> tuple[Any, Any, Head, Literal["extra", "line", "classifier"]]:
    """Backbone, tokenizer and head of a checkpoint."""
    from transformers import AutoConfig, AutoModel, AutoTokenizer

    files = sorted(path.glob("*.safetensors")) if path.is_dir() else []
    if not files or not (path / "config.json").is_file():
        raise ModelNotFound(f"'{path}' is no folder with a config.json and safetensors.", "Name a checkpoint's folder.")
    weights = _read(files)
    config = AutoConfig.from_pretrained(path, trust_remote_code=False)
    head, kind = _head(path, weights)
    prefix = next((name[: -len(_EMBEDDING)] for name in weights if name.endswith(_EMBEDDING)), None)
    if prefix is None:
        raise UnsupportedModel(f"'{path}' has no {_EMBEDDING}, so its backbone cannot be told.", "Use another judge.")
    body = {name[len(prefix) :]: weight for name, weight in weights.items() if name.startswith(prefix)}
    body = {name: weight for name, weight in body.items() if not name.startswith(("score.", "v_head.", "lm_head."))}
    model = AutoModel.from_config(config, dtype=next(iter(body.values())).dtype)
    missing, unexpected = model.load_state_dict(body, strict=False)
    if missing or unexpected:
        raise UnsupportedModel(
            f"'{path}' is no whole {config.model_type}: missing {missing[:3]}, unknown {unexpected[:3]}.",
            "Fetch it again, or use another judge.",
        )
    return model.eval(), AutoTokenizer.from_pretrained(path, trust_remote_code=False), head, kind


def _read(files: Sequence[Path]) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    weights: dict[str, Tensor] = {}
    for file in files:
        try:
            weights |= load_file(file)
        except SafetensorError as error:
            raise UnsupportedModel(f"'{file}' cannot be read: {error}.", "Fetch it again.") from None
    return weights


def _head(path: Path, weights: Mapping[str, Tensor]) -> tuple[Head, Literal["extra", "line", "classifier"]]:
    """The head, and how its steps are laid out."""

    def linear(name: str, x: Tensor) -> Tensor:
        bias = weights.get(f"{name}.bias")
        return torch.nn.functional.linear(x.to(weights[f"{name}.weight"].dtype), weights[f"{name}.weight"], bias)

    def right(logits: Tensor) -> Tensor:
        return logits.float().softmax(-1)[:, 1]

    shapes = {name: tuple(weight.shape) for name, weight in weights.items()}
    if "score.0.weight" in shapes and shapes.get("score.2.weight", (0,))[0] == 2:
        return lambda hidden: right(linear("score.2", linear("score.0", hidden).relu())), "extra"
    if shapes.get("v_head.summary.weight", (0,))[0] == 1:
        return lambda hidden: linear("v_head.summary", hidden).float().sigmoid()[:, 0], "line"
    if shapes.get("score.weight", (0,))[0] == 2:
        return lambda hidden: right(linear("score", hidden)), "classifier"
    raise UnsupportedModel(
        f"'{path}' has no head of a process reward model that is known: "
        "score.0 and score.2, v_head.summary, or score of two labels.",
        "Use another judge.",
    )
