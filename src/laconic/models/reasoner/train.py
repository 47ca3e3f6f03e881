"""The recipe: from nothing to both models with one command.

    python -m laconic.models.reasoner.train --out DIR [--minutes 75 | --steps N] [--seed 0]

Target and draft are trained together on the same batches; the draft also learns the target's own distributions, so
that its guesses are accepted. Hidden matrices are trained with Muon, the rest with AdamW; the learning rate warms up,
stays, and falls to zero over the last part of the time or steps. What is saved is a running mean of the weights.
"""

import argparse
import copy
import itertools
import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional

from .corpus import Example, examples
from .network import DRAFT, TARGET, TINY, build
from .tokenizer import END, PAD, VOCAB_SIZE, train_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

WARMUP, DECAY = 100, 0.3  # steps of warm-up; the share of the run in which the rate falls


@dataclass
class Recipe:
    """What one run does. It ends after `steps`, or else after `minutes`."""

    out: Path
    minutes: float = 75.0
    steps: int | None = None
    seed: int = 0
    batch_tokens: int = 8192
    rate: float = 0.02  # of Muon; AdamW takes a sixth of it
    tiny: bool = False
    save_every: float = 10.0  # minutes
    start_from: Path | None = None


class Learner:
    """A network with its optimizers and the running mean of its weights."""

    def __init__(self, network: Any, rate: float) -> None:
        self.network, self.mean = network, copy.deepcopy(network).requires_grad_(False)
        hidden = [p for n, p in network.named_parameters() if p.ndim == 2 and "embed" not in n and "lm_head" not in n]
        known = {id(p) for p in hidden}
        rest = [p for p in network.parameters() if id(p) not in known]
        self.optimizers = [
            torch.optim.Muon(hidden, lr=rate, weight_decay=0.01),
            torch.optim.AdamW(rest, lr=rate / 6, betas=(0.9, 0.98), weight_decay=0.0),
        ]
        self.rates = [rate, rate / 6]

    def logits(self, tokens: torch.Tensor, where: torch.Tensor) -> torch.Tensor:
        """Float32 logits at the positions `where` ([batch, length] of bool): [positions, vocabulary]."""
        with torch.autocast("cpu", dtype=torch.bfloat16):
            hidden = self.network.model(input_ids=tokens, use_cache=False).last_hidden_state
            return self.network.lm_head(hidden[where]).float()  # type: ignore[no-any-return]

    def step(self, loss: torch.Tensor, factor: float, count: int) -> None:
        """One update, with the learning rates times `factor`; `count` updates were made before."""
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        for optimizer, rate in zip(self.optimizers, self.rates, strict=True):
            for group in optimizer.param_groups:
                group["lr"] = rate * factor
            optimizer.step()
            optimizer.zero_grad()
        with torch.no_grad():
            pace = max(1 / (count + 1), 0.005)
            for mean, new in zip(self.mean.parameters(), self.network.parameters(), strict=True):
                mean.lerp_(new, pace)


Batch = tuple[torch.Tensor, torch.Tensor]  # tokens and loss weights, [batch, length]


def batches(tokenizer: "PreTrainedTokenizerFast", source: Iterator[Example], size: int, seed: int) -> Iterator[Batch]:
    """Endless batches of about `size` tokens, examples of like length together, padded on the right."""
    rng, pad = Random(seed), tokenizer.pad_token_id
    while True:
        rows = sorted((_encode(tokenizer, one) for one in itertools.islice(source, 1024)), key=lambda row: len(row[0]))
        pool: list[list[tuple[list[int], list[float]]]] = [[]]
        for row in rows:
            if pool[-1] and (len(pool[-1]) + 1) * len(row[0]) > size:
                pool.append([])
            pool[-1].append(row)
        rng.shuffle(pool)
        for group in pool:
            longest = max(len(tokens) for tokens, _ in group)
            tokens = torch.tensor([tokens + [pad] * (longest - len(tokens)) for tokens, _ in group])
            weights = torch.tensor([weights + [0.0] * (longest - len(weights)) for _, weights in group])
            yield tokens, weights


def _encode(tokenizer: "PreTrainedTokenizerFast", one: Example) -> tuple[list[int], list[float]]:
    tokens: list[int] = []
    weights: list[float] = []
    for text, weight in one.pieces:
        piece = tokenizer.backend_tokenizer.encode(text, add_special_tokens=False).ids
        tokens += piece
        weights += [weight] * len(piece)
    return tokens, weights


