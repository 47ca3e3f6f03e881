"""Little memory, texts that are kept, requests that are paused: whatever happens, the reply is the same."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from laconic.errors import RequestError
from laconic.serve import memory
from laconic.serve.job import Told
from laconic.serve.memory import Extent, Memory
from laconic.serve.prefixes import Prefixes
from tests.serve.live import QUESTION, Live, bundled, offline, own, refused, serving, until

CHAT = "/v1/chat/completions"
TOKEN = Memory.of(bundled().target, 1).token


def body(at: int) -> dict[str, Any]:
    """A request that writes a few hundred tokens."""
    text = bundled().text
    ends = dict.fromkeys(map(str, [text.close_token, *text.eos]), -100.0)
    return {"messages": [{"role": "user", "content": QUESTION}], "logit_bias": ends, "max_tokens": 560,
            "temperature": 0.8, "seed": at, "laconic": {"think": "none"}}  # fmt: skip


@pytest.fixture
def tight(monkeypatch: pytest.MonkeyPatch) -> Iterator[Live]:
    """Room for two requests at first, for one towards the end."""
    monkeypatch.setattr(memory, "_AHEAD", 32)
    with serving(own(memory=1100 * TOKEN, reuse=False)) as made:
        yield made


def test_who_outgrows_the_memory_is_paused_and_writes_the_same(tight: Live) -> None:
    with ThreadPoolExecutor(3) as pool:
        replies = list(pool.map(lambda at: tight.chat(body(at))["choices"][0]["message"], range(3)))
    assert tight.backend.pulse()["paused"] >= 1
    for at, reply in enumerate(replies):
        result = offline(body(at))
        assert (reply["reasoning"] or "", reply["content"]) == (result.thinking, result.answer)
    until(tight.idle)
    assert not bundled().target.slots


def test_a_paused_request_can_be_left(tight: Live) -> None:
    runner = tight.backend.runner  # type: ignore[attr-defined]
    with ThreadPoolExecutor(2) as pool:
        asked = [pool.submit(tight.post, CHAT, body(at)) for at in range(2)]
        until(lambda: bool(runner._paused))
        job = runner._paused[0].job
        job.tell(Told(error=RequestError("it is left")))
        tight.backend.cancel(job)
        assert sorted(one.result().status_code for one in asked) == [200, 400]
    until(tight.idle)
    assert not bundled().target.slots


def test_the_memory_is_the_context(tight: Live) -> None:
    """What can never fit is not begun: the longest text that the memory holds is what the model's length is here."""
    (model,) = tight.http.get("/v1/models").json()["data"]
    longest = model["max_model_len"]
    assert longest == tight.backend.context < bundled().target.context
    used = tight.chat(body(0) | {"max_tokens": 1500})["usage"]
    assert used["total_tokens"] <= longest
    long = [{"role": "user", "content": "Is it? " * longest}]
    assert str(longest - 1) in refused(tight.post(CHAT, {"messages": long}), 400)["message"]


def test_the_rectangle_is_as_long_as_the_longest() -> None:
    made = Memory(token=10, most=10 * 4 * 512, context=2048)
    short, long = Extent(30, 0, 200), Extent(300, 0, 4000)
    assert made.wanted([]) == 0
    assert made.wanted([short]) == 10 * 256
    assert made.wanted([short] * 3) == 10 * 4 * 256
    assert made.wanted([short, long]) == 10 * 2 * 1536
    assert made.fits([short] * 4)
    assert not made.fits([short] * 3 + [long])
    assert made.fits([long])  # one alone always may
    assert made.longest == 2048
    assert Memory(token=10, most=10 * 2047, context=2048).longest == 1792


def test_a_conversation_goes_on_from_what_is_kept() -> None:
    with serving(own()) as live:
        first = [{"role": "user", "content": "What is 3 + 15? " + "Think well. " * 15}]
        asked = {"messages": first, "max_tokens": 200}
        one = live.chat(asked)
        answer = one["choices"][0]["message"]["content"]
        assert answer == offline(asked).answer
        second = {"messages": [*first, {"role": "assistant", "content": answer},
                               {"role": "user", "content": "And what is 4 + 8?"}], "max_tokens": 200}  # fmt: skip
        for body, least in ((second, 40), (second, 60), (asked | {"temperature": 0.9, "seed": 8}, 60)):
            told = live.chat(body)
            assert told["usage"]["prompt_tokens_details"]["cached_tokens"] >= least
            result = offline(body)
            assert told["choices"][0]["message"]["content"] == result.answer
            assert (told["choices"][0]["message"]["reasoning"] or "") == result.thinking
        assert live.backend.load().kept > 0


def test_texts_are_kept_by_owner_the_oldest_use_given_up_first() -> None:
    target = bundled().target
    texts = {name: [seed + i % 50 for i in range(100)] for name, seed in (("a", 10), ("b", 70), ("c", 130))}

    def keep(made: Prefixes, owner: str, tokens: list[int]) -> None:
        slot = target.open()
        target.prefill(slot, tokens)
        made.keep(owner, tokens, slot)
        slot.close()

    def known(made: Prefixes, owner: str, tokens: list[int]) -> int:
        slot = made.resume(owner, [*tokens, 5])
        length = 0 if slot is None else slot.length
        if slot is not None:
            slot.close()
        return length

    made = Prefixes(target, 1 << 30)
    keep(made, "ann", texts["a"])
    one = made.nbytes
    keep(made, "ann", texts["a"][:60])  # known already
    assert made.nbytes == one
    assert known(made, "ann", texts["a"]) == 100
    assert known(made, "bob", texts["a"]) == 0
    assert known(made, "ann", texts["a"][:70]) == 70
    assert known(made, "ann", texts["a"][:20] + texts["b"]) == 0  # not worth it
    small = Prefixes(target, int(2.5 * one))
    keep(small, "ann", texts["a"])
    keep(small, "ann", texts["b"])
    assert known(small, "ann", texts["a"]) == 100  # used
    keep(small, "ann", texts["c"])
    assert [known(small, "ann", texts[name]) for name in "abc"] == [100, 0, 100]
    longer = texts["a"] + texts["b"]
    keep(made, "ann", longer)
    assert made.nbytes < 2.2 * one  # in place of its own beginning
    made.forget()
    assert made.nbytes == 0
    assert not Prefixes(target, 0).possible
    assert not target.slots
