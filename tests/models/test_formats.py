"""Formats and switches, found in short chat templates of every shape that families have."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import pytest

from laconic.models.formats import Format, discover
from tests import tiny


def turns(past: str, opening: str = "", *, before: str = "", roles: str = "<|im_start|>{}\n|<|im_end|>\n") -> str:
    """A chat template: ``past`` writes an assistant's turn, ``opening`` follows the header of the reply."""
    begin, end = roles.split("|<|im_end|>") if roles.endswith("<|im_end|>\n") else (roles, "")
    begin, end = begin.rstrip("|"), f"<|im_end|>{end}"
    user, assistant = begin.format("user"), begin.format("assistant")
    return (
        f"{before}{{% for m in messages %}}{{% if m.role == 'assistant' %}}{assistant}{past}{end}"
        f"{{% else %}}{user}{{{{ m.content }}}}{end}{{% endif %}}{{% endfor %}}"
        f"{{% if add_generation_prompt %}}{assistant}{opening}{{% endif %}}"
    )


def kept(opens: str, closes: str, field: str = "reasoning_content") -> str:
    """A past turn with its thought between two texts."""
    return f"{{% if m.{field} %}}{opens}{{{{ m.{field} }}}}{closes}{{% endif %}}{{{{ m.content }}}}"


EITHER = "{% if enable_thinking|default(true) %}<think>{% else %}</think>{% endif %}"
DROPPED = "{{ m.content.split('</think>')[-1] }}"
OFF = "{{% if not {}|default(true) %}}{}{{% endif %}}"


@dataclass(frozen=True)
class Row:
    template: str
    opens: str
    closes: str
    bridge: str
    source: str = "rendered"
    switch: tuple[str, Any, Any] | None = None
    effort: tuple[str, ...] = ()
    prompt_ends: str = ""
    """With what the prompt of a thinking request ends."""


