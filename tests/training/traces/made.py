"""One thought, worked out by hand, in three ways of writing; specs of methods that have a knob without a default."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import laconic.methods  # noqa: F401  (fills the registry)
from laconic.models.text import Text
from laconic.policy import registry
from laconic.training.traces.base import Tools, TraceTransform
from laconic.training.traces.rendering import Renderer
from laconic.training.traces.trace import Problem, Trace
from tests import tiny
from tests.models.test_formats import kept, tokenizer, turns

SPECS = {"asap": "asap:0.5", "light-r1": "light-r1:0.5", "select2reason": "select2reason:0.5"}

TEMPLATE = turns(kept("<think>\n", "\n</think>\n\n"))
THINK = Text(tiny.tokenizer(template=TEMPLATE))
CHANNELS = (
    "{% for m in messages %}<|start|>{{ m.role }}"
    "{% if m.thinking %}<|channel|>analysis<|message|>{{ m.thinking }}<|end|><|start|>assistant{% endif %}"
    "{% if m.role == 'assistant' %}<|channel|>final<|message|>{{ m.content }}<|return|>"
    "{% else %}<|message|>{{ m.content }}<|end|>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant{% endif %}"
)


def harmony() -> Text:
    """A model that writes in gpt-oss's channels."""
    words = tokenizer(CHANNELS, "<|channel|>", "<|message|>", "<|end|>", "<|start|>", "<|return|>")
    words.eos_token = "<|return|>"
    return Text(words)


HARMONY = harmony()
PLAIN = Text(tiny.tokenizer(tags_as_tokens=False, template=turns("{{ m.content }}")))
"""A model without thinking tags."""

QUESTION = "What is 17 + 4 * 9?"
STEPS = (
    "First, 4 * 9 = 36.",
    "Then 17 + 36 = 53. So the answer is 53.",
    "Wait, let me check that again. 36 + 17 = 53, the same.",
    "Hmm, count differently: 53 - 17 = 36. Good, so it is 53.",
)
THOUGHT = "\n\n".join(STEPS)
REPLY = "The answer is \\boxed{53}."
PROBLEM = Problem("sum", ({"role": "user", "content": QUESTION},), "53")
WRONG = ("First, 4 * 9 = 36.", "Then 17 + 36 = 53. So the answer is 53.", "Wait, 17 + 36 = 43, so the answer is 43.")


def tools(text: Text = THINK, **more: Any) -> Tools:
    """Tools without a model."""
    return Tools(Renderer(text), **more)


def trace(
    steps: Sequence[str] = STEPS, answer: str = "53", *, id: str = "sum", text: Text = THINK, label: str = ""
) -> Trace:
    """A trace of the problem with this answer."""
    thought, reply = "\n\n".join(steps), f"The answer is \\boxed{{{answer}}}."
    size = len(text.encode(Renderer(text).completion(PROBLEM.messages, thought, reply)))
    return Trace(id, thought, reply, size, answer, answer == "53", label, "made:1")


def make(spec: str) -> TraceTransform:
    """A transform by its spec."""
    return cast(TraceTransform, registry.build("trace", spec))


def rows(spec: str, traces: Sequence[Trace], having: Tools | None = None) -> list[Any]:
    """What a transform makes of the problem's traces."""
    return list(make(spec).rows(PROBLEM, traces, having or tools()))


def record(path: Path, *responses: str, question: str = QUESTION, answer: Any = "53") -> Path:
    """A file of one question with these responses, as ``laconic replay`` reads it."""
    entry = {"question": question, "responses": list(responses)} | ({} if answer is None else {"answer": answer})
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(entry) + "\n")
    return path


def thought(steps: Sequence[str], answer: str) -> str:
    """A reply in think tags."""
    return "<think>\n" + "\n\n".join(steps) + f"\n</think>\n\nThe answer is \\boxed{{{answer}}}."
