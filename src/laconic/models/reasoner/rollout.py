"""Batched greedy or sampled generation, and the model's own belief in an answer after a forced close."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from .corpus import CLOSE, prompt
from .tokenizer import THINK, THINK_END

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

PROBE = "The answer is \\boxed{"
BOXED = re.compile(r"\\boxed\{([^}]*)\}")


@dataclass(frozen=True)
class Rollout:
    """What the model wrote for a question: its thought, its answer ("" if none), and how many tokens it thought."""

    question: str
    text: str
    thought: str
    answer: str
    thinking_tokens: int


@dataclass(frozen=True)
class Belief:
    """The answer that the model gives when its thought is closed by force, and its probability."""

    answer: str
    probability: float


class Reasoner:
    """A checkpoint in float32, ready to answer questions in batches."""

    def __init__(self, folder: Path) -> None:
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self.tokenizer: PreTrainedTokenizerFast = AutoTokenizer.from_pretrained(folder, padding_side="left")
        self.network: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()

    def count(self, text: str) -> int:
        """Tokens of a text."""
        return len(self.tokenizer.encode(text, add_special_tokens=False))

    def answer(self, questions: Sequence[str], limit: int = 600, temperature: float = 0.0) -> list[Rollout]:
        """Think freely and answer; greedy at temperature 0."""
        sampling = {"do_sample": True, "temperature": temperature, "top_k": 0} if temperature else {"do_sample": False}
        found = self._batched([prompt(question) for question in questions], 100, max_new_tokens=limit, **sampling)
        results = []
        for question, (tokens, _) in zip(questions, found, strict=True):
            text = self.tokenizer.decode(tokens, skip_special_tokens=True)
            head, closed, tail = text.partition(THINK_END)
            thought = head.removeprefix(THINK).strip()
            boxed = BOXED.search(tail) if closed else None
            results.append(Rollout(question, text, thought, boxed.group(1) if boxed else "", self.count(thought)))
        return results

    def beliefs(self, questions: Sequence[str], thoughts: Sequence[str], close: str = CLOSE) -> list[Belief]:
        """What the model answers, and how surely, when each (unfinished) thought is closed with `close`."""
        texts = [f"{prompt(q)}{THINK}\n{t}{close}{PROBE}" for q, t in zip(questions, thoughts, strict=True)]
        stop = self.tokenizer.convert_tokens_to_ids("}")
        results = []
        for tokens, chances in self._batched(texts, 200, max_new_tokens=8, do_sample=False, eos_token_id=stop):
            length = tokens.index(stop) + 1 if stop in tokens else len(tokens)
            probability = float(torch.tensor(chances[:length]).prod())
            text = self.tokenizer.decode(tokens[:length])
            results.append(Belief(text.removesuffix("}"), probability if text.endswith("}") else 0.0))
        return results

    @torch.inference_mode()
    def _batched(self, texts: Sequence[str], size: int, **settings: Any) -> list[tuple[list[int], list[float]]]:
        """New tokens and their probabilities for each text; texts of like length share a batch."""
        order = sorted(range(len(texts)), key=lambda at: len(texts[at]))
        results: list[tuple[list[int], list[float]]] = [([], [])] * len(texts)
        for start in range(0, len(order), size):
            rows = order[start : start + size]
            inputs = self.tokenizer(
                [texts[at] for at in rows], return_tensors="pt", padding=True, add_special_tokens=False
            )
            inputs.pop("token_type_ids", None)
            made = self.network.generate(
                **inputs, return_dict_in_generate=True, output_logits=settings["max_new_tokens"] <= 16, **settings
            )
            new = made.sequences[:, inputs["input_ids"].shape[1] :]
            chances = torch.zeros(new.shape)
            if made.logits is not None:
                everything = torch.stack(made.logits, 1).softmax(-1)
                chances = everything.gather(-1, new[..., None])[..., 0]
            for at, tokens, chance in zip(rows, new.tolist(), chances.tolist(), strict=True):
                results[at] = (tokens, chance)
        return results


@torch.inference_mode()
def draft_agreement(
    target: Reasoner, draft: Reasoner, rollouts: Sequence[Rollout], length: int = 8
) -> dict[str, float]:
    """How well greedy drafts match what the target wrote.

    Returns the share of single tokens that agree, and the mean number of accepted tokens when `length` tokens are
    drafted at a time and the target then adds one of its own.
    """
    agreed = total = accepted = drafts = 0
    for rollout in rollouts:
        head = target.tokenizer.encode(prompt(rollout.question), add_special_tokens=False)
        body = target.tokenizer.encode(rollout.text, add_special_tokens=False)
        logits = draft.network(torch.tensor([head + body])).logits[0]
        same = (logits[len(head) - 1 : -1].argmax(-1) == torch.tensor(body)).tolist()
        agreed, total, at = agreed + sum(same), total + len(same), 0
        while at < len(same):
            run = next((k for k, ok in enumerate(same[at : at + length]) if not ok), min(length, len(same) - at))
            accepted, drafts, at = accepted + run, drafts + 1, at + run + 1
    return {"token_agreement": agreed / max(1, total), f"accepted_of_{length}": accepted / max(1, drafts)}
