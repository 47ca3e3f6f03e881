"""Calls of tools are read out of replies in the very syntax in which a model's chat template writes them."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from typing import Any

import pytest

from laconic.models.formats import Format, discover
from laconic.models.formats.called import Call, Called, Content, Piece, Reader, Thought, parse
from laconic.models.formats.table import HARMONY
from tests.models.test_formats import tokenizer, turns

THOUGHT = "{% if m.reasoning_content %}<think>{{ m.reasoning_content }}</think>{% endif %}{{ m.content or '' }}"
EACH = "{% for c in m.tool_calls or [] %}|{% endfor %}"
NAME, DATA = "{{ c.function.name }}", "{{ c.function.arguments|tojson }}"
WHOLE = f'{{"name": "{NAME}", "arguments": {DATA}}}'
ARGUMENTS = "{% for k, v in c.function.arguments.items() %}|{% endfor %}"
VALUE = "{{ v if v is string else v|tojson }}"


def listed(item: str, between: str = ", ") -> str:
    return f"{{% for c in m.tool_calls %}}{item}{{{{ '{between}' if not loop.last }}}}{{% endfor %}}"


def calling(each: str = "", *, once: str = "", past: str = THOUGHT) -> str:
    """A template whose turns write every call so, or all of them ``once``."""
    loop = EACH.replace("|", each) if each else ""
    return turns(past + loop + (f"{{% if m.tool_calls %}}{once}{{% endif %}}" if once else ""))


def marked(begins: str, parts: str, ends: str) -> str:
    return ARGUMENTS.replace("|", f"{begins}{{{{ k }}}}{parts}{VALUE}{ends}")


QUOTED = "{% if v is string %}<|q|>{{ v }}<|q|>{% else %}{{ v|tojson|replace('\"', '<|q|>') }}{% endif %}"
TYPED = "\" string=\"{{ 'true' if v is string else 'false' }}\">"
NUMBERED = f"<|call|>functions.{NAME}:{{{{ loop.index0 }}}}<|args|>{DATA}<|/call|>"
OTHER_KEYS = f'{{"id": "{{{{ loop.index0 }}}}", "tool_name": "{NAME}", "parameters": {DATA}}}'
LINES = marked("<parameter=", ">\n", "\n</parameter>\n")
INVOKED = f'<invoke name="{NAME}">{marked("""<param name=""" + chr(34), chr(34) + ">", "</param>")}</invoke>'
SAID = f'<|call name="{NAME}">{marked("<|arg name=" + chr(34), TYPED, "</|arg>")}</|call>'
KEYED = ARGUMENTS.replace("|", "]<]x[>[<{{ k }}>" + VALUE + "]<]x[>[</{{ k }}>")
PAIRS = marked("<arg_key>", "</arg_key>\n<arg_value>", "</arg_value>\n")
NAMED = "({% for k, v in c.function.arguments.items() %}{{ k }}={{ v|tojson }}{{ ', ' if not loop.last }}{% endfor %})"
LOOSE = (
    f"{{{{ '{{' }}}}{{% for k, v in c.function.arguments.items() %}}{{{{ k }}}}:{QUOTED}"
    "{{ ',' if not loop.last }}{% endfor %}{{ '}' }}"
)
FAMILIES = {
    "json between tags": calling(f"\n<tool_call>\n{WHOLE}\n</tool_call>"),
    "a list": calling(once=f"[TOOL_CALLS] [{listed(WHOLE)}]"),
    "a list, other keys": calling(once=f"<|START|>[\n{listed(OTHER_KEYS)}\n]<|END|>"),
    "names as keys": calling(once=f'<|tools|>[{listed(f"""{{"{NAME}": {DATA}}}""")}]<|/tools|>'),
    "line by line": calling(once=f"<tool_calls>\n{listed(WHOLE, chr(92) + 'n')}\n</tool_calls>"),
    "names in front": calling(f"[TOOL_CALLS]{NAME}[ARGS]{DATA}"),
    "numbered": calling(once=f"<|calls_begin|>{listed(NUMBERED, '')}<|calls_end|>"),
    "ids": calling(f"<|call|>{{{{ c.id }}}}<|name|>{NAME}<|args|>{DATA}<|/call|>"),
    "a fence": calling(f"<|call|>function<|sep|>{NAME}\n```json\n{DATA}\n```<|/call|>"),
    "arguments between tags": calling(f"\n<tool_call>\n<function={NAME}>\n{LINES}</function>\n</tool_call>"),
    "arguments in a section": calling(once=f"\n<x:calls>\n{listed(INVOKED, chr(92) + 'n')}\n</x:calls>"),
    "keys and values": calling(f"<tool_call>{NAME}\n{PAIRS}</tool_call>"),
    "values that say their type": calling(once=f"<|calls|>{listed(SAID, '')}</|calls>"),
    "tags named by keys": calling(
        once="]<]x[>[<calls>"
        + listed(f'\n]<]x[>[<invoke name="{NAME}">{KEYED}]<]x[>[</invoke>', "")
        + "\n]<]x[>[</calls>"
    ),
    "python": calling(once=f"<|tool_call_start|>[{listed(NAME + NAMED)}]<|tool_call_end|>"),
    "quotes of its own": calling(f"<|tool_call>call:{NAME}{LOOSE}<tool_call|>"),
    "plain json": calling(f'{{"name": "{NAME}", "parameters": {DATA}}}'),
}
VALUES: dict[str, Any] = {
    "text": "Paris",
    "quotes": 'He said "hi", it\'s\nnew \\ back\t{a: [b]}',
    "unicode": "ünï 漢字 🎉",
    "empty": "",
    "looks like a number": "3",
    "looks like data": '{"a": 1}',
    "a tag": "a <b>bold</b> tag",
    "number": 3,
    "negative": -2.5,
    "yes": True,
    "nothing": None,
    "list": [1, "two", None, {"x": []}],
    "object": {"a": {"b": "c d"}, "e": {}},
}
TYPES = {
    bool: "boolean",
    str: "string",
    int: "integer",
    float: "number",
    list: "array",
    dict: "object",
    type(None): "null",
}


def tools(*calls: tuple[str, dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {"type": "function", "function": {"name": name, "parameters": {
            "type": "object", "properties": {key: {"type": TYPES[type(value)]} for key, value in arguments.items()}}}}
        for name, arguments in calls
    ]  # fmt: skip


def written(template: str, *calls: tuple[str, dict[str, Any]], content: str = "") -> str:
    """The reply that a template writes for these calls, without the mark that ends the turn."""
    turn = {"role": "assistant", "content": content, "tool_calls": [
        {"id": f"id{n}", "type": "function", "function": {"name": name, "arguments": arguments}}
        for n, (name, arguments) in enumerate(calls)
    ]}  # fmt: skip
    asked = [{"role": "user", "content": "Hi"}]
    made = tokenizer(template)
    prompt = made.apply_chat_template(asked, tokenize=False, add_generation_prompt=True)
    return (
        str(made.apply_chat_template([*asked, turn], tokenize=False))[len(prompt) :]
        .removesuffix("\n")
        .removesuffix("<|im_end|>")
    )


def found(called: Called) -> list[tuple[str, Any]]:
    return [(call.name, json.loads(call.arguments)) for call in called.calls]


def cannot(family: str, value: Any) -> bool:
    """What a family's template writes so that nobody could tell it from something else."""
    return family == "tags named by keys" and isinstance(value, dict | list | None)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kind", VALUES)
