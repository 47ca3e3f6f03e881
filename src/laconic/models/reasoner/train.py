"""The recipe: from nothing to both models with one command.

    python -m laconic.models.reasoner.train --out DIR [--minutes 120 | --steps N] [--seed 0]

Target and draft are trained together on the same batches; the draft also learns the target's own distributions, so
that its guesses are accepted. Two processes of one thread each share a batch and add up their gradients, which is
quicker than one of two threads and suffers less where other programs run beside it. Hidden matrices are trained with
Muon, the rest with AdamW; the learning rate warms up, stays, and falls to zero over the last part of the time or
steps. What is saved is a running mean of the weights. At the end the pair is evaluated and its card written.
"""

import argparse
import itertools
import json
import os
import socket
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import distributed
from torch.nn import functional

from .batches import batches
from .corpus import examples
from .learner import Learner, agree
from .network import DRAFT, TARGET, TINY, build
from .tokenizer import END, PAD, load_tokenizer, save_tokenizer, train_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

WARMUP = 50  # steps


@dataclass
class Recipe:
    """What one run does. It ends after `steps`, or else after `minutes`."""

    out: Path
    minutes: float = 120.0
    steps: int | None = None
    seed: int = 0
    batch_tokens: int = 4096
    rate: float = 0.015  # of Muon; AdamW takes a sixth of it
    decay: float = 0.7  # the share of the run over which the rate falls to zero
    workers: int = 2  # processes
    tiny: bool = False
    save_every: float = 10.0  # minutes
    start_from: Path | None = None


def train(recipe: Recipe) -> list[dict[str, float]]:
    """Run the recipe; checkpoints and the log go to `recipe.out`. Returns the log."""
    if recipe.start_from is None:
        sample = itertools.islice(examples(recipe.seed + 1), 500 if recipe.tiny else 6000)
        save_tokenizer(
            train_tokenizer("".join(text for text, _ in one.pieces) for one in sample), recipe.out / "target"
        )
    else:
        save_tokenizer(load_tokenizer(recipe.start_from / "target"), recipe.out / "target")
    if recipe.workers == 1:
        return work(0, recipe)
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(_free_port()))
    torch.multiprocessing.spawn(work, (recipe,), nprocs=recipe.workers)  # type: ignore[attr-defined,no-untyped-call]
    log: list[dict[str, float]] = json.loads((recipe.out / "training.json").read_text())["log"]
    return log


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def work(rank: int, recipe: Recipe) -> list[dict[str, float]]:
    """What one process does; the first one logs and saves."""
    if recipe.workers > 1:
        torch.set_num_threads(1)
        distributed.init_process_group("gloo", rank=rank, world_size=recipe.workers)
    torch.manual_seed(recipe.seed)
    tokenizer = load_tokenizer(recipe.out / "target")
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
    every = 1 if recipe.tiny else 50
    seed = recipe.seed * 100 + rank
    source = batches(tokenizer, examples(seed + 2), recipe.batch_tokens // recipe.workers, seed)
    for count, (tokens, weights) in enumerate(source):
        now = time.monotonic()
        done = agree(count / recipe.steps if recipe.steps else (now - began) / 60 / recipe.minutes)
        factor = min(1.0, (count + 1) / WARMUP, max(0.0, (1 - done) / recipe.decay))
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
        seen += int((tokens != pad).sum()) * recipe.workers
        sums += torch.tensor([loss.item(), own.item(), theirs.item()])
        if rank == 0 and (count + 1) % every == 0:
            means = (sums / every).tolist()
            row = dict(zip(("loss", "draft_loss", "draft_kl"), means, strict=True))
            log.append({"step": count + 1, "minutes": (now - began) / 60, "tokens": seen, **row})
            print(json.dumps({key: round(value, 4) for key, value in log[-1].items()}), flush=True)  # noqa: T201
            sums.zero_()
        if rank == 0 and now - saved > 60 * recipe.save_every:
            saved = now
            _save(recipe, learners, tokenizer, log)
    if rank == 0:
        _save(recipe, learners, tokenizer, log)
    if distributed.is_initialized():
        distributed.destroy_process_group()
    return log


def _save(
    recipe: Recipe, learners: dict[str, Learner], tokenizer: "PreTrainedTokenizerFast", log: list[dict[str, float]]
) -> None:
    for name, learner in learners.items():
        network = learner.mean
        network.config.use_cache = True
        network.generation_config.eos_token_id = network.config.eos_token_id
        network.generation_config.pad_token_id = network.config.pad_token_id
        network.save_pretrained(recipe.out / name)
        (recipe.out / name / "model.safetensors").chmod(0o644)
        save_tokenizer(tokenizer, recipe.out / name)
    about = {key: str(value) if isinstance(value, Path) else value for key, value in asdict(recipe).items()}
    about.pop("out")
    (recipe.out / "training.json").write_text(json.dumps({"recipe": about, "log": log}, indent=1) + "\n")


def finish(out: Path, n: int) -> None:
    """Evaluate the pair on `n` held-out problems and write its card beside it."""
    from .card import write_card
    from .evaluate import evaluate_pair

    report = evaluate_pair(out / "target", out / "draft", n)
    (out / "evaluation.json").write_text(json.dumps(report, indent=1) + "\n")
    write_card(out, report)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=120.0)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rate", type=float, default=0.015)
    parser.add_argument("--batch-tokens", type=int, default=4096)
    parser.add_argument("--decay", type=float, default=0.7, help="share of the run over which the rate falls")
    parser.add_argument("--workers", type=int, default=2, help="processes, of one thread each where more than one")
    parser.add_argument("--save-every", type=float, default=10.0, help="minutes between checkpoints")
    parser.add_argument("--start-from", type=Path, help="go on from the weights of an earlier run")
    parser.add_argument("--tiny", action="store_true", help="networks of a few thousand parameters, to try the recipe")
    parser.add_argument("--evaluate", type=int, default=700, help="held-out problems for the card; 0 for no card")
    given = vars(parser.parse_args())
    n = given.pop("evaluate")
    train(Recipe(**given))
    if n:
        finish(given["out"], n)


if __name__ == "__main__":
    main()
