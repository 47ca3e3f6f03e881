"""Characters of several tokens, from servers that tell text alone and cut it inside of one."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from laconic import Limits, Request, Result, Sampling
from laconic.errors import BadReply, BadStatus
from laconic.models.remote import RemoteModel
from laconic.models.replies import Completion, Said
from laconic.remote import RemoteEngine
from laconic.remote.writer import Asking, Writer, Written
from tests import tiny
from tests.fakes import Writes
from tests.server import Manners, Server, following

TEXT = tiny.text()
PROMPT = TEXT.prompt("Why?")
REPLY = "<think>\naéé b\n\ncé → d\n\n" + "1é" * 80 + "\n\n</think>\n\nIt is é → 12."


def run(manners: Manners, *think: str, **options: Any) -> tuple[Result, list[dict[str, Any]]]:
    writes = Writes(len(PROMPT), TEXT.encode(f"{REPLY}<|im_end|>"), 264)
    with Server(following(writes.after), TEXT, manners, context=1024) as server:
        model = RemoteModel(server.url, "tiny", timeout=5, retries=0)
        with RemoteEngine(model, TEXT, think, context=1024, **options) as engine:
            return engine.run([Request(PROMPT, limits=Limits(600))])[0], server.seen


@pytest.mark.parametrize("piece", [0, 1, 2, 3, 4, 5, 7, 50])
def test_no_character_is_lost_where_a_piece_ends(piece: int) -> None:
    result, seen = run(Manners(ids=False, reason=False), "budget:500", piece=piece)
    assert (result.text, result.finish_reason) == (REPLY, "stop")
    assert result.tokens == tuple(TEXT.encode(f"{REPLY}<|im_end|>"))
    assert len(seen) < 2 * len(result.tokens)


class Told:
    """A server that says these in turn, and remembers how many tokens it was asked for."""

    url = "http://127.0.0.1/v1"

    def __init__(self, *replies: Completion | BadStatus) -> None:
        self.replies, self.asked = iter(replies), list[int]()

    async def complete(self, *_: Any, max_tokens: int, **__: Any) -> Completion:
        self.asked.append(max_tokens)
        said = next(self.replies)
        if isinstance(said, BadStatus):
            raise said
        return said


def write(server: Told, most: int = 1) -> Written:
    writer = Writer(server, TEXT, Asking())  # type: ignore[arg-type]
    return asyncio.run(writer.write(PROMPT, most=most, sampling=Sampling()))


@pytest.mark.parametrize("nothing", [Completion("\ufffd", "length", written=1), Completion("", "length", written=1)])
def test_a_piece_of_half_a_character_is_asked_for_with_the_rest_of_it(nothing: Completion) -> None:
    server = Told(nothing, Completion("→ \ufffd", "length", written=4))
    found = write(server)
    assert (server.asked, TEXT.decode(found.tokens), found.cut, found.paid) == ([1, 4], "→ ", False, 5)


def test_text_of_nothing_else_is_taken_in_the_end() -> None:
    found = write(server := Told(Completion("\ufffd", "length"), Completion("\ufffd\ufffd", "length")))
    assert (server.asked, TEXT.decode(found.tokens)) == ([1, 4], "\ufffd\ufffd")


def test_a_server_without_room_for_the_rest_ends_there() -> None:
    refused = BadStatus("too long", status=400)
    found = write(server := Told(Completion("\ufffd", "length"), refused))
    assert (server.asked, TEXT.decode(found.tokens)) == ([1, 4], "\ufffd")
    found = write(server := Told(Completion("", "length")))
    assert (server.asked, found.tokens, found.cut) == ([1], (), True), "it wrote nothing: its context is full"


def test_what_the_server_says_of_half_a_character_goes_with_it() -> None:
    said = tuple(Said(piece, -float(at), {}) for at, piece in enumerate(["a", "\ufffd", "\ufffd", "\ufffd"]))
    found = write(Told(Completion("aé\ufffd", "length", said=said)), most=4)
    assert (TEXT.decode(found.tokens), found.pieces, found.said) == ("aé", ("a", "\ufffd", "\ufffd"), said[:3])


@pytest.mark.parametrize("told", [{"tokens": (9999,)}, {"tokens": (65, 1024)}])
def test_tokens_that_the_tokenizer_does_not_have_are_an_error(told: dict[str, Any]) -> None:
    with pytest.raises(BadReply, match=r"wrote token \d+, which the tokenizer does not have"):
        write(Told(Completion("x", "length", **told)))


def test_text_that_ended_by_itself_is_left_as_it_is() -> None:
    assert TEXT.decode(write(Told(Completion("</think>\ufffd", "stop"))).tokens) == "</think>\ufffd<|im_end|>"
    assert write(Told(Completion("", "length", (1023,)))).tokens == (1023,), "a row that the model has beside them"
    assert write(Told(Completion("\ufffd", "length", (195,)))).tokens == (195,)
