"""Training a draft head on a target's own texts: batches, the loss over a draft's steps, and how good it is.

One trainer for every kind of head: what differs is :meth:`DraftHead.unrolled`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from laconic.bench.fit.shards import Texts
from laconic.speculation.drafters.head.contract import DraftHead
from laconic.speculation.drafters.head.learning import Batch, descend, heard, loss_over, narrow_products
from laconic.speculation.drafters.head.losses import LOSSES
from laconic.speculation.drafters.head.teacher import Teacher

_WARM = 0.03
"""Share of the steps over which the rate rises."""


@dataclass(frozen=True, slots=True)
class Learning:
    """How a head is trained. ``steps`` are drafted tokens per place, ``decay`` what each further one counts for.

    The ``first`` share of the time one token alone is drafted, which goes three times as fast as three do and teaches
    most of what a head must know; then drafts of its own, as EAGLE-3 does throughout. ``minutes`` ends training early,
    its rate fallen to nothing by then; the rest says itself.
    """

    steps: int = 3
    decay: float = 0.8
    first: float = 0.65
    loss: str = "kl"
    rate: float = 3e-3
    epochs: float = 3.0
    minutes: float = math.inf
    batch_tokens: int = 512
    longest: int = 1024
    seed: int = 0


def batches(texts: Texts, learning: Learning, epoch: int) -> Iterator[Batch]:
    """Every text once, in an order of this epoch's own."""
    for group in _groups(texts, learning, epoch):
        yield _batch(texts, group, learning.longest)