ENABLE = ("enable_thinking", True, False)
ROWS = {
    "qwen3": Row(
        turns(kept("<think>\n", "\n</think>\n\n"), OFF.format("enable_thinking", "<think>\n\n</think>\n\n")),
        "<think>", "</think>", "\n\n", switch=ENABLE,
    ),
    "opened by the prompt": Row(
        turns(kept("<think>\n", "\n</think>\n\n"), "<think>\n"),
        "<think>", "</think>", "\n\n", prompt_ends="<think>\n",
    ),
    "deepseek-r1": Row(turns(DROPPED, "<think>\n"), "<think>", "</think>", "\n\n", prompt_ends="<think>\n"),
    "deepseek-v3.1": Row(
        turns("</think>" + DROPPED, "{% if thinking|default(false) %}<think>{% else %}</think>{% endif %}"),
        "<think>", "</think>", "", switch=("thinking", True, False), prompt_ends="<think>",
    ),
    "glm-4.5": Row(
        turns("\n" + kept("<think>", "</think>\n"), OFF.format("enable_thinking", "\n<think></think>")),
        "<think>", "</think>", "\n", switch=ENABLE,
    ),
    "glm-4.7": Row(
        turns(kept("<think>", "</think>"), EITHER),
        "<think>", "</think>", "", switch=ENABLE, prompt_ends="<think>",
    ),
    "gemma-4": Row(
        turns(
            kept("<|channel>thought\n", "\n<channel|>", "reasoning"),
            OFF.format("enable_thinking", "<|channel>thought\n<channel|>"),
        ),
        "<|channel>thought", "<channel|>", "", switch=ENABLE,
    ),
    "gemma-4 without past thoughts": Row(
        turns("{{ m.content.split('<channel|>')[-1] }}"), "<|channel>thought", "<channel|>", "", "table"
    ),
    "kimi-k3": Row(
        turns(
            "{% if thinking|default(true) %}<|open|>think<|sep|>{{ m.reasoning_content }}"
            "<|close|>think<|sep|>{% endif %}"
            "<|open|>response<|sep|>{{ m.content }}<|close|>response<|sep|>",
            "{% if thinking|default(true) %}<|open|>think<|sep|>{% else %}<|open|>response<|sep|>{% endif %}",
            before="{% if thinking_effort is defined %}{% if thinking_effort not in ['low', 'high'] %}"
            "{{ raise_exception('no such effort') }}{% endif %}effort {{ thinking_effort }}{% endif %}",
        ),
        "<|open|>think<|sep|>", "<|close|>think<|sep|>", "<|open|>response<|sep|>",
        switch=("thinking", True, False), effort=("low", "high"), prompt_ends="<|open|>think<|sep|>",
    ),
    "minimax-m3": Row(
        turns(
            kept("<mm:think>", "</mm:think>"),
            "{% if thinking_mode|default('enabled') == 'disabled' %}</mm:think>{% endif %}",
        ),
        "<mm:think>", "</mm:think>", "", switch=("thinking_mode", "enabled", "disabled"),
    ),
    "ministral-3": Row(
        turns(
            "{% for c in m.content if c is mapping %}{% if c.type == 'thinking' %}[THINK]{{ c.thinking }}[/THINK]"
            "{% else %}{{ c.text }}{% endif %}{% endfor %}{{ m.content if m.content is string }}"
        ),
        "[THINK]", "[/THINK]", "",
    ),
    "mistral-small-4": Row(
        turns(
            kept("[THINK]", "[/THINK]", "thinking"),
            before="[effort]{{ 'high' if reasoning_effort == 'high' else 'none' }}",
        ),
        "[THINK]", "[/THINK]", "", switch=("reasoning_effort", "high", "none"), effort=("high",),
    ),
    "seed-oss": Row(
        turns(
            kept("<seed:think>", "</seed:think>\n"),
            before="{% if thinking_budget|default(-1) == 0 %}Answer at once.{% elif thinking_budget|default(-1) > 0 %}"
            "Think for {{ thinking_budget }} tokens.{% endif %}",
        ),
        "<seed:think>", "</seed:think>", "\n", switch=("thinking_budget", -1, 0),
    ),
    "nemotron-3": Row(
        turns(
            kept("<think>\n", "\n</think>\n"),
            "{% if enable_thinking|default(true) %}<think>\n{% else %}<think></think>{% endif %}",
            before="{% if low_effort|default(false) %}Be quick.{% endif %}",
        ),
        "<think>", "</think>", "\n", switch=ENABLE, effort=("low",), prompt_ends="<think>\n",
    ),
    "an answer between tags": Row(
        turns(
            kept("<think>", "</think><response>").replace("{{ m.content }}", "{{ m.content }}</response>"),
            before="{% if thinking|default(false) %}Think first.{% endif %}",
        ),
        "<think>", "</think>", "<response>", switch=("thinking", True, False),
    ),
    "granite-3.3": Row(
        turns(
            "{{ m.content }}",
            before="{% if thinking %}Think in <think></think>, answer in <response></response>.{% endif %}",
        ),
        "<think>", "</think>", "<response>", "table", switch=("thinking", True, False),
    ),
    "qwq": Row(
        turns(DROPPED, "<think>\n" + OFF.format("enable_thinking", "</think>")),
        "<think>", "</think>", "\n\n", switch=ENABLE, prompt_ends="<think>\n",
    ),
    "nemotron-nano-v2": Row(
        turns(
            DROPPED,
            "{% if messages[0].role == 'system' and '/no_think' in messages[0].content %}<think></think>"
            "{% else %}<think>\n{% endif %}",
        ),
        "<think>", "</think>", "", switch=("/no_think", "", "/no_think"), prompt_ends="<think>\n",
    ),
    "hy3": Row(
        turns(
            kept("<think:x>", "</think:x>"),
            "<think:x>{% if reasoning_effort|default('no_think') == 'no_think' %}</think:x>{% endif %}",
            before="{% if reasoning_effort is defined and reasoning_effort not in ['no_think', 'low', 'high'] %}"
            "{{ raise_exception('no such effort') }}{% endif %}effort {{ reasoning_effort }}",
        ),
        "<think:x>", "</think:x>", "", switch=("reasoning_effort", "high", "no_think"), effort=("low", "high"),
        prompt_ends="<think:x>",
    ),
    "deepseek-v4": Row(
        turns(
            kept("<think>", "</think>"),
            "{% if thinking|default(false) %}<think>{% else %}</think>{% endif %}",
            before="{% if thinking|default(false) and reasoning_effort|default('') == 'max' %}Think hard.{% endif %}",
        ),
        "<think>", "</think>", "", switch=("thinking", True, False), effort=("max",), prompt_ends="<think>",
    ),
    "solar": Row(
        turns(
            "{% if m.reasoning_content %}<|think|>{{ m.reasoning_content }}<|im_end|>\n<|im_start|>assistant\n"
            "{% endif %}<|content|>{{ m.content }}",
            "{% if reasoning_effort|default('high') == 'low' %}<|think|><|im_end|>\n<|im_start|>assistant\n{% endif %}"
            "{# 'high' #}",
        ),
        "<|think|>", "<|im_end|>\n<|im_start|>assistant\n<|content|>", "", switch=("reasoning_effort", "high", "low"),
    ),
    "command-r7b": Row(
        turns(
            "{% if m.tool_calls %}<|START_THINKING|>{{ m.reasoning_content }}<|END_THINKING|>{{ m.tool_calls }}"
            "{% else %}<|START_RESPONSE|>{{ m.content }}<|END_RESPONSE|>{% endif %}",
            OFF.format("enable_thinking", "<|START_THINKING|><|END_THINKING|>"),
        ),
        "<|START_THINKING|>", "<|END_THINKING|>", "<|START_RESPONSE|>", switch=ENABLE,
    ),
    "apertus": Row(
        turns(
            "{{ m.content }}{# <|inner_prefix|> <|inner_suffix|> #}",
            before="{{ 'on' if enable_thinking|default(false) else 'off' }}",
        ),
        "<|inner_prefix|>", "<|inner_suffix|>", "", "table", switch=ENABLE,
    ),
    "smollm3": Row(
        turns("{{ m.content }}", OFF.format("enable_thinking", "<think>\n\n</think>\n")),
        "<think>", "</think>", "\n", switch=ENABLE,
    ),
    "phi-4-reasoning": Row(
        turns("{{ m.content }}", before="Think between <think> and </think>."), "<think>", "</think>", "\n\n", "table"
    ),
    "exaone-deep": Row(
        turns("{{ m.content }}", "<thought>\n"), "<thought>", "</thought>", "\n\n", prompt_ends="<thought>\n"
    ),
    "olmo-3-think": Row(turns("{{ m.content }}", "<think>"), "<think>", "</think>", "\n\n", prompt_ends="<think>"),
    "kimi-k2-thinking": Row(
        turns("<think>{{ m.reasoning_content if loop.last }}</think>{{ m.content }}"), "<think>", "</think>", ""
    ),
    "nobody has seen it": Row(
        turns(kept("<|ponder_begin|>", "<|ponder_end|>\n")), "<|ponder_begin|>", "<|ponder_end|>", "\n"
    ),
    "it insists on the switch": Row(
        turns(
            kept("<think>", "</think>"),
            "{{ '<think>' if enable_thinking else '<think></think>' }}",
            before="{{ raise_exception('enable_thinking is not said') if enable_thinking is not defined }}",
        ),
        "<think>", "</think>", "", switch=ENABLE, prompt_ends="<think>",
    ),
    "it insists on a level": Row(
        turns(
            kept("<think>", "</think>\n"),
            "{{ '</think>' if thinking_effort == 'none' else '<think>' }}",
            before="{{ raise_exception('no effort') if thinking_effort not in ['low', 'high', 'none'] }}"
            "effort {{ thinking_effort }}",
        ),
        "<think>", "</think>", "\n", switch=("thinking_effort", "high", "none"), effort=("low", "high"),
        prompt_ends="<think>",
    ),
    "attributes": Row(
        turns(kept('<think type="deep">\n', "\n</think>\n\n")), '<think type="deep">', "</think>", "\n\n",
    ),
    "attributes in the prompt alone": Row(
        turns("{{ m.content }}", '<think type="deep" lang=\'en\'>\n'),
        '<think type="deep" lang=\'en\'>', "</think>", "\n\n", prompt_ends='<think type="deep" lang=\'en\'>\n',
    ),
    "hunyuan, the answer opened": Row(
        turns(DROPPED, OFF.format("enable_thinking", "<think>\n\n</think>\n<answer>\n")),
        "<think>", "</think>", "\n<answer>\n", switch=ENABLE,
    ),
    "past answers without the header": Row(
        turns(kept("<think>", "</think>\n"), OFF.format("enable_thinking", "<think></think>\n<answer>\n")),
        "<think>", "</think>", "\n<answer>\n", switch=ENABLE,
    ),
    "past answers with the header": Row(
        turns("<think></think><answer>{{ m.content }}</answer>"), "<think>", "</think>", "<answer>",
    ),
    "apriel-1.6": Row(
        turns("{{ m.content.split('[BEGIN FINAL RESPONSE]')[-1] }}", "Here are my reasoning steps:\n"),
        "Here are my reasoning steps:", "[BEGIN FINAL RESPONSE]", "\n", "table",
        prompt_ends="Here are my reasoning steps:\n",
    ),
}  # fmt: skip


