"""Calls of tools, found whatever their tags look like, and left whole by every limit."""

from __future__ import annotations

import pytest

from laconic import Engine, Limits, Methods, Request
from laconic.models.formats import Format, discover
from laconic.models.text import Text
from tests import tiny
from tests.fakes import Writes
from tests.models.test_formats import ROWS, tokenizer, turns

THOUGHT = "{% if m.reasoning_content %}<think>{{ m.reasoning_content }}</think>{% endif %}"
NAME = "{{ c.function.name }}"
DATA = '{"name": "{{ c.function.name }}", "arguments": {{ c.function.arguments|tojson }}}'


def calls(opens: str, closes: str, body: str = NAME, *, past: str = "{{ m.content }}") -> str:
    """A template whose turns write their calls so, behind the answer."""
    return turns(f"{THOUGHT}{past}{{% for c in m.tool_calls or [] %}}{opens}{body}{closes}{{% endfor %}}")


KIMI = ("<|tool_calls_section_begin|>", "<|tool_calls_section_end|>")
SHAPES = {
    "between tags": (calls("\n<tool_call>\n", "\n</tool_call>", DATA), "<tool_call>", "</tool_call>"),
    "a function between tags": (
        calls("\n<tool_call>\n<function=", ">\n</function>\n</tool_call>"), "<tool_call>", "</tool_call>",
    ),
    "kimi-k2": (calls(f"{KIMI[0]}<|tool_call_begin|>", f":0{{}}<|tool_call_end|>{KIMI[1]}"), *KIMI),
    "gemma-4, before the answer": (
        turns(
            f"{THOUGHT}{{% for c in m.tool_calls or [] %}}<|tool_call>call:{NAME}{{}}<tool_call|>{{% endfor %}}"
            "{{ m.content }}"
        ), "<|tool_call>", "<tool_call|>",
    ),
    "mistral, never closed": (
        calls("[TOOL_CALLS]", "", NAME + "[ARGS]{{ c.function.arguments|tojson }}"), "[TOOL_CALLS]", "<|im_end|>",
    ),
    "a list, never closed": (calls("[TOOL_CALLS][", "]", DATA), "[TOOL_CALLS]", "<|im_end|>"),
    "deepseek, arguments as text": (
        calls("<|calls|begin|><|call|begin|>", "<|call|end|><|calls|end|>",
              "{{ c.function.name + '<|sep|>' + c.function.arguments }}"),
        "<|calls|begin|>", "<|calls|end|>",
    ),
    "lfm-2": (calls("<|tool_call_start|>[", "()]<|tool_call_end|>"), "<|tool_call_start|>", "<|tool_call_end|>"),
    "in place of the answer": (
        calls("<tool_call>", "</tool_call>", past="{{ m.content if not m.tool_calls }}"),
        "<tool_call>", "</tool_call>",
    ),
    "a reply is insisted on": (
        calls("[TOOL_CALLS]", "", past="{{ raise_exception('no') if m.tool_calls and loop.last }}{{ m.content }}"),
        "[TOOL_CALLS]", "<|im_end|>",
    ),
    "an end of its own": (calls("<|python_tag|>", "<|eom_id|>", DATA), "<|python_tag|>", "<|eom_id|>"),
    "kimi-k3, tags around names": (
        turns(
            "{% if m.reasoning_content %}<|open|>think<|sep|>{{ m.reasoning_content }}<|close|>think<|sep|>{% endif %}"
            "<|open|>response<|sep|>{{ m.content }}<|close|>response<|sep|>{% if m.tool_calls %}<|open|>tools<|sep|>"
            f"{{% for c in m.tool_calls %}}<|open|>call tool='{NAME}'<|sep|>{{}}<|close|>call<|sep|>{{% endfor %}}"
            "<|close|>tools<|sep|>{% endif %}<|close|>message<|sep|>"
        ), "<|open|>tools<|sep|>", "<|close|>tools<|sep|>",
    ),
    "a message of its own below the answer": (
        calls("<|im_end|>\n<|im_start|>assistant\n<TOOLCALL>[", "]</TOOLCALL>"), "<TOOLCALL>", "</TOOLCALL>",
    ),
    "answered in the prompt's words": (
        calls("<|tool_call>", "<tool_call|><|tool_response>"), "<|tool_call>", "<tool_call|>",
    ),
    "only without an answer": (
        calls("<|call_begin|>", "<|call_end|>", past="{{ m.content if m.content else '' }}").replace(
            "m.tool_calls or []", "(m.tool_calls if not m.content) or []"
        ), "<|call_begin|>", "<|call_end|>",
    ),
    "named, and refused when rendered": (
        calls("<|tool_calls_begin|>", "<|tool_calls_end|>", "{{ raise_exception('no') }}"),
        "<|tool_calls_begin|>", "<|tool_calls_end|>",
    ),
    "tags that no rule foresees": (
        calls("]<]mini[>[<call>\n", "]<]mini[>[</call>", DATA), "]<]mini[>[<call>", "</call>",
    ),
    "brackets that nobody has seen": (calls("◁call▷", "◁/call▷", DATA), "◁call▷", "◁/call▷"),
    "a fence": (calls("```tool_code\n", "(at)\n```"), "```tool_code", "```"),
}  # fmt: skip


@pytest.mark.parametrize(("template", "opens", "closes"), SHAPES.values(), ids=SHAPES)
def test_calls_are_asides_whatever_stands_around_them(template: str, opens: str, closes: str) -> None:
    found = discover(tokenizer(template))
    assert (found.asides, found.aside_end) == ((opens,), closes)


@pytest.mark.parametrize(
    "template",
    [
        ROWS["qwen3"].template,
        ROWS["command-r7b"].template,
        calls("", "", DATA),
        calls("Action: ", ""),
        turns(THOUGHT + "{{ m.content }}{{ m.tool_calls if m.tool_calls }}"),
    ],
)
def test_what_an_answer_may_begin_with_too_is_no_call(template: str) -> None:
    assert discover(tokenizer(template)).asides == ()


def test_the_users_tags_get_the_templates_calls() -> None:
    found = discover(tokenizer(SHAPES["kimi-k2"][0]), Format("<a>", "</a>"))
    assert (found.opens, found.asides, found.aside_end) == ("<a>", KIMI[:1], KIMI[1])


@pytest.mark.parametrize("name", ["between tags", "kimi-k2", "gemma-4, before the answer", "mistral, never closed"])
@pytest.mark.parametrize("thought", ["<think>a</think>", "<think>a"], ids=["answer", "open thought"])
def test_no_limit_cuts_a_call(name: str, thought: str) -> None:
    template, opens, closes = SHAPES[name]
    made = tiny.tokenizer(template=template)
    made.add_tokens([tag for tag in (opens, closes) if tag not in made.get_vocab()])
    text = Text(made)
    call = f"{opens}get_weather(where=Paris){closes.replace('<|im_end|>', '')}"
    prompt = text.prompt("Hi")
    writes = Writes(len(prompt), text.encode(f"{thought}{call}<|im_end|>"), 300)
    engine = Engine(writes, text, Methods(drafter="none", length="constant", think=("budget:6,answer=4",)))
    result = engine.run([Request(prompt, limits=Limits(200))])[0]
    assert (result.text, result.answer, result.finish_reason) == (thought + call, call, "stop")
