"""laconic's eviction methods beside those of NVIDIA kvpress: scores of entries, and answers over a reduced cache.

    laconic specimen smollm2
    python scripts/kv_peers.py --kvpress KVPRESS/bin/python --scores --json scores.json
    python scripts/kv_peers.py --kvpress KVPRESS/bin/python --tasks --n 20 --lengths 500 1000 2000 --json tasks.json

kvpress runs in an environment of its own, named by its Python. Both sides load one checkpoint in float32 and are given
the same token ids. ``--scores`` reads one text of the project's documents and compares what each method says of every
entry, and which entries stay at half of them. ``--tasks`` hides a pass key, or several facts of which one is asked
for, among sentences of these documents. The prompt is read, question included and the reply begun for
the model ("The pass key is"); then entries are taken away, each method to each budget (a share of what was read), the
prompt's last token is read over what is left, as laconic's own loop does it, and what is likeliest is written.
``--after 0`` takes away once the whole prompt is read: then the first token of the answer is the whole cache's. An
answer is right if it holds the key or the fact.

Methods are set so that both keep the same entries where their definitions are the same. kvpress's PyramidKV is not
laconic's: it counts the window among what layers share, and keeps the same in all layers where the highest one would
get less than the window; see ``entries``. Lots are drawn differently. Each side reads a prompt once for all rows, as
what is kept does not change how it is read; ``--apart`` has kvpress read it for each row.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch

import laconic.methods  # noqa: F401  (fills the registry)
from laconic.bench.provenance import provenance
from laconic.cli.options import settle
from laconic.intervals import wilson
from laconic.kv.base import Layer, Telling
from laconic.kv.evict.h2o import H2O
from laconic.kv.keeping import Evicting
from laconic.models.base import Slot, chain
from laconic.models.causal_lm import CausalLM
from laconic.models.load import load_model, load_text, resolve
from laconic.models.past import Held, Past
from laconic.models.text import Text
from laconic.policy import registry

DOCS = Path(__file__).parents[1] / "docs"
FULL = "full"
BETA = 20
"""How steep the pyramid is."""
OBSERVED = "observed"
PEOPLE = ("Mara", "Tom", "Lena", "Oscar", "Nina", "Hugo", "Ella", "Felix")
THINGS = {
    "colour of {}'s house": ("green", "red", "blue", "yellow", "white", "black"),
    "name of {}'s dog": ("Rex", "Bella", "Max", "Daisy", "Rocky", "Luna"),
    "job of {}'s father": ("baker", "farmer", "doctor", "sailor", "teacher", "painter"),
    "home town of {}": ("Paris", "London", "Madrid", "Berlin", "Rome", "Vienna"),
    "favourite fruit of {}": ("apple", "banana", "cherry", "lemon", "mango", "peach"),
    "age of {}'s car": ("two years", "three years", "four years", "five years", "six years", "nine years"),
    "favourite drink of {}": ("tea", "coffee", "milk", "juice", "water", "cocoa"),
    "instrument of {}": ("piano", "guitar", "violin", "flute", "drum", "trumpet"),
}
"""What facts are about, and what may be said of it."""


@dataclass(frozen=True, slots=True)
class Method:
    """A method on both sides. ``own`` last entries get no score but stay; ``scored`` says whether scores compare."""

    laconic: str
    press: str
    knobs: dict[str, Any]
    own: int = 0
    scored: bool = True

    def policy(self, share: float) -> Evicting:
        """laconic's side, which keeps this share of a prompt."""
        more = "" if ":" not in self.laconic else ","
        spec = f"{self.laconic}{more or ':'}budget={share},every=0"
        return cast(Evicting, registry.build("kv", spec))

    def row(self, name: str, share: float) -> dict[str, Any]:
        """kvpress's side, as its worker wants to be told."""
        return {"row": name, "press": self.press, "knobs": {"compression_ratio": 1 - share, **self.knobs}}


