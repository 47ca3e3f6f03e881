"""The recipe: a LoRA adapter that teaches SmolLM2 to think, trained on a processor with few cores.

    laconic specimen smollm2
    python -m laconic.models.specimen.reasoner.train --out DIR [--steps 700] [--seed 0]

A run that was stopped goes on from DIR when it is started again, with the very batches it would have had; more
``--steps`` carry a finished one further. The rate warms up, stays, and falls to zero over the last part of the steps.
What is left in DIR: ``adapter/``, ready for ``--model``, ``state.pt`` to go on from, and ``training.json``.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional
from transformers import AutoTokenizer

from laconic.errors import MissingExtra
from laconic.models.loading import read_model
from laconic.models.reasoner.batches import batches
from laconic.models.specimen import folder
from laconic.models.specimen.reasoner.thoughts import examples

BASE = "smollm2"
WARMUP = 20
"""Steps."""


@dataclass(frozen=True)
class Recipe:
    """What one run does. ``base`` is a checkpoint's folder; None is the specimen itself."""

    out: Path
    base: Path | None = None
    steps: int = 700
    seed: int = 0
    rank: int = 16
    rate: float = 1.3e-3
    batch_tokens: int = 640
    decay: float = 0.4
    """The share of the steps over which the rate falls to zero."""
    threads: int = 1
    save_every: float = 4.0
    """Minutes."""


class Learner:
    """The model with its adapter, its optimizer, and what was logged so far."""

    def __init__(self, recipe: Recipe) -> None:
        try:
            from peft import LoraConfig, get_peft_model
        except ImportError as error:
            raise MissingExtra("peft", "train") from error
        torch.manual_seed(recipe.seed)
        self.recipe = recipe
        place = recipe.base or folder(BASE)
        self.tokenizer: Any = AutoTokenizer.from_pretrained(place)
        # All linear layers; twice the rank is the usual scale.
        config = LoraConfig(
            r=recipe.rank, lora_alpha=2 * recipe.rank, target_modules="all-linear", task_type="CAUSAL_LM"
        )
        self.model: Any = get_peft_model(read_model(place, dtype=torch.float32), config)
        self.model.peft_config["default"].base_model_name_or_path = BASE if recipe.base is None else str(recipe.base)
        self.weights = [weight for weight in self.model.parameters() if weight.requires_grad]
        self.optimizer = torch.optim.AdamW(self.weights, lr=recipe.rate, betas=(0.9, 0.98), weight_decay=0.0)
        self.log: list[dict[str, float]] = []
        self.done = self.tokens = 0
        self.minutes = 0.0
        if (state := recipe.out / "state.pt").is_file():
            self._resume(torch.load(state, weights_only=True))

    def step(self, tokens: torch.Tensor, worth: torch.Tensor) -> float:
        """One batch, both [rows, length]; returns the weighted loss for a token."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.recipe.rate * self._factor()
        where, labels = worth[:, 1:] > 0, tokens[:, 1:]
        causal = self.model.base_model.model
        states = causal.model(input_ids=tokens[:, :-1], use_cache=False).last_hidden_state
        # Only what is learnt goes through the large output layer.
        losses = functional.cross_entropy(causal.lm_head(states[where]), labels[where], reduction="none")
        share = worth[:, 1:][where]
        loss = (losses * share).sum() / share.sum()
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.weights, 1.0)
        self.optimizer.step()
        self.done += 1
        self.tokens += int((tokens != self.tokenizer.pad_token_id).sum())
        return loss.item()

    def _factor(self) -> float:
        left = 1 - self.done / self.recipe.steps
        return min(1.0, (self.done + 1) / WARMUP, left / self.recipe.decay)

    def save(self) -> None:
        """Write the adapter, the state to go on from, and the log; a run stopped meanwhile keeps the state before."""
        out = self.recipe.out
        write_adapter(self.model, out / "adapter")
        state = {
            "weights": [weight.detach() for weight in self.weights],
            "optimizer": self.optimizer.state_dict(),
            "done": self.done,
            "tokens": self.tokens,
            "minutes": self.minutes,
            "log": self.log,
        }
        torch.save(state, out / "state.new")
        os.replace(out / "state.new", out / "state.pt")
        about = {key: value for key, value in asdict(self.recipe).items() if key not in ("out", "base")}
        found = {"recipe": about, "tokens": self.tokens, "minutes": self.minutes, "log": self.log}
        (out / "training.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")

    def _resume(self, state: dict[str, Any]) -> None:
        for weight, was in zip(self.weights, state["weights"], strict=True):
            weight.data.copy_(was)
        self.optimizer.load_state_dict(state["optimizer"])
        self.done, self.tokens, self.log = state["done"], state["tokens"], state["log"]
        self.minutes = state["minutes"]


def write_adapter(model: Any, place: Path) -> None:
    """Write an adapter in float16, which its numbers fit into, with the chat template that it was taught."""
    from peft import get_peft_model_state_dict
    from safetensors.torch import save_file

    place.mkdir(parents=True, exist_ok=True)
    weights = {name: weight.half().contiguous() for name, weight in get_peft_model_state_dict(model).items()}
    save_file(weights, place / "adapter_model.safetensors", metadata={"format": "pt"})
    (place / "adapter_model.safetensors").chmod(0o644)
    model.peft_config["default"].save_pretrained(place)
    (place / "chat_template.jinja").write_text(TEMPLATE, encoding="utf-8")


TEMPLATE = """\
{%- for message in messages %}
    {{- '<|im_start|>' + message.role + '\\n' }}
    {%- if message.role == 'assistant' and message.reasoning_content %}
        {{- '<think>\\n' + message.reasoning_content + '\\n</think>\\n\\n' }}
    {%- endif %}
    {{- message.content + '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\\n\\n</think>\\n\\n' }}
    {%- endif %}
{%- endif %}"""
"""What a question looks like to the model, and how it writes its thought."""


def train(recipe: Recipe) -> Learner:
    """Run the recipe, or what is left of it."""
    torch.set_num_threads(recipe.threads)
    recipe.out.mkdir(parents=True, exist_ok=True)
    learner = Learner(recipe)
    source = batches(learner.tokenizer, examples(recipe.seed), recipe.batch_tokens, recipe.seed)
    saved = began = time.monotonic()
    before = learner.minutes
    for tokens, worth in itertools.islice(source, learner.done, recipe.steps):
        loss = learner.step(tokens, worth)
        now = time.monotonic()
        learner.minutes = before + (now - began) / 60
        row = {"step": learner.done, "minutes": learner.minutes, "tokens": learner.tokens, "loss": loss}
        learner.log.append(row)
        print(json.dumps({key: round(value, 4) for key, value in row.items()}), flush=True)  # noqa: T201
        if now - saved > 60 * recipe.save_every:
            saved = now
            learner.save()
    learner.save()
    return learner


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=Recipe.steps)
    parser.add_argument("--seed", type=int, default=Recipe.seed)
    parser.add_argument("--rank", type=int, default=Recipe.rank)
    parser.add_argument("--rate", type=float, default=Recipe.rate)
    parser.add_argument("--batch-tokens", type=int, default=Recipe.batch_tokens)
    parser.add_argument(
        "--decay", type=float, default=Recipe.decay, help="share of the steps over which the rate falls"
    )
    parser.add_argument("--threads", type=int, default=Recipe.threads)
    parser.add_argument("--save-every", type=float, default=Recipe.save_every, help="minutes between checkpoints")
    train(Recipe(**vars(parser.parse_args())))


if __name__ == "__main__":
    main()