def test_what_a_template_writes_is_read_back(family: str, kind: str) -> None:
    if cannot(family, VALUES[kind]):
        pytest.skip("the template writes data as tags here, an empty text as nothing")
    one = ("get_weather", {"at": VALUES[kind], "to": "x"})
    two = ("look-up2", {"only": "y"})
    form = discover(tokenizer(FAMILIES[family]))
    for calls in ([one], [one, two], [("now", {}), one]):
        got = parse(written(FAMILIES[family], *calls), form, tools(*calls))
        assert (found(got), got.content, got.broken) == (calls, "", 0)


@pytest.mark.parametrize("family", [family for family in FAMILIES if family != "plain json"])
def test_text_before_the_calls_is_content(family: str) -> None:
    form = discover(tokenizer(FAMILIES[family]))
    reply = written(FAMILIES[family], ("f", {"at": "x"}), content="Let me look.")
    got = parse(reply, form, tools(("f", {"at": "x"})))
    assert (found(got), got.content) == ([("f", {"at": "x"})], "Let me look.")


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("seed", range(4))
def test_a_stream_gives_the_same_and_never_a_piece_of_a_tag(family: str, seed: int) -> None:
    form = discover(tokenizer(FAMILIES[family]))
    calls = [("get_weather", {"at": VALUES["quotes"], "n": 3}), ("look", {"only": "y"})]
    reply = written(FAMILIES[family], *calls, content="" if family == "plain json" else "Look: 1 < 2 [a].\n\nSo")
    expected, reader, rng = parse(reply, form, tools(*calls)), Reader(form, tools(*calls)), random.Random(seed)
    pieces: list[Piece] = []
    at = 0
    while at < len(reply):
        size = rng.choice((1, 1, 2, 5, 13))
        pieces += reader.push(reply[at : at + size])
        at += size
    pieces += reader.finish()
    assert found(expected) == calls
    assert tuple(piece for piece in pieces if isinstance(piece, Call)) == expected.calls
    assert "".join(piece.text for piece in pieces if isinstance(piece, Content)) == expected.content


