"""Do budgets hold? Random requests under random budgets, drafts, batches and tags, on tiny random models.

Counts thoughts over their budget, answers over theirs, and thoughts that nothing was answered after although there was
room. All three must be 0. What happened otherwise (closed by force, kept open, ended without a tag ...) is counted too,
to show that the requests were not all alike.

    python scripts/budgets.py --n 10000 --json docs/results/budgets.json
"""

from __future__ import annotations

import argparse
import copy
import json
import random
import sys
import time
import traceback
from collections import Counter
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast, Qwen3Config

from laconic import Engine, Format, Limits, Methods, Request, Sampling
from laconic.bench.provenance import provenance
from laconic.errors import RequestError
from laconic.models.causal_lm import CausalLM
from laconic.models.text import Text
from laconic.sequence import Sequence
from laconic.thinking.budget.capped import Capped

CLOSES, ENDS, OPENS = "</think>", "<|im_end|>", "<think>"
SEVERAL = Format("<a", "/>")
TALKS = {"\n\n": 5.0, "}": 4.0, ENDS: 2.0, CLOSES: 1.5}
FORMS: dict[str, tuple[dict[str, float], bool, bool]] = {
    "one token": (TALKS | {OPENS: 8.0}, False, False),
    "several tokens": (TALKS | {"<": 4.0, "a": 4.0, "/": 5.0, ">": 5.0}, False, True),
    "several tokens, opened by the prompt": (TALKS | {"<": 3.0, "/": 5.0, ">": 5.0}, True, True),
    "opened by the prompt": (TALKS, True, False),
    "never opened": (TALKS | {OPENS: -30.0}, False, False),
    "ends its text inside the thought": (TALKS | {ENDS: 6.0, CLOSES: -30.0}, True, False),
}
"""Logits that are raised, whether prompts open the thought, and whether the tags are of several tokens."""
DRAFTERS = ("none", "suffix", "prompt-lookup", "draft-model")
VIOLATIONS = ("thinking over budget", "answer over budget", "missing answer", "error")


@dataclass(frozen=True)
class Group:
    """Requests that are served together: by whom, under which methods, how many at once."""

    form: str
    methods: Methods
    batch: int
    requests: tuple[Request, ...]