def tokenizer(template: str | None, *extra: str) -> Any:
    made = tiny.tokenizer(tags_as_tokens=False, template=template)
    made.add_tokens(list(extra), special_tokens=True)
    return made


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_a_format_is_read_off_the_template(row: Row) -> None:
    found = discover(tokenizer(row.template))
    assert (found.opens, found.closes, found.bridge) == (row.opens, row.closes, row.bridge)
    assert (found.source, found.reason) == (row.source, "")
    switch = found.switch
    assert (None if switch is None else (switch.keyword, switch.on, switch.off)) == row.switch
    assert (() if found.effort is None else tuple(level for level, _, _ in found.effort.levels)) == row.effort


@pytest.mark.parametrize("row", ["qwen3", "opened by the prompt", "seed-oss", "mistral-small-4", "nemotron-3", "hy3"])
def test_a_clock_in_the_prompt_is_no_switch_and_no_effort(row: str) -> None:
    clock = "{% if strftime_now is defined %}It is {{ strftime_now('%H:%M:%S.%f') }}.{% endif %}"
    assert discover(tokenizer(clock + ROWS[row].template)) == discover(tokenizer(ROWS[row].template))


def test_where_nothing_can_be_compared_no_switch_is_claimed() -> None:
    found = discover(tokenizer("{{ range(100000)|random }}" + ROWS["qwen3"].template))
    assert (found.opens, found.switch, found.effort) == ("<think>", None, None)