def _groups(texts: Texts, learning: Learning, epoch: int) -> list[list[int]]:
    """Which texts go together: those of like length, to waste little on padding."""
    order = torch.randperm(len(texts), generator=torch.Generator().manual_seed(learning.seed * 1009 + epoch)).tolist()
    order.sort(key=lambda i: min(texts.lengths[i], learning.longest) // 64)
    groups: list[list[int]] = []
    for i in order:
        length = min(texts.lengths[i], learning.longest)
        fits = (
            groups
            and (len(groups[-1]) + 1) * max(length, _longest(texts, groups[-1], learning)) <= learning.batch_tokens
        )
        if fits:
            groups[-1].append(i)
        else:
            groups.append([i])
    order = torch.randperm(len(groups), generator=torch.Generator().manual_seed(epoch)).tolist()
    return [groups[chosen] for chosen in order]


def _longest(texts: Texts, group: Sequence[int], learning: Learning) -> int:
    return max(min(texts.lengths[i], learning.longest) for i in group)


def _batch(texts: Texts, group: Sequence[int], longest: int) -> Batch:
    starts = texts.starts
    lengths = [min(texts.lengths[i], longest) for i in group]
    length = max(lengths)
    tokens = torch.zeros(len(group), length, dtype=torch.int64)
    features = torch.zeros(len(group), length - 1, *texts.features.shape[1:])
    valid, written = torch.zeros(2, len(group), length, dtype=torch.bool)
    for row, (i, own) in enumerate(zip(group, lengths, strict=True)):
        tokens[row, :own] = texts.tokens[starts[i] : starts[i] + own]
        features[row, : own - 1] = texts.features[starts[i] : starts[i] + own - 1].float()
        valid[row, :own] = True
        written[row, texts.prompts[i] : own] = True
    return Batch(tokens, features, valid, written)


def learn(
    head: DraftHead,
    texts: Texts,
    teacher: Teacher,
    embed: nn.Embedding,
    learning: Learning,
    after: Callable[[str], Any] = lambda said: None,
) -> dict[str, Any]:
    """Train ``head``; returns how many steps and tokens it took, and the loss at the end.

    Products are made in bfloat16 where the processor has instructions for that; weights are float32 throughout.
    """
    loss_of, begun = LOSSES[learning.loss], time.perf_counter()
    weights = [weight for weight in head.parameters() if weight.requires_grad]
    optimiser = torch.optim.AdamW(weights, lr=learning.rate, betas=(0.9, 0.95), weight_decay=0.01, fused=True)
    products, narrow = narrow_products(embed.weight.device)
    total = math.ceil(learning.epochs * len(_groups(texts, learning, 0)))
    # A head of limited depth has weights of its own for every step, which learn nothing from the first.
    first = learning.first if head.depth is None else 0.0
    done = seen = 0
    recent: list[float] = []
    head.train()
    for epoch in range(math.ceil(learning.epochs)):
        for batch in batches(texts, learning, epoch):
            spent = (time.perf_counter() - begun) / 60 / learning.minutes
            share = max(done / total, spent)
            if share >= 1:
                break
            for group in optimiser.param_groups:
                group["lr"] = learning.rate * min(1.0, (done + 1) / (_WARM * total + 1)) * _falling(share)
            steps = 1 if share < first else learning.steps
            with products:
                loss = loss_over(head, batch, teacher, embed, steps, learning.decay, loss_of)
            descend(loss, weights, optimiser)
            done += 1
            seen += int(batch.valid.sum())
            recent = [*recent[-49:], float(loss.detach())]
            if done % 20 == 0:
                mean, speed = sum(recent) / len(recent), seen / (time.perf_counter() - begun)
                after(f"step {done} of {total}, loss {mean:.3f}, {speed:.0f} tokens a second")
    head.eval()
    return {
        "steps": done,
        "tokens": seen,
        "loss": sum(recent) / max(1, len(recent)),
        "seconds": time.perf_counter() - begun,
        "products": "bfloat16" if narrow else "float32",
    }


def _falling(share: float) -> float:
    return 0.5 * (1 + math.cos(math.pi * min(share, 1.0)))


@torch.no_grad()
def measures(
    head: DraftHead, texts: Texts, teacher: Teacher, embed: nn.Embedding, kept: Tensor, learning: Learning
) -> dict[str, Any]:
    """On what the target wrote in texts held out, of each step of a draft, given that all before it were right: how
    often is the likeliest token the one that was written, and one of the likeliest three; the share that speculative
    sampling would accept at T = 1; and how many tokens a pass writes with the likeliest chain of so many steps.
    """
    named = torch.full((embed.num_embeddings,), -1)
    named[kept] = torch.arange(len(kept))
    steps = learning.steps + 2
    hits, thirds, shared, count = ([0.0] * steps for _ in range(4))
    for batch in batches(texts, learning, 0):
        told = teacher(batch.features[:, :, -1]).exp()
        alive = batch.written[:, 2:].clone()
        for step, logits in enumerate(head.unrolled(heard(head, batch, embed), batch.features, steps)):
            wrote = named[batch.tokens[:, 2 + step :]]
            mine = alive[:, : wrote.shape[1]] & batch.valid[:, 2 + step :]
            top = logits.topk(min(3, logits.shape[-1]), -1).indices
            right = (top[..., 0] == wrote) & mine
            hits[step] += float(right.sum())
            thirds[step] += float(((top == wrote[..., None]).any(-1) & mine).sum())
            q, p = logits.softmax(-1), told[:, 1 + step : 1 + step + wrote.shape[1]]
            shared[step] += float(torch.minimum(p, q).sum(-1)[mine].sum())
            count[step] += float(mine.sum())
            alive = right
    chance, long = 1.0, 1.0
    for hit, of in zip(hits, count, strict=True):
        chance *= hit / max(of, 1.0)
        long += chance
    return {
        "texts": len(texts),
        "tokens": int(sum(texts.lengths) - sum(texts.prompts)),
        "likeliest": [round(hit / max(of, 1.0), 4) for hit, of in zip(hits, count, strict=True)],
        "likeliest_three": [round(hit / max(of, 1.0), 4) for hit, of in zip(thirds, count, strict=True)],
        "accepted": [round(hit / max(of, 1.0), 4) for hit, of in zip(shared, count, strict=True)],
        "tokens_a_pass": round(long, 3),
        "chain": steps,
    }