HERMES = discover(tokenizer(FAMILIES["json between tags"]))
CALL = '<tool_call>\n{"name": "f", "arguments": {"a": 1}}\n</tool_call>'


def test_a_call_is_given_as_soon_as_it_is_whole_and_content_before_it() -> None:
    reader = Reader(HERMES)
    assert reader.push("Hm, a < b") == [Content("Hm, a < b")]
    assert reader.push(" <tool") == []
    assert reader.push("box>") == [Content(" <toolbox>")]
    assert reader.push(CALL[:-12]) == [Call("f", '{"a": 1}')]
    assert reader.push(CALL[-12:]) == []
    assert reader.push(" Done.") == [Content(" Done.")]
    assert reader.finish() == []


@pytest.mark.parametrize(
    ("reply", "content", "calls", "broken"),
    [
        (f"A {CALL} B {CALL}\nC", "A  B \nC", 2, 0),
        ('<tool_call>\n{"name": "f", "arguments": {"a": }}\n</tool_call>', None, 0, 1),
        (f'<tool_call>{{"name": "f"<tool_call>{CALL}', '<tool_call>{"name": "f"<tool_call>', 1, 2),
        ('<tool_call>\n{"name": "f", "arguments": {"a', None, 0, 1),
        ('<tool_call>\n{"name": 3, "arguments": {}}\n</tool_call>', None, 0, 1),
        ('<tool_call>\n{"name": "f", "arguments": [1]}\n</tool_call>', None, 0, 1),
        ('<tool_call>\n{"name": "f", "arguments": {"a": NaN}}\n</tool_call>', None, 0, 1),
        ("Write <tool_call> before it.", None, 0, 1),
        ('<tool_call>{"name": "f", "arguments": {"a": 1}}', "", 1, 0),
        ('<tool_call>{"name": "f", "arguments": "{\\"a\\": 1}"}</tool_call>', "", 1, 0),
        ('<tool_call>{"name": "f", "parameters": {"a": 1}}</tool_call>', "", 1, 0),
        ('{"name": "f", "arguments": {"a": 1}}', None, 0, 0),
        ("", "", 0, 0),
    ],
)
def test_nothing_is_invented_and_nothing_dropped(reply: str, content: str | None, calls: int, broken: int) -> None:
    got = parse(reply, HERMES)
    assert (got.content, got.broken) == (reply if content is None else content, broken)
    assert got.calls == (Call("f", '{"a": 1}'),) * calls