def test_an_answer_with_a_header_of_its_own() -> None:
    for name in [name for name in ROWS if "answer" in ROWS[name].bridge]:
        found = discover(tokenizer(ROWS[name].template))
        assert (found.headers, found.answer_end) == (("<answer>",), "</answer>")
    named = ("kimi-k3", "granite-3.3", "command-r7b")
    kimi, granite, command = (discover(tokenizer(ROWS[name].template)) for name in named)
    assert (command.headers, command.answer_end) == (("<|START_RESPONSE|>",), "<|END_RESPONSE|>")
    assert (kimi.headers, kimi.answer_end) == (("<|open|>response<|sep|>",), "<|close|>response<|sep|>")
    assert (granite.headers, granite.answer_end) == (("<response>",), "</response>")


def test_calls_of_tools_are_asides() -> None:
    called = (
        "{{ m.content }}{% for c in m.tool_calls or [] %}\n<tool_call>\n{{ c.function.name }}\n</tool_call>{% endfor %}"
    )
    past = "{% if m.reasoning_content %}<think>{{ m.reasoning_content }}</think>{% endif %}" + called
    found = discover(tokenizer(turns(past)))
    assert (found.asides, found.aside_end) == (("<tool_call>",), "</tool_call>")
    assert discover(tokenizer(ROWS["qwen3"].template)).asides == ()


def test_messages_of_their_own() -> None:
    template = turns(
        "{% if m.reasoning_content %} to=self<|m|>{{ m.reasoning_content }}<|eom|><|im_start|>assistant{% endif %}"
        " to=user<|m|>{{ m.content }}",
        roles="<|im_start|>{}|<|im_end|>\n",
    )
    found = discover(tokenizer(template))
    assert (found.opens, found.closes) == ("to=self<|m|>", "<|eom|><|im_start|>assistant to=user<|m|>")
    assert (found.turn, found.message_end, found.headers) == ("<|im_start|>assistant", "<|eom|>", ("to=user<|m|>",))
    assert found.part("to=self") is None
    assert found.part("to=self<|m|>Hm") == "thinking"
    assert found.part("to=user<|m|>Yes") == "answer"
    assert found.part("to=tools.look<|m|>") == "aside"


def test_channels() -> None:
    template = turns("{{ m.content }}", before="effort {{ reasoning_effort|default('medium') }}")
    found = discover(tokenizer(template, "<|channel|>", "<|message|>", "<|end|>", "<|start|>"))
    assert found.opens == "<|channel|>analysis<|message|>"
    assert found.asides == ("<|channel|>commentary",)
    assert found.effort is not None
    assert [level for level, _, _ in found.effort.levels] == ["low", "medium", "high"]
    assert found.effort.keywords("low") == {"reasoning_effort": "low"}
    assert found.effort.keywords("max") is None


