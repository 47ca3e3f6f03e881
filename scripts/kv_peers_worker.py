"""NVIDIA kvpress in an environment of its own: prompts come in by line, scores and answers go out.

Run by ``kv_peers.py``, never by hand. Nothing but kvpress, what it is made of and the standard library is imported
here, so that the environment needs nothing of laconic's. A prompt is a list of token ids. A *row* is ``{"row", "press",
"knobs"}``: its name, the class and what that is made with; no press leaves the cache as it is.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from importlib import import_module, metadata
from typing import Any

WHOLE = "eager"
"""How Transformers must attend for a press to see the weights of all queries."""
USUAL = "sdpa"
SEES_ALL = "ObservedAttentionPress"


def main() -> None:
    """Do what is asked, line by line."""
    given = json.loads(sys.argv[1])
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # libraries print, and that must not get among the lines
    os.environ["HF_HUB_OFFLINE"] = "1"
    side = Side(given["model"], given["threads"], given["seed"])
    _say(out, {"versions": {name: metadata.version(name) for name in ("kvpress", "torch", "transformers")}})
    for line in iter(sys.stdin.readline, ""):
        asked = json.loads(line)
        try:
            _say(out, getattr(side, asked.pop("do"))(**asked))
        except Exception as error:
            _say(out, {"error": f"{type(error).__name__}: {error}"})


def _say(out: Any, said: dict[str, Any]) -> None:
    out.write(json.dumps(said) + "\n")
    out.flush()


class Side:
    """The model under kvpress."""

    def __init__(self, model: str, threads: int, seed: int) -> None:
        self.torch, self.kvpress = import_module("torch"), import_module("kvpress")
        self.transformers = import_module("transformers")
        self.torch.set_num_threads(threads)
        self.torch.manual_seed(seed)
        made = self.transformers.AutoModelForCausalLM
        self.model = made.from_pretrained(model, dtype=self.torch.float32, attn_implementation=USUAL).eval()

    def scores(self, prompt: list[int], rows: list[dict[str, Any]]) -> dict[str, Any]:
        """Of each row: scores ``[layer][head][entry]``, and the positions ``[layer][head]`` of what is kept."""
        told: dict[str, dict[str, list[Any]]] = {row["row"]: {"scores": [], "kept": []} for row in rows}
        presses = self._made(rows)

        def noted(module: Any, hidden: Any, keys: Any, values: Any, attentions: Any, others: Any) -> None:
            for name, press in presses.items():
                state = self.torch.get_rng_state()
                scores = press.score(module, hidden, keys, values, attentions, others)
                self.torch.set_rng_state(state)  # where scores are drawn, the same ones are drawn again
                left = press.compress(module, hidden, keys, values, attentions, others)[0]
                kept = scores.topk(left.shape[2], dim=-1).indices
                assert bool((keys.gather(2, kept[..., None].expand_as(left)) == left).all())
                told[name]["scores"].append(scores[0].tolist())
                told[name]["kept"].append(kept[0].sort().values.tolist())

        logits = self._read(prompt, rows, self._shared(noted))[1]
        return {"rows": told, "logits": logits.tolist()}

    def answers(
        self, prompt: list[int], tail: list[int], rows: list[dict[str, Any]], limit: int, ends: list[int], apart: bool
    ) -> dict[str, Any]:
        """Of each row: what is written, the bytes of the cache before that, and the entries of its layers.

        The ``tail`` of the prompt is read first, over what is left of the rest.
        """
        told = {}
        for caches, logits in self._caches(prompt, rows, apart):
            for name, cache in caches.items():
                held = [(layer.keys, layer.values) for layer in cache.layers]
                told[name] = {
                    "bytes": sum(keys.nbytes + values.nbytes for keys, values in held),
                    "entries": [keys.shape[2] for keys, _ in held],
                }
                last, at = int(logits.argmax()), len(prompt)
                for token in tail:
                    last, at = self._next(cache, token, at), at + 1
                written = [last]
                while len(written) < limit and written[-1] not in ends:
                    written.append(self._next(cache, written[-1], at))
                    at += 1
                told[name]["tokens"] = written
        return {"rows": told}

    def _caches(self, prompt: list[int], rows: list[dict[str, Any]], apart: bool) -> Iterator[tuple[Any, Any]]:
        """Caches of all rows, and what follows the prompt.

        A press takes entries away from a layer once its attention is done, so no layer sees what another one lost while
        the prompt is read: one reading serves all presses. ``apart`` reads anew for each of them, as kvpress itself
        does, to show that it is so.
        """
        if apart:
            for row in rows:
                made = self._made([row])
                cache, logits = self._read(prompt, [row], made[row["row"]] if made else nullcontext)
                yield {row["row"]: cache}, logits
            return
        presses = self._made(rows)
        caches = {name: self.transformers.DynamicCache() for name in presses}

        def reduced(module: Any, hidden: Any, keys: Any, values: Any, attentions: Any, others: Any) -> None:
            for name, press in presses.items():
                left = press.compress(module, hidden, keys, values, attentions, others)
                caches[name].update(left[0].clone(), left[1].clone(), module.layer_idx)

        full, logits = self._read(prompt, rows, self._shared(reduced))
        yield caches | {row["row"]: full for row in rows if row["press"] is None}, logits

    def _made(self, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
        presses = {row["row"]: getattr(self.kvpress, row["press"])(**row["knobs"]) for row in rows if row["press"]}
        for press in presses.values():
            press.post_init_from_model(self.model)
        return presses

    def _shared(self, do: Any) -> Any:
        """A press that takes nothing away, and has ``do`` called with what a press is given, layer by layer."""

        class Shared(self.kvpress.BasePress):  # type: ignore[misc, name-defined]
            def compress(self, module: Any, hidden: Any, keys: Any, values: Any, attentions: Any, others: Any) -> Any:
                do(module, hidden, keys, values, attentions, others)
                return keys, values

        return Shared()

    def _read(self, prompt: list[int], rows: Sequence[dict[str, Any]], press: Any) -> tuple[Any, Any]:
        """The prompt read at once under a press: the cache, and the logits of what follows."""
        cache = self.transformers.DynamicCache()
        with self._attending(any(row["press"] == SEES_ALL for row in rows)), self.torch.inference_mode():
            under = press() if press is nullcontext else press(self.model)
            with under:
                told = self.model(self.torch.tensor([prompt]), past_key_values=cache, logits_to_keep=1)
        return cache, told.logits[0, -1]

    @contextmanager
    def _attending(self, whole: bool) -> Iterator[None]:
        """Show presses all weights for as long as this lasts."""
        self.model.set_attn_implementation(WHOLE if whole else USUAL)
        try:
            yield
        finally:
            self.model.set_attn_implementation(USUAL)

    def _next(self, cache: Any, token: int, at: int) -> int:
        """The likeliest one after a token at this place, which a cache that lost entries does not know itself."""
        with self.torch.inference_mode():
            told = self.model(
                self.torch.tensor([[token]]), past_key_values=cache, position_ids=self.torch.tensor([[at]])
            )
        return int(told.logits[0, -1].argmax())


if __name__ == "__main__":
    main()