def test_a_name_that_no_tool_has_is_kept_unless_the_call_looks_like_an_answer() -> None:
    bare = discover(tokenizer(FAMILIES["plain json"]))
    reply = '{"name": "Bob", "parameters": {}}'
    assert parse(CALL, HERMES, tools(("g", {}))).calls == (Call("f", '{"a": 1}'),)
    assert parse(reply, bare, tools(("f", {}))) == Called(reply, (), 0)
    assert parse(reply, bare, tools(("Bob", {}))) == Called("", (Call("Bob", "{}"),), 0)
    assert parse(f"So: {reply}", bare, tools(("Bob", {}))).calls == ()


def test_llama_3_may_put_its_tag_before_a_call() -> None:
    bare = discover(tokenizer("{# <|python_tag|> #}" + FAMILIES["plain json"]))
    for names in ((), (("f", {}),)):
        got = parse('<|python_tag|>{"name": "f", "parameters": {"a": 1}}', bare, tools(*names))
        assert got == Called("", (Call("f", '{"a": 1}'),), 0)


@pytest.mark.parametrize(
    ("schema", "text", "value"),
    [
        ({"type": "string"}, "3", "3"), ({"type": "integer"}, "3", 3), ({"type": "number"}, "2.5", 2.5),
        ({"type": "boolean"}, "True", True), ({"type": "boolean"}, "false", False),
        ({"type": "integer"}, "many", "many"),
        ({"type": ["string", "null"]}, "null", None), ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, "7", 7),
        ({"type": "object"}, "{'a': [True, None]}", {"a": [True, None]}), ({"enum": ["1", "2"]}, "1", "1"),
        ({"enum": [1, 2]}, "1", 1), ({"$ref": "#/$defs/n"}, "1", 1), ({}, "1", 1), ({}, "one", "one"),
        ({"type": "array"}, '["x", 2]', ["x", 2]), ({"type": "string"}, " two  lines\n", " two  lines\n"),
    ],
)  # fmt: skip
def test_plain_values_have_the_type_that_the_schema_says(schema: dict[str, Any], text: str, value: Any) -> None:
    form = discover(tokenizer(FAMILIES["arguments between tags"]))
    tool = {"name": "f", "parameters": {"properties": {"a": schema}, "$defs": {"n": {"type": "integer"}}}}
    reply = f"<tool_call>\n<function=f>\n<parameter=a>\n{text}\n</parameter>\n</function>\n</tool_call>"
    for each in (tool, {"type": "function", "function": tool}):
        assert found(parse(reply, form, [each])) == [("f", {"a": value})]


def test_a_value_may_hold_its_own_closing_tag() -> None:
    form = discover(tokenizer(FAMILIES["arguments between tags"]))
    code = "write('</parameter>')\nand <parameter=b> too"
    calls = [("f", {"a": code, "b": "x"})]
    assert found(parse(written(FAMILIES["arguments between tags"], *calls), form, tools(*calls))) == calls


@pytest.mark.parametrize("begins", ["before", "thinking"])
def test_a_call_in_an_open_thought_is_a_call_unless_the_thought_goes_on(begins: str) -> None:
    opened = "<think>" if begins == "before" else ""
    closed = parse(f"{opened}Hm {CALL} no.</think>\n\nA {CALL}", HERMES, begins=begins)
    assert closed == Called("A", (Call("f", '{"a": 1}'),), 0)
    left = parse(f"{opened}Hm {CALL}\n{CALL}", HERMES, begins=begins)
    assert left == Called("", (Call("f", '{"a": 1}'),) * 2, 0)
    assert parse(f"{opened}Hm {CALL} no", HERMES, begins=begins) == Called("", (), 0)
    reader = Reader(HERMES, begins=begins)
    assert reader.push(f"{opened}Hm {CALL}") == [Thought("Hm ")]
    assert reader.push(" no.</think>A") == [
        Thought("<tool_call>"), Thought(CALL.removeprefix("<tool_call>") + " no."), Content("A"),
    ]  # fmt: skip