def test_the_checkpoints_own_response_template_goes_before_the_chat_template() -> None:
    made = tokenizer(turns(kept("<think>", "</think>")))
    made.response_template = {"fields": {"reasoning_content": {"open": "<muse>\n", "close": ["</muse>", "<end>"]}}}
    found = discover(made)
    assert (found.opens, found.closes, found.lead, found.source) == ("<muse>", "</muse>", "\n", "response_template")


@pytest.mark.parametrize(
    "declared",
    [
        {"fields": {"thinking": None}}, {"fields": {"reasoning_content": "x"}}, {"fields": None},
        {"fields": ["thinking"]},
        ["thinking"], "thinking", {"fields": {"thinking": {"open": "<think>"}}},
        {"fields": {"thinking": {"open": ["<think>"], "close": "  "}}},
        {"fields": {"thinking": {"open": "\n", "close": "</think>"}}},
        {"fields": {"thinking": {"open": [None, 3], "close": [["</think>"]]}}},
    ],
    ids=str,
)  # fmt: skip
def test_a_response_template_that_cannot_be_read_is_passed_over(declared: Any) -> None:
    made = tokenizer(ROWS["glm-4.7"].template)
    expected = discover(made)
    made.response_template = declared
    assert discover(made) == expected
    plain = tokenizer(turns("{{ m.content }}"))
    plain.response_template = declared
    found = discover(plain)
    assert (found.source, found.thinks) == ("none", False)
    assert found.reason == "the checkpoint's response_template does not name both tags of a thought."


def test_a_response_template_that_is_silent_about_thoughts_casts_no_doubt() -> None:
    made = tokenizer(turns("{{ m.content }}"))
    for silent in ({}, {"fields": {}}, {"fields": {"content": {"close": "<|im_end|>"}}}):
        made.response_template = silent
        assert discover(made) == Format(source="none")
    made.response_template = {"fields": {"thinking": {"open": ["", "<a>"], "close": [" ", "</a>"]}}}
    assert (discover(made).opens, discover(made).closes) == ("<a>", "</a>"), "the first that is not blank"


def test_what_the_user_says_goes_before_all() -> None:
    said = Format("<a>", "</a>", bridge=" ")
    found = discover(tokenizer(ROWS["qwen3"].template), said)
    assert (found.opens, found.closes, found.bridge, found.source) == ("<a>", "</a>", " ", "given")
    assert found.switch is not None, "the template's switch is still its switch"


@pytest.mark.parametrize(
    ("template", "extra", "reason"),
    [
        (turns("{{ m.content }}"), (), ""),
        (turns("{{ m.content }}"), ("<think>", "</think>"), "the vocabulary holds </think>"),
        (turns("{{ m.content }}", "{% if thinking|default(true) %}go{% endif %}"), (), "knows 'thinking'"),
        (turns("{{ m.content }}", before="<|START_THINKING|>"), (), r"mentions <\|START_THINKING\|>"),
        (turns("{{ m.content }}", before="Think in <think type=...> </think>."), (), "mentions </think>, but not how"),
        (turns("{{ m.content }}{{ {'reasoning': m.reasoning_content}|tojson }}"), (), "knows 'reasoning_content'"),
    ],
)
def test_no_format_is_named_with_the_reason(template: str, extra: tuple[str, ...], reason: str) -> None:
    found = discover(tokenizer(template, *extra))
    assert (found.source, found.thinks) == ("none", False)
    assert re.search(reason, found.reason) if reason else not found.reason


@pytest.mark.parametrize("template", [None, "", {}])
@pytest.mark.parametrize("tags", [("<think>", "</think>"), ("<|channel|>", "<|message|>"), ("[THINK]", "[/THINK]")])
def test_a_vocabulary_alone_makes_no_reasoning_model(template: Any, tags: tuple[str, ...]) -> None:
    found = discover(tokenizer(template, *tags))
    assert (found.source, found.thinks) == ("none", False)
    assert re.fullmatch(
        r"the vocabulary holds \S+, but there is no chat template: taken for .* a thought\.", found.reason
    )
    assert discover(tokenizer(template)) == Format(source="none"), "nothing speaks for a thought"
    assert discover(tokenizer(template, *tags), Format("<think>", "</think>")).thinks, "unless the user says so"
