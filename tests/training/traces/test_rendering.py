"""What rows say, held against Transformers' own chat template."""

from __future__ import annotations

import pytest
from tokenizers.processors import TemplateProcessing

from laconic.models.text import Text
from laconic.training.traces.rendering import Renderer
from laconic.training.traces.trace import parts
from tests import tiny
from tests.models.test_formats import kept, turns
from tests.training.traces.made import HARMONY, PLAIN, PROBLEM, REPLY, THINK, THOUGHT

OPENED = Text(tiny.tokenizer(template=turns(kept("<think>\n", "\n</think>\n\n"), "<think>\n")))
"""A model whose prompt opens the thought."""


@pytest.mark.parametrize("text", [THINK, OPENED, HARMONY, PLAIN], ids=["think", "opened", "channels", "plain"])
def test_a_row_is_what_the_chat_template_makes_of_the_same_turn(text: Text) -> None:
    renderer = Renderer(text)
    row = renderer.prompt(PROBLEM.messages).text + renderer.completion(PROBLEM.messages, THOUGHT, REPLY)
    turn = {"role": "assistant", "content": REPLY, "reasoning_content": THOUGHT, "thinking": THOUGHT}
    if text is PLAIN:
        turn = {"role": "assistant", "content": f"{THOUGHT}\n\n{REPLY}"}
    whole = text.tokenizer.apply_chat_template([*PROBLEM.messages, turn], tokenize=False)
    assert row == whole.rstrip("\n")


def test_an_answer_that_has_tags_of_its_own() -> None:
    past = kept("<think>", "</think><response>").replace("{{ m.content }}", "{{ m.content }}</response>")
    text = Text(tiny.tokenizer(template=turns(past)))
    written = Renderer(text).completion(PROBLEM.messages, THOUGHT, REPLY)
    assert written == f"<think>{THOUGHT}</think><response>{REPLY}</response><|im_end|>"
    assert parts(written, text.format, Renderer(text).ends) == (THOUGHT, REPLY)


def test_the_thought_is_opened_once() -> None:
    assert Renderer(THINK).completion(PROBLEM.messages, "x", "y") == "<think>\nx\n</think>\n\ny<|im_end|>"
    assert Renderer(OPENED).completion(PROBLEM.messages, "x", "y") == "x\n</think>\n\ny<|im_end|>"
    assert Renderer(OPENED).prompt(PROBLEM.messages).text.endswith("<think>\n")
    assert Renderer(THINK).completion(PROBLEM.messages, "", "y") == "<think>\n\n</think>\n\ny<|im_end|>"
    assert Renderer(PLAIN).completion(PROBLEM.messages, "", "y") == "y<|im_end|>"


def test_a_token_for_the_beginning_is_left_to_the_tokenizer() -> None:
    words = tiny.tokenizer(template="<|endoftext|>" + turns(kept("<think>\n", "\n</think>\n\n")))
    words.bos_token = "<|endoftext|>"
    end = words.convert_tokens_to_ids("<|endoftext|>")
    words.backend_tokenizer.post_processor = TemplateProcessing(
        single="<|endoftext|> $A", special_tokens=[("<|endoftext|>", end)]
    )
    text = Text(words)
    prompt = Renderer(text).prompt(PROBLEM.messages)
    assert prompt.ids[:2].count(end) == 1
    assert not prompt.text.startswith("<|endoftext|>")
    assert words(text=prompt.text)["input_ids"] == list(prompt.ids)  # as TRL's trainers read it


def test_a_turn_ends_as_the_template_ends_it() -> None:
    words = tiny.tokenizer(
        template=turns("{{ m.content }}", roles="{}: |<|im_end|>\n").replace("<|im_end|>", "</think>")
    )
    assert Renderer(Text(words, format="none", eos=words.encode("</think>"))).ending == "</think>"
    assert Renderer(Text(tiny.tokenizer(template=None))).ending == "<|im_end|>"
