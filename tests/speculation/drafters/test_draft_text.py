"""Drafts that are written as text: what the draft model writes is what is drafted, in the target's tokens."""

from __future__ import annotations

import pytest
import torch

from laconic.bench.certify.proxies import Proxy
from laconic.bench.measure import Stopwatch
from laconic.models.foreign import ForeignModel, Spelling
from laconic.models.foreign.back import Back
from laconic.models.text import Text
from laconic.speculation.base import Go, Node, Tools
from tests import tiny
from tests.fakes import FakeModel
from tests.foreign import PROSE, byte_level
from tests.speculation.rounds import build, context_of, decode, plain

OURS, THEIRS = byte_level(), byte_level(290, special=("<|stop|>", "<|end|>"))
BYTES = tiny.text()


class Knows(FakeModel):
    """Goes on with a given text, as its tokenizer writes it, wherever it is in it; then with ``<|end|>``."""

    def __init__(self, text: Text, whole: str, context: int = 4096) -> None:
        size = len(text.tokenizer)
        super().__init__(torch.zeros(1, 1, size), context)
        self.whole = whole.encode()
        self.spelling = Spelling(text.tokenizer)

    def after(self, tokens):
        seen = b"".join(self.spelling.of.get(token, b"") for token in tokens)
        row = torch.zeros(self.vocab_size)
        rest = self.whole[len(seen) :]
        if not self.whole.startswith(seen) or not rest:
            row[self.spelling.controls["<|end|>"]] = 9.0
            return row
        row[self._first(rest)] = 9.0
        return row

    def _first(self, rest: bytes) -> int:
        words = [word for word in self.spelling.by_bytes if rest.startswith(word)]
        return self.spelling.by_bytes[max(words, key=len)]


def drafted(
    prompt: str | list[int], *, budget: int = 8, judge=None, whole: str = PROSE, text: Text = OURS, **knobs: int
):
    target = FakeModel(torch.zeros(1, 1, len(text.tokenizer)))
    model = ForeignModel(Knows(THEIRS, whole), Spelling(text.tokenizer), Spelling(THEIRS.tokenizer), target.vocab_size)
    spec = "draft-text" + (":" + ",".join(f"{k}={v}" for k, v in knobs.items()) if knobs else "")
    drafter = build("drafter", spec)
    context = context_of(text.encode(prompt) if isinstance(prompt, str) else prompt)
    state = drafter.start(context, Tools(model, build("shape", "chain"), target.vocab_size))
    tree = drafter.propose([state], [budget], [judge])[0]
    return tree, model, drafter, state, context


@pytest.mark.parametrize("text", [OURS, BYTES], ids=["other merges", "bytes"])
@pytest.mark.parametrize("at", [5, 30, 46, 101, 107, 112, 130, 133])
def test_the_text_is_drafted_as_the_target_writes_it(text: Text, at: int) -> None:
    """Cut anywhere, in words and in characters alike."""
    tokens = text.encode(PROSE)
    tree, model, drafter, state, context = drafted(tokens[:at], text=text)
    assert list(tree.tokens) == tokens[at : at + 8]
    assert tree.draft_probs is None
    # What was drafted is not read again.
    scored = model.model.scored
    context.tokens += tree.tokens
    end = text.tokenizer.convert_tokens_to_ids("<|end|>")
    again = [token for token in drafter.propose([state], [8], [None])[0].tokens if token != end]
    assert again == tokens[at + 8 : at + 16]
    assert model.model.scored - scored < 60


def test_a_token_is_whole_once_text_follows_that_it_does_not_grow_into() -> None:
    tree, *_ = drafted("What is 12+34? Let me think about it", most=4)
    assert OURS.decode(list(tree.tokens)).startswith(" step by")
    asked: list[Node] = []

    def judge(node: Node) -> Go:
        asked.append(node)
        return Go.LAST if node.depth == 2 else Go.ON

    tree, *_ = drafted("What is 12+34?", judge=judge)
    assert len(tree) == 3
    assert [node.depth for node in asked] == [0, 1, 2]
    assert all(node.probs is None and 0 < node.confidence <= 1 for node in asked)
    tree, *_ = drafted("What is 12+34?", judge=lambda node: Go.STOP if node.depth == 1 else Go.ON)
    assert len(tree) == 1


def test_the_end_is_drafted_where_both_call_it_alike_and_nothing_below_it() -> None:
    tree, *_ = drafted("So it is", whole="So it is done.")
    end = OURS.tokenizer.convert_tokens_to_ids("<|end|>")
    assert list(tree.tokens) == [*OURS.encode("So it is done.")[len(OURS.encode("So it is")) :], end]


def test_a_long_text_and_one_taken_back() -> None:
    tree, model, drafter, state, context = drafted(PROSE[:200])
    first = list(tree.tokens)
    context.tokens[:] = OURS.encode(PROSE)[:20]
    other = list(drafter.propose([state], [8], [None])[0].tokens)
    assert other == OURS.encode(PROSE)[20:28] != first
    drafter.finish(state)
    assert all(slot.closed for slot in model.model.slots)
    assert model.model.prefills == 1


def test_with_the_targets_tokenizer_it_drafts_the_likeliest_tokens() -> None:
    target = FakeModel.random(0, 8)
    context = context_of([1, 2])
    drafter = build("drafter", "draft-text")
    state = drafter.start(context, Tools(target, build("shape", "chain"), 8))
    assert list(drafter.propose([state], [5], [None])[0].tokens) == plain(target, [1, 2], 5)
    same = decode(target, [context_of([1, 2])], 30, drafter, draft=FakeModel.random(0, 8).noisy(1, 0.5))
    assert same[0] == plain(target, [1, 2], 30)


def test_whoever_times_the_draft_model_times_it_in_its_own_tokens_too() -> None:
    model = ForeignModel(Knows(THEIRS, PROSE), Spelling(OURS.tokenizer), Spelling(THEIRS.tokenizer), 400)
    watch = Stopwatch(Proxy(model))
    drafter = build("drafter", "draft-text")
    state = drafter.start(context_of(OURS.encode(PROSE)[:50]), Tools(watch, build("shape", "chain"), 400))
    before = watch.seconds
    assert drafter.propose([state], [4], [None])[0].tokens
    assert watch.seconds > before
    assert watch.passes == model.model.passes > 0


def test_what_stands_is_left_alone_where_the_tokenizer_would_write_it_otherwise() -> None:
    back = Back(Spelling(OURS.tokenizer), Spelling(THEIRS.tokenizer))
    start = [OURS.encode(letter)[0] for letter in "Th"]
    assert OURS.encode("The answer")[0] not in start
    found = back.tokens(start, b"e answer is")
    assert OURS.decode(start + found) == "The answer is"
    assert found == OURS.encode("e answer is")
    assert back.tokens(OURS.encode("The"), b" answer") == OURS.encode("The answer")[1:]