def test_what_stands_before_another_closing_tag_was_thought() -> None:
    assert parse("More.</think>\n\nA", HERMES).content == "A"


PLAN = "<|channel|>commentary<|message|>I look it up.<|end|><|start|>assistant"
LOOK = '<|channel|>commentary to=functions.get_weather <|constrain|>json<|message|>{"at": "Paris"}<|call|>'
ROLE = ' to=functions.get_weather<|channel|>commentary json<|message|>{"at": "Paris"}<|call|>'
THINK = "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant"
FINAL = "<|channel|>final<|message|>It rains.<|end|>"
WEATHER = Call("get_weather", '{"at": "Paris"}')


@pytest.mark.parametrize(
    ("reply", "content", "calls", "broken"),
    [
        (THINK + LOOK, "", (WEATHER,), 0), (THINK + ROLE, "", (WEATHER,), 0),
        (LOOK.removesuffix("<|call|>"), "", (WEATHER,), 0),
        (THINK + PLAN + LOOK, "I look it up.", (WEATHER,), 0), (THINK + FINAL, "It rains.", (), 0),
        (f"{LOOK}<|start|>assistant{ROLE}", "", (WEATHER, WEATHER), 0),
        (PLAN + FINAL, "I look it up.\n\nIt rains.", (), 0),
        (THINK + LOOK.replace("}", ""), LOOK.replace("}", ""), (), 1), (THINK, "", (), 0),
    ],
)  # fmt: skip
def test_messages_of_their_own(reply: str, content: str, calls: tuple[Call, ...], broken: int) -> None:
    assert parse(reply, HARMONY, begins="before") == Called(content, calls, broken)
    reader = Reader(HARMONY, begins="before")
    pieces = [piece for character in reply for piece in reader.push(character)] + reader.finish()
    assert "".join(piece.text for piece in pieces if isinstance(piece, Content)) == content
    assert tuple(piece for piece in pieces if isinstance(piece, Call)) == calls
    assert "".join(piece.text for piece in pieces if isinstance(piece, Thought)) == ("Hm." if THINK in reply else "")


def test_an_answer_whose_header_the_prompt_wrote() -> None:
    assert parse("It rains.<|end|>", HARMONY).content == "It rains."


def test_headers_and_ends_of_answers_are_left_out() -> None:
    form = replace(HERMES, headers=("<response>",), answer_end="</response>")
    assert parse(f"<response>A</response>{CALL}", form) == Called("A", (Call("f", '{"a": 1}'),), 0)
    reader = Reader(form)
    assert reader.push("<resp") == []
    assert reader.push("onse>A</resp") == [Content("A")]


def test_a_template_that_only_describes_calls_is_taken_at_its_word() -> None:
    said = '<tool_call>\\n{\\"name\\": <function-name>, \\"arguments\\": <args-json-object>}\\n</tool_call>'
    template = turns("{% if m.reasoning_content %}<think>{{ m.reasoning_content }}</think>{% endif %}{{ m.content }}")
    form = discover(tokenizer('{% if tools %}{{ "' + said + '" }}{% endif %}' + template))
    assert parse(CALL, form).calls == (Call("f", '{"a": 1}'),)


def test_without_a_known_syntax_nothing_is_a_call() -> None:
    for form in (Format(), discover(tokenizer(turns("{{ m.content }}")))):
        assert (form.calls_tools, parse(CALL, form)) == (False, Called(CALL, (), 0))