def tokenizer(several: bool) -> Text:
    """Bytes, a blank line as one token, special tokens; tags among them, or as several bytes."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {symbol: i for i, symbol in enumerate(alphabet)}
    newline = next(s for s in alphabet if decoders.ByteLevel().decode([s]) == "\n")
    vocabulary[newline * 2] = len(vocabulary)
    core = Tokenizer(BPE(vocab=vocabulary, merges=[(newline, newline)]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    core.decoder = decoders.ByteLevel()
    special = [ENDS, *(() if several else (OPENS, CLOSES))]
    made = PreTrainedTokenizerFast(tokenizer_object=core, eos_token=ENDS, additional_special_tokens=special)
    return Text(made, format=SEVERAL if several else Format(OPENS, CLOSES))


@cache
def models(form: str) -> tuple[Text, CausalLM, CausalLM]:
    """A random model that talks as the form says, and a draft model that is often right."""
    bias, _, several = FORMS[form]
    text = tokenizer(several)
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=260, hidden_size=32, num_hidden_layers=1, intermediate_size=48, num_attention_heads=4,
        num_key_value_heads=2, head_dim=8, max_position_embeddings=1024, tie_word_embeddings=False,
    )  # fmt: skip
    target = AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        target.lm_head.weight.copy_(torch.randn_like(target.lm_head.weight) * 2 / config.hidden_size**0.5)
        offsets = torch.zeros(config.vocab_size)
        for piece, value in bias.items():
            if len(ids := text.encode(piece)) == 1:
                offsets[ids[0]] = value
        target.lm_head.bias = torch.nn.Parameter(offsets)
        draft = copy.deepcopy(target)
        for parameter in draft.parameters():
            if parameter.std() > 0:
                parameter.add_(torch.randn_like(parameter) * parameter.std() * 0.1)
    return text, CausalLM(target), CausalLM(draft)


def group(rng: random.Random) -> Group:
    """A random group of eight requests."""
    form, drafter = rng.choice(list(FORMS)), rng.choice(DRAFTERS)
    tree = drafter in ("suffix", "draft-model") and rng.random() < 0.5
    think = controllers(rng)
    methods = Methods(
        drafter=drafter,
        length=f"constant:{rng.randint(1, 8)}",
        shape="best-first" if tree else "chain",
        think=think,
        probes=rng.choice(("branch", "separate")),
    )
    budget = next(c for c in methods.plan().controllers if isinstance(c, Capped))
    return Group(form, methods, rng.randint(1, 8), tuple(request(rng, form, budget) for _ in range(8)))


def controllers(rng: random.Random) -> tuple[str, ...]:
    """A random budget, and sometimes others beside it."""
    tokens = rng.randint(1, 60)
    spec = f"{rng.choice(('budget', 'soft-landing'))}:{tokens},landing={rng.choice((0, 0.1, 0.5, 1))}"
    spec += rng.choice(("", ",text=OK.\n", ",text="))
    if rng.random() < 0.5:
        spec += f",answer={rng.randint(1, 20)}"
    if rng.random() < 0.4:
        spec += f",minimum={rng.randint(1, tokens)},waits={rng.randint(0, 3)}"
    others = []
    if rng.random() < 0.3:
        others.append(f"end-temperature:{rng.choice((0.3, 0.8, 2, 6))}")
    if rng.random() < 0.15:
        others.append("answer-agreement:2")
    made = [spec, *others]
    rng.shuffle(made)
    return tuple(made)


def request(rng: random.Random, form: str, budget: Capped) -> Request:
    """A random prompt with room for all, or, one time in ten, with little."""
    text = models(form)[0]
    asked = "".join(rng.choice("What is 12+? abc") for _ in range(rng.randint(1, 20)))
    opened = f"{text.format.opens}\n" if FORMS[form][1] else ""
    tokens: int = budget.tokens  # type: ignore[attr-defined]
    room = tokens + budget.spare(text) + (budget.answer or 0) + rng.randint(0, 30)
    if rng.random() < 0.1:
        room = rng.randint(1, room)
    temperature = 0.0 if rng.random() < 0.4 else rng.uniform(0.3, 1.2)
    sampling = Sampling(temperature, seed=rng.getrandbits(30))
    return Request(tuple(text.encode(asked + opened)), sampling, Limits(room))


def serve(given: Group) -> tuple[list[Sequence], int]:
    """Serve a group, at most ``batch`` at once; its sequences when they are done, and how many were refused."""
    text, target, draft = models(given.form)
    loop = Engine(target, text, given.methods, draft).loop()
    waiting, done, refused = list(given.requests), [], 0
    while waiting or loop.active:
        while waiting and len(loop.active) < given.batch:
            try:
                loop.add(waiting.pop())
            except RequestError:
                refused += 1
        done += loop.step()
    return done, refused


def judge(s: Sequence, budget: Capped) -> list[str]:
    """What is to be counted about a finished request; kinds of tokens are counted afresh, not taken from counters."""
    kinds, result = s.transcript.kinds, s.result()
    found = [f"{event.action} by {event.method}" for event in result.events]
    tokens: int = budget.tokens  # type: ignore[attr-defined]
    thinking, answer = kinds.count("thinking"), kinds.count("answer")
    if thinking > tokens:
        found.append("thinking over budget")
    if budget.answer is not None and answer > budget.answer:
        found.append("answer over budget")
    opened = any(kind != "answer" for kind in kinds)
    full = len(kinds) >= s.request.limits.max_new_tokens
    if opened and not full:
        last = max((i for i, kind in enumerate(kinds) if kind != "answer"), default=-1)
        if last + 1 == len(kinds) or (result.finish_reason == "stop" and not result.answer):
            found.append("missing answer")
    found += ["opened"] * opened + ["out of room"] * full + ["budget spent to the last token"] * (thinking == tokens)
    return [*found, "answer cut at its budget"] if answer == budget.answer and not full else found


def trial(n: int, seed: int) -> tuple[Counter[str], Counter[str], list[str]]:
    """Serve random groups until ``n`` requests were answered: events, how many of each kind of run, what went wrong."""
    rng = random.Random(seed)
    counted, kinds, wrong = Counter(dict.fromkeys(VIOLATIONS, 0)), Counter[str](), []
    while counted["requests"] < n:
        given = group(rng)
        try:
            done, refused = serve(given)
        except Exception:
            counted["error"] += 1
            wrong.append(f"{given}\n{traceback.format_exc()}")
            break
        budget = next(c for c in given.methods.plan().controllers if isinstance(c, Capped))
        counted["requests"] += len(done)
        counted["refused"] += refused
        for s in done:
            found = judge(s, budget)
            counted.update(found)
            sampled = "greedy" if s.request.sampling.greedy else "sampled"
            kinds.update((given.form, str(given.methods.drafter), str(given.methods.shape), sampled, budget.name))
            others = (str(spec).partition(":")[0] for spec in given.methods.think)
            kinds.update((f"batch {given.batch}", *(name for name in others if name != budget.name)))
            wrong += [f"{name}: {given.form}, {given.methods}, {s.request}" for name in found if name in VIOLATIONS]
        if sys.stderr.isatty():
            sys.stderr.write(f"\r{counted['requests']} of {n}")
    return counted, kinds, wrong


def main() -> None:
    """Count, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    begun = time.perf_counter()
    counted, kinds, wrong = trial(given.n, given.seed)
    for name, count in [*sorted(counted.items()), *sorted(kinds.items())]:
        print(f"{name:45} {count:7}")
    print("\n".join(wrong[:5]))
    if given.json:
        made = {
            "counted": dict(sorted(counted.items())),
            "requests by": dict(sorted(kinds.items())),
            "wrong": wrong[:20],
            "seconds": round(time.perf_counter() - begun, 1),
            "settings": {"n": given.n, "seed": given.seed},
            "provenance": provenance(),
        }
        given.json.write_text(json.dumps(made, indent=1) + "\n")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