def methods(window: int, kernel: int, sinks: int) -> dict[str, Method]:
    """All that both sides have."""
    snap = {"window_size": window, "kernel_size": kernel}
    ours = f"snapkv:window={window},kernel={kernel},sinks=0"
    return {
        "key-norm": Method("key-norm:sinks=0,recent=0", "KnormPress", {}),
        "streaming": Method(
            f"streaming-llm:sinks={sinks},recent=0", "StreamingLLMPress", {"n_sink": sinks}, scored=False
        ),
        "snapkv": Method(f"{ours},recent=0", "SnapKVPress", snap, window),
        "tova": Method("tova:sinks=0,recent=1", "TOVAPress", {}, 1),
        OBSERVED: Method("h2o:mean=true,sinks=0,recent=0", "ObservedAttentionPress", {}),
        "pyramid": Method(
            f"{ours},recent={window},layers=[pyramid:beta={BETA}]", "PyramidKVPress", {**snap, "beta": BETA}, window
        ),
        "random": Method("random:sinks=0,recent=0", "RandomPress", {}, scored=False),
    }


class Peer:
    """kvpress in a process of its own."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.versions: dict[str, str] = self._told()["versions"]

    def ask(self, **asked: Any) -> dict[str, Any]:
        """What it answers."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        return self._told()

    def _told(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit("kvpress has ended; its output says more: name a file for it with --log")
        told: dict[str, Any] = json.loads(line)
        if "error" in told:
            raise SystemExit(f"kvpress: {told['error']}")
        return told


class Own:
    """laconic's side of one prompt: read once, and reduced for each row. ``logits`` are those of what follows."""

    def __init__(self, model: CausalLM, prompt: Sequence[int], looks: int) -> None:
        self.model, self.prompt = model, list(prompt)
        self.slot: Slot = model.open()
        model.prefill(self.slot, self.prompt[:-1])
        self.logits = model.score([chain(self.prompt[-1:])], [self.slot]).of(0)[-1].float()
        self.slot.commit([0])
        self.held = model.look(self.slot, self.prompt[-looks:])

    def layers(self, looks: int) -> Iterator[Layer]:
        """Layers as scorers see them, with the last ``looks`` queries."""
        length = len(self.prompt)
        told = Telling(self.prompt, length, None)
        for index, held in enumerate(self.held):
            assert held is not None
            positions = torch.arange(length, dtype=torch.int32)[:, None].expand(-1, held.keys.shape[1]).contiguous()
            queries = held.queries[len(held.queries) - min(looks, len(held.queries)) :]
            yield Layer(index, held.keys, held.values, queries, positions, length, held.attention, told)

    def reduced(self, policy: Evicting, values: Sequence[torch.Tensor] | None = None) -> tuple[Past, int]:
        """What a slot of this policy keeps of the prompt, and the bytes that its keeper remembers of it.

        The keeper looks where it would while the prompt is read. ``values`` stand for the entries' own.
        """
        length, past = len(self.prompt), None
        keeper = policy.start(Telling(self.prompt, length + 1, None))
        while past is None:
            at = keeper.stop
            first = max(keeper.since, at - keeper.looks)
            seen = [_until(held, at, first, length) for held in self.held]
            if values is not None:
                seen = [replace(held, values=mine[:at]) for held, mine in zip(seen, values, strict=True)]
            past = keeper.reduce(at, seen)
        return past, keeper.nbytes

    def kept(self, policy: Evicting) -> list[torch.Tensor]:
        """Positions ``[kept, kv_heads]`` of what stays, layer by layer: handed in as values, they come back."""
        places = [layer.positions[:, :, None].expand_as(layer.values).contiguous() for layer in self.layers(0)]
        return [layer.dense()[1][:, :, 0] for layer in self.reduced(policy, places)[0].layers if layer is not None]

    def answers(
        self, policies: dict[str, Evicting], tail: Sequence[int], limit: int, ends: Sequence[int]
    ) -> dict[str, dict[str, Any]]:
        """Of each policy, and of the whole cache: what is written, bytes before that, and the layers' entries.

        The ``tail`` of the prompt is read first, over what is left of the rest.
        """
        told: dict[str, dict[str, Any]] = {}
        views: dict[str, Slot] = {}
        first = [] if tail else [int(self.logits.argmax())]
        for name, policy in policies.items():
            past, known = self.reduced(policy)
            views[name] = self.model.view(past)
            entries = [layer.count for layer in past.layers if layer is not None]
            told[name] = {"bytes": views[name].nbytes + known, "entries": entries, "tokens": [*first]}
        whole = [len(held) for held in self.held if held is not None]
        told[FULL] = {"bytes": self.slot.nbytes, "entries": whole, "tokens": [*first]}
        for slots in (views, {FULL: self.slot}):
            self._write(slots, {name: told[name]["tokens"] for name in slots}, list(tail), limit, ends)
        for view in views.values():
            view.close()
        return told

    def _write(
        self, slots: dict[str, Slot], written: dict[str, list[int]], tail: list[int], limit: int, ends: Sequence[int]
    ) -> None:
        """Write on, in one pass for all that are not done."""
        while open_ := [name for name in slots if len(written[name]) < limit and not {*written[name]} & {*ends}]:
            ahead = [written[name][-1:] or tail for name in open_]
            scores = self.model.score([chain(tokens) for tokens in ahead], [slots[name] for name in open_])
            for turn, name in enumerate(open_):
                slots[name].commit(range(len(ahead[turn])))
                written[name].append(int(scores.of(turn)[-1].argmax()))


def _until(held: Held | None, at: int, first: int, length: int) -> Held:
    """A layer when ``at`` tokens were read, with their queries from ``first`` on."""
    assert held is not None
    begin = length - len(held.queries)
    queries = held.queries[first - begin : at - begin] if at > first else held.queries[:0]
    return replace(held, keys=held.keys[:at], values=held.values[:at], queries=queries)


def main() -> int:
    """Compare, print and write."""
    given = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # else the worker would stay
    settle(given.threads, given.model)
    torch.set_grad_enabled(False)
    model = load_model(given.model, dtype=torch.float32, device="cpu")
    text = load_text(given.model)
    chosen = methods(given.window, given.kernel, given.sinks)
    if given.methods:
        chosen = {name: chosen[name] for name in given.methods}
    with kvpress(given) as peer:
        record: dict[str, Any] = {"setup": setup(given), "versions": peer.versions}
        if given.scores:
            record["scores"] = compared(given, model, text, chosen, peer)
            sys.stdout.write(score_table(record["scores"]))
        if given.tasks:
            tasks(given, model, text, chosen, peer, record)
            sys.stdout.write(task_table(record["rows"]))
        write(given, record)
    return 0


def arguments() -> argparse.Namespace:
    """What is to be compared."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kvpress", type=Path, required=True, help="the Python of kvpress's environment")
    parser.add_argument("--scores", action="store_true")
    parser.add_argument("--tasks", action="store_true")
    parser.add_argument("--model", default="smollm2", help="a specimen or a folder in Transformers' format")
    parser.add_argument("--methods", nargs="+", choices=list(methods(1, 1, 1)), help="all by default")
    parser.add_argument("--budgets", type=float, nargs="+", default=[0.5, 0.25, 0.125])
    parser.add_argument("--kinds", nargs="+", choices=("pass-key", "facts"), default=["pass-key", "facts"])
    parser.add_argument("--lengths", type=int, nargs="+", default=[500, 1000, 2000], help="tokens of a prompt, about")
    parser.add_argument("--n", type=int, default=20, help="prompts of each kind and length")
    parser.add_argument("--digits", type=int, default=5, help="of a pass key")
    parser.add_argument("--facts", type=int, default=4, help="facts in a prompt, one of them asked for")
    parser.add_argument(
        "--begun", action=argparse.BooleanOptionalAction, default=True, help="begin the reply for the model"
    )
    parser.add_argument("--after", type=int, default=1, help="last tokens of a prompt that are read over what is left")
    parser.add_argument("--max-tokens", type=int, default=12)
    parser.add_argument("--window", type=int, default=32, help="of snapkv and pyramid")
    parser.add_argument("--kernel", type=int, default=5, help="of snapkv and pyramid")
    parser.add_argument("--sinks", type=int, default=4, help="of streaming")
    parser.add_argument("--text", type=Path, default=DOCS / "architecture.md", help="what --scores reads")
    parser.add_argument("--score-tokens", type=int, default=600)
    parser.add_argument("--observed-to", type=int, default=4096, help="no observed attention in longer prompts")
    parser.add_argument("--apart", action="store_true", help="have kvpress read a prompt for each row")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--log", type=Path, help="where kvpress writes its own output")
    parser.add_argument("--json", type=Path, required=True)
    given = parser.parse_args()
    if not given.scores and not given.tasks:
        parser.error("say --scores, --tasks or both")
    if given.after < 0 or given.digits < 1:
        parser.error("--after is 0 or more, --digits 1 or more")
    if not all(0 < share < 1 for share in given.budgets):
        parser.error("budgets are shares of the prompt, between 0 and 1")
    if not 1 <= given.facts <= len(PEOPLE):
        parser.error(f"there are 1 to {len(PEOPLE)} facts in a prompt")
    return given


@contextmanager
def kvpress(given: argparse.Namespace) -> Iterator[Peer]:
    """kvpress for as long as it is wanted."""
    told = {"model": resolve(given.model), "threads": given.threads, "seed": given.seed}
    script = Path(__file__).with_name("kv_peers_worker.py")
    with (given.log or Path(os.devnull)).open("w", encoding="utf-8") as log:
        process = subprocess.Popen(
            [str(given.kvpress), "-I", str(script), json.dumps(told)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
        try:
            yield Peer(process)
        finally:
            process.terminate()
            try:
                process.wait(40)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def compared(
    given: argparse.Namespace, model: CausalLM, text: Text, chosen: dict[str, Method], peer: Peer
) -> dict[str, Any]:
    """What both sides say of each entry of one text, and what they keep of it at half the entries."""
    share = 0.5
    prompt = text.encode(given.text.read_text(encoding="utf-8")[: 8 * given.score_tokens])[: given.score_tokens]
    own = Own(model, prompt, len(prompt))
    theirs = peer.ask(do="scores", prompt=prompt, rows=[method.row(name, share) for name, method in chosen.items()])
    logits = torch.tensor(theirs["logits"])
    told: dict[str, Any] = {
        "text": given.text.name,
        "tokens": len(prompt),
        "share": share,
        "logits": float((own.logits - logits).abs().max() / logits.abs().max()),
        "methods": {},
    }
    for name, method in chosen.items():
        policy, found = method.policy(share), theirs["rows"][name]
        told["methods"][name] = agreed(own.kept(policy), found["kept"])
        if method.scored:
            whole = replace(policy, seen=len(prompt)) if isinstance(policy, H2O) else policy
            mine = torch.stack([policy_score(whole, layer) for layer in own.layers(whole.looks)])
            told["methods"][name] |= differing(mine, torch.tensor(found["scores"]), len(prompt) - method.own)
        sys.stderr.write(f"scores of {name} compared\n")
    own.slot.close()
    return told


def policy_score(policy: Evicting, layer: Layer) -> torch.Tensor:
    """Scores ``[kv_heads, entries]``."""
    return policy.score(layer).float().T


def differing(mine: torch.Tensor, theirs: torch.Tensor, count: int) -> dict[str, float]:
    """Differences of scores ``[layers, kv_heads, entries]`` at the first ``count`` entries.

    ``difference`` is the largest one relative to the largest score of all; ``difference_in_head`` that of any head
    relative to that head's own largest.
    """
    mine, theirs = mine[..., :count], theirs[..., :count]
    apart, size = (mine - theirs).abs(), theirs.abs()
    in_head = apart.amax(-1) / size.amax(-1)
    return {"difference": float(apart.max() / size.max()), "difference_in_head": float(in_head.max())}


def agreed(mine: Sequence[torch.Tensor], theirs: Sequence[Sequence[Sequence[int]]]) -> dict[str, Any]:
    """How much of what is kept is the same, head by head, as a share of the larger choice."""
    shares = []
    for layer, others in zip(mine, theirs, strict=True):
        for head, other in enumerate(others):
            both = set(layer[:, head].tolist()) & set(other)
            shares.append(len(both) / max(len(layer), len(other)))
    return {
        "kept_alike": sum(shares) / len(shares),
        "kept_alike_least": min(shares),
        "entries": [len(layer) for layer in mine],
        "entries_kvpress": [len(layer[0]) for layer in theirs],
    }


@dataclass(frozen=True, slots=True)
class Item:
    """A prompt, its last tokens apart, and the word that a right answer holds."""

    kind: str
    length: int
    prompt: tuple[int, ...]
    tail: tuple[int, ...]
    word: str

    def __len__(self) -> int:
        return len(self.prompt) + len(self.tail)


def sentences() -> list[str]:
    """Plain sentences of the project's documents, without numbers, each once."""
    found: dict[str, None] = {}
    for file in sorted(DOCS.glob("*.md")):
        for block in file.read_text(encoding="utf-8").split("\n\n"):
            for sentence in re.split(r"(?<=\.)\s+", " ".join(block.split())):
                if re.fullmatch(r"[A-Z][A-Za-z ,;'-]{30,200}\.", sentence):
                    found[sentence] = None
    return list(found)


def made(given: argparse.Namespace, text: Text) -> Iterator[Item]:
    """The prompts, kinds and lengths in turn."""
    hay = sentences()
    sizes = {sentence: len(text.encode(" " + sentence)) for sentence in hay}
    for number in range(given.n):
        for length in given.lengths:
            for kind in given.kinds:
                yield item(given, text, sizes, kind, length, random.Random(f"{given.seed}/{number}/{length}/{kind}"))


def item(
    given: argparse.Namespace, text: Text, sizes: dict[str, int], kind: str, length: int, dice: random.Random
) -> Item:
    """One prompt: sentences in random order, from the first again where they run out, the needles among them."""
    if kind == "pass-key":
        word = str(dice.randrange(10 ** (given.digits - 1), 10**given.digits))
        needles, subject = [f"The pass key is {word}. Remember it."], "The pass key"
    else:
        people, things = dice.sample(PEOPLE, given.facts), dice.sample(list(THINGS), given.facts)
        known = {
            f"The {thing.format(who)}": dice.choice(THINGS[thing]) for who, thing in zip(people, things, strict=True)
        }
        needles = [f"{of} is {word}." for of, word in known.items()]
        subject, word = dice.choice(list(known.items()))

    def prompt(parts: Sequence[str]) -> tuple[int, ...]:
        asked = text.prompt(" ".join(parts) + f"\n\nWhat is {subject[0].lower()}{subject[1:]}?")
        return (*asked, *text.encode(f"{subject} is")) if given.begun else asked

    left = length - len(prompt(needles))
    order = dice.sample(list(sizes), len(sizes))
    parts: list[str] = []
    while left > 0:
        parts.append(order[len(parts) % len(order)])
        left -= sizes[parts[-1]]
    for needle in needles:
        parts.insert(dice.randrange(len(parts) + 1), needle)
    whole = prompt(parts)
    split = len(whole) - given.after
    return Item(kind, length, whole[:split], whole[split:], word)


def tasks(
    given: argparse.Namespace,
    model: CausalLM,
    text: Text,
    chosen: dict[str, Method],
    peer: Peer,
    record: dict[str, Any],
) -> None:
    """Have both sides answer all prompts; the record is written as it grows."""
    record["items"] = []
    ends = sorted(text.eos)
    count = given.n * len(given.lengths) * len(given.kinds)
    for number, each in enumerate(made(given, text)):
        if len(each) + given.max_tokens > (model.context or sys.maxsize):
            raise SystemExit(f"a prompt of {len(each)} tokens is more than the model reads")
        mine = {name: m for name, m in chosen.items() if name != OBSERVED or len(each.prompt) <= given.observed_to}
        pairs = [(f"{name} {share:g}", m, share) for name, m in mine.items() for share in given.budgets]
        rows = [{"row": FULL, "press": None, "knobs": {}}, *(m.row(name, share) for name, m, share in pairs)]
        policies = {name: m.policy(share) for name, m, share in pairs}
        own = Own(model, each.prompt, len(each.prompt) if OBSERVED in mine else given.window)
        ours = own.answers(policies, each.tail, given.max_tokens, ends)
        own.slot.close()
        theirs = peer.ask(
            do="answers",
            prompt=list(each.prompt),
            tail=list(each.tail),
            rows=rows,
            limit=given.max_tokens,
            ends=ends,
            apart=given.apart,
        )["rows"]
        answers = {
            row["row"]: {
                "laconic": judged(ours[row["row"]], each, text),
                "kvpress": judged(theirs[row["row"]], each, text),
            }
            for row in rows
        }
        record["items"].append(
            {"kind": each.kind, "length": each.length, "tokens": len(each), "word": each.word, "rows": answers}
        )
        record["rows"] = told(record["items"])
        write(given, record)
        sys.stderr.write(f"{number + 1} of {count} prompts\n")


def judged(found: dict[str, Any], each: Item, text: Text) -> dict[str, Any]:
    """An answer and whether it is right."""
    answer = text.decode(found["tokens"])
    # digits apart are no other key
    right = each.word in (answer.replace(" ", "") if each.kind == "pass-key" else answer)
    return {"right": right, "answer": answer, "bytes": found["bytes"], "entries": squeezed(found["entries"])}


def squeezed(entries: list[int]) -> int | list[int]:
    """One number where all layers have the same."""
    return entries[0] if len(set(entries)) == 1 else entries


def told(items: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Accuracies and bytes by kind, length and row, and how often both sides say the same."""
    groups: dict[tuple[str, int, str], list[dict[str, Any]]] = {}
    for each in items:
        for row, sides in each["rows"].items():
            groups.setdefault((each["kind"], each["length"], row), []).append(sides)
    rows = []
    for (kind, length, row), pairs in sorted(groups.items(), key=lambda group: group[0][:2]):
        n = len(pairs)
        made: dict[str, Any] = {"kind": kind, "length": length, "row": row, "n": n}
        for side in ("laconic", "kvpress"):
            right = sum(pair[side]["right"] for pair in pairs)
            made[side] = {
                "accuracy": right / n,
                "accuracy_ci": list(wilson(right, n)),
                "bytes": sum(pair[side]["bytes"] for pair in pairs) / n,
            }
        made["same_answer"] = sum(pair["laconic"]["answer"] == pair["kvpress"]["answer"] for pair in pairs) / n
        made["laconic_alone_right"] = sum(p["laconic"]["right"] and not p["kvpress"]["right"] for p in pairs)
        made["kvpress_alone_right"] = sum(p["kvpress"]["right"] and not p["laconic"]["right"] for p in pairs)
        rows.append(made)
    return rows


def setup(given: argparse.Namespace) -> dict[str, Any]:
    """What was asked for, without the paths of this machine."""
    left_out = ("kvpress", "log", "json")
    return {
        name: Path(value).name if name in ("model", "text") else value
        for name, value in vars(given).items()
        if name not in left_out
    }


def write(given: argparse.Namespace, record: dict[str, Any]) -> None:
    """The record so far, to its file."""
    full = record | {"provenance": provenance(command())}
    given.json.write_text(json.dumps(full, indent=1) + "\n", encoding="utf-8")


def command() -> str:
    """This command, without the paths of this machine."""
    return " ".join(["python", "scripts/kv_peers.py", *(Path(w).name if "/" in w else w for w in sys.argv[1:])])


def score_table(told: dict[str, Any]) -> str:
    """Differences of scores and agreement of choices, a line a method."""
    lines = [
        f"{told['tokens']} tokens of {told['text']}; logits differ by {told['logits']:.1e} of the largest",
        f"{'method':12s} {'difference':>10s} {'in a head':>10s} {'kept alike':>10s} {'at least':>9s}",
    ]
    for name, row in told["methods"].items():
        parts = [f"{row[key]:10.1e}" if key in row else " " * 10 for key in ("difference", "difference_in_head")]
        lines.append(f"{name:12s} {' '.join(parts)} {row['kept_alike']:10.2%} {row['kept_alike_least']:9.2%}")
    return "\n".join(lines) + "\n"


def task_table(rows: Sequence[dict[str, Any]]) -> str:
    """Accuracies and megabytes of both sides, a line a row."""
    lines = [
        f"{'kind':8s} {'length':>6s} {'row':18s} {'n':>3s} {'laconic':>20s} {'kvpress':>20s} "
        f"{'MB':>6s} {'MB kvp':>6s} {'same':>6s} alone right"
    ]
    for row in rows:
        sides = [row[side] for side in ("laconic", "kvpress")]
        shares = [f"{s['accuracy']:6.1%} ({s['accuracy_ci'][0]:5.1%}-{s['accuracy_ci'][1]:5.1%})" for s in sides]
        sizes = [f"{s['bytes'] / 1e6:6.1f}" for s in sides]
        lines.append(
            f"{row['kind']:8s} {row['length']:6d} {row['row']:18s} {row['n']:3d} {shares[0]:>20s} {shares[1]:>20s} "
            f"{sizes[0]} {sizes[1]} {row['same_answer']:6.1%} "
            f"{row['laconic_alone_right']}:{row['kvpress_alone_right']}"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