def train(recipe: Recipe) -> list[dict[str, float]]:
    """Run the recipe; checkpoints and the log go to `recipe.out`. Returns the log."""
    torch.manual_seed(recipe.seed)
    if recipe.start_from is None:
        sample = itertools.islice(examples(recipe.seed + 1), 500 if recipe.tiny else 6000)
        texts = ["".join(text for text, _ in one.pieces) for one in sample]
        tokenizer = train_tokenizer(texts, VOCAB_SIZE)
        tokenizer = _saved(tokenizer, recipe.out / "target")
    else:
        tokenizer = _saved(_load_tokenizer(recipe.start_from / "target"), recipe.out / "target")
    eos, pad = tokenizer.convert_tokens_to_ids(END), tokenizer.convert_tokens_to_ids(PAD)
    learners = {}
    for name, shape in (("target", TARGET), ("draft", DRAFT)):
        network = build(TINY if recipe.tiny else shape, len(tokenizer), eos, pad)
        if recipe.start_from is not None:
            from safetensors.torch import load_file

            network.load_state_dict(load_file(recipe.start_from / name / "model.safetensors"), strict=False)
            network.tie_weights()
        learners[name] = Learner(network, recipe.rate)
    target, draft = learners["target"], learners["draft"]
    log: list[dict[str, float]] = []
    began = saved = time.monotonic()
    seen, sums = 0, torch.zeros(3)
    source = batches(tokenizer, examples(recipe.seed + 2), recipe.batch_tokens, recipe.seed)
    for count, (tokens, weights) in enumerate(source):
        now = time.monotonic()
        done = count / recipe.steps if recipe.steps else (now - began) / 60 / recipe.minutes
        factor = min(1.0, (count + 1) / WARMUP, max(0.0, (1 - done) / DECAY))
        if done >= 1:
            break
        where, labels, worth = weights[:, 1:] > 0, tokens[:, 1:], weights[:, 1:]
        worth = worth[where] / worth[where].sum()
        rows, guesses = target.logits(tokens[:, :-1], where), draft.logits(tokens[:, :-1], where)
        loss = (functional.cross_entropy(rows, labels[where], reduction="none") * worth).sum()
        target.step(loss, factor, count)
        own = (functional.cross_entropy(guesses, labels[where], reduction="none") * worth).sum()
        theirs = functional.kl_div(
            guesses.log_softmax(-1), rows.detach().log_softmax(-1), log_target=True, reduction="batchmean"
        )
        draft.step(0.2 * own + 0.8 * theirs, factor, count)
        seen += int((tokens != pad).sum())
        sums += torch.tensor([loss.item(), own.item(), theirs.item()])
        every = 50 if not recipe.tiny else 1
        if (count + 1) % every == 0:
            means = (sums / every).tolist()
            row = dict(zip(("loss", "draft_loss", "draft_kl"), means, strict=True))
            log.append({"step": count + 1, "minutes": (now - began) / 60, "tokens": seen, **row})
            print(json.dumps({key: round(value, 4) for key, value in log[-1].items()}), flush=True)
            sums.zero_()
        if now - saved > 60 * recipe.save_every:
            saved = now
            _save(recipe, learners, tokenizer, log)
    _save(recipe, learners, tokenizer, log)
    return log


def _save(recipe: Recipe, learners: dict[str, Learner], tokenizer: "PreTrainedTokenizerFast", log: list[Any]) -> None:
    for name, learner in learners.items():
        network = learner.mean
        network.config.use_cache = True
        network.generation_config.eos_token_id = network.config.eos_token_id
        network.generation_config.pad_token_id = network.config.pad_token_id
        network.save_pretrained(recipe.out / name)
        _saved(tokenizer, recipe.out / name)
    about = {key: str(value) if isinstance(value, Path) else value for key, value in asdict(recipe).items()}
    about.pop("out")
    (recipe.out / "training.json").write_text(json.dumps({"recipe": about, "log": log}, indent=1) + "\n")


def _saved(tokenizer: "PreTrainedTokenizerFast", folder: Path) -> "PreTrainedTokenizerFast":
    """Save the tokenizer under the class name that every version of Transformers knows, and load it from there."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save_pretrained(folder)
    path = folder / "tokenizer_config.json"
    config = json.loads(path.read_text())
    config["tokenizer_class"] = "PreTrainedTokenizerFast"
    path.write_text(json.dumps(config, indent=2) + "\n")
    return _load_tokenizer(folder)


def _load_tokenizer(folder: Path) -> "PreTrainedTokenizerFast":
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast.from_pretrained(folder)  # type: ignore[no-any-return]


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=75.0)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rate", type=float, default=0.02)
    parser.add_argument("--batch-tokens", type=int, default=8192)
    parser.add_argument("--save-every", type=float, default=10.0, help="minutes between checkpoints")
    parser.add_argument("--start-from", type=Path, help="go on from the weights of an earlier run")
    parser.add_argument("--tiny", action="store_true", help="networks of a few thousand parameters, to try the recipe")
    train(Recipe(**vars(parser.parse_args())))


if __name__ == "__main__":
    main()
