"""laconic's drafters in vLLM's place for custom ones: what is drafted for whom, and how much."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from laconic import Limits
from laconic.errors import UnmetNeed
from laconic.vllm import workers
from laconic.vllm.asked import EXPECTED
from laconic.vllm.holder import Holder
from laconic.vllm.proposer import Proposer
from tests.vllm_fakes import END, TEXT, Params, Update, configuration, own, plain, prompts, think
from tests.vllm_worker import Client, Drafting

PROMPT = TEXT.encode("?<think>")


@pytest.fixture(autouse=True)
def _process(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker's process of its own."""
    monkeypatch.setattr(workers, "_LATEST", [])
    monkeypatch.setattr(workers, "_HOSTS", [])
    monkeypatch.setattr("laconic.vllm.host.load_text", lambda *_, **__: TEXT)
    monkeypatch.setattr(workers, "_LISTENERS", [])


def made(most: int = 8, context: int = 512, **settings: str) -> tuple[Holder, Proposer]:
    config = configuration(most, context, **{"length": "constant:6", **settings})
    holder = workers.holding(lambda *_, **__: None, lambda: config)("any", device="cpu")
    holder.host.text = TEXT
    return holder, Proposer(config)


class Alone:
    """One request, whose tokens are told."""

    def __init__(self, holder: Holder, proposer: Proposer, params: Params, prompt: Sequence[int] = PROMPT) -> None:
        self.holder, self.proposer, self.output, self.draft = holder, proposer, list[int](), list[int]()
        holder.sync_batch(Update(1, added=[(0, params, list(prompt), self.output)]))
        self.seat = holder.seats.rows[0]

    def write(self, *tokens: int) -> list[int]:
        self.holder.update_state([self.output], [self.draft])
        self.output += tokens
        (self.draft,) = self.proposer.propose([list(tokens)], None, None)
        return self.draft


def test_repetitive_text_is_drafted() -> None:
    alone = Alone(*made(), Params())
    for token in TEXT.encode("one two three one two"):
        alone.write(token)
    assert alone.draft == TEXT.encode(" three")
    assert alone.write(*TEXT.encode(" three"), *TEXT.encode(" one")) == TEXT.encode(" two t")


def test_prompts_are_drafted_from() -> None:
    alone = Alone(*made(length="constant:3", drafter="prompt-lookup"), Params(), TEXT.encode("some words are here"))
    for token in TEXT.encode("these words"):
        alone.write(token)
    assert alone.draft == TEXT.encode(" ar")


def test_rows_that_wrote_nothing_and_rows_of_nobody_get_no_draft() -> None:
    holder, proposer = made()
    prompt, outputs = TEXT.encode("abababab"), [TEXT.encode("ababab"), TEXT.encode("ababab")]
    holder.sync_batch(Update(2, added=[(row, Params(), prompt, out) for row, out in enumerate(outputs)]))
    drafts = proposer.propose([outputs[0][-1:], [], outputs[1][-1:]], None, None)
    assert drafts[0] == TEXT.encode("ababab")
    assert drafts[1:] == [[], []]


def test_what_became_of_a_draft_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    holder, proposer = made(length="constant:4")
    told: list[Any] = []
    for policy in (proposer._drafter, proposer._length):
        monkeypatch.setattr(type(policy), "observe", lambda _, __, verdicts, *___: told.append(verdicts))
    alone = Alone(holder, proposer, Params(extra_args={EXPECTED: TEXT.encode("ababab")}))
    for token in TEXT.encode("ababab"):
        alone.write(token)
    assert not told  # a draft of somebody else's
    assert alone.write(*TEXT.encode("ab"), 7) == []
    (verdict,), same = told
    assert verdict is same
    assert list(verdict.tree.tokens) == TEXT.encode("abab")
    assert (list(verdict.path), verdict.accepted, verdict.next_token) == ([0, 1], 2, 7)


def test_what_is_expected_is_drafted_until_the_text_differs() -> None:
    expected = TEXT.encode("The answer is 7.")
    alone = Alone(*made(most=5), Params(extra_args={EXPECTED: expected}))
    assert alone.write(expected[0]) == expected[1:6]
    assert alone.write(*expected[1:7]) == expected[7:12]
    assert alone.write(expected[7], 65) == []
    assert alone.write(*expected[9:]) == []


@pytest.mark.parametrize(
    ("params", "context", "left"),
    [
        (Params(max_tokens=20), 512, 7),
        (Params(max_tokens=None), 32, 7),
        (Params(max_tokens=13), 512, 0),
        (think("budget:15"), 512, 2),
        (Params(), 512, 8),
    ],
)
def test_no_more_is_drafted_than_can_be_kept(params: Params, context: int, left: int) -> None:
    alone = Alone(*made(8, context, length="constant:30"), params, [*TEXT.encode("abababababa"), *PROMPT[1:]])
    for token in TEXT.encode("ababababab") + TEXT.encode("ab"):
        alone.write(token)
    assert len(alone.draft) == left


def test_forced_text_is_drafted_whole_and_first() -> None:
    alone = Alone(*made(most=12), think("budget:6"))
    for token in TEXT.encode("ababab"):
        alone.write(token)
    following = alone.seat.following
    assert following is not None
    owed = following.owed
    assert len(owed) > 12
    while owed:
        assert alone.draft == owed[:12]
        alone.write(*owed[:13])
        owed = owed[13:]
    assert TEXT.decode(alone.output).endswith("</think>\n\n")


@pytest.mark.parametrize("seed", range(3))
def test_texts_are_those_of_laconics_engine_and_states_end_with_their_requests(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    holder, proposer = made(length="marginal")
    states: Counter[str] = Counter()
    drafter = type(proposer._drafter)
    start, finish = drafter.start, drafter.finish
    monkeypatch.setattr(drafter, "start", lambda *args: states.update(["start"]) or start(*args))
    monkeypatch.setattr(drafter, "finish", lambda *args: states.update(["finish"]) or finish(*args))
    mine = [Client(prompt, think("budget:24", room=0)) for prompt in prompts(6)]
    texts = [plain(prompt, 50) for prompt in prompts(6)]
    others = [
        Client(prompt, Params(max_tokens=50, extra_args={EXPECTED: text[: 9 * n]}))
        for n, (prompt, text) in enumerate(zip(prompts(6), texts, strict=True))
    ]
    worker = Drafting(holder, proposer, seed)
    worker.run([client for both in zip(mine, others, strict=True) for client in both])
    for client, other, text in zip(mine, others, texts, strict=True):
        assert client.text == list(own(("budget:24",), client.prompt, Limits(128, answer_room=0)).tokens)
        assert other.text == text
    assert worker.accepted > 100
    assert worker.preempted > 0
    assert states == {"start": 12, "finish": 12}


def load(monkeypatch: pytest.MonkeyPatch, requests: int, node: float) -> list[int]:
    """How much is drafted in each of many passes that take a second, and ``node`` for each token.

    Every token is one of four, by chance, so that three in four first tokens of drafts are wrong.
    """
    holder, proposer = made(length="marginal")
    clock, dice = [0.0], random.Random(0)
    monkeypatch.setattr("laconic.vllm.proposer.time", SimpleNamespace(perf_counter=lambda: clock[0]))
    outputs = [[dice.randrange(65, 69) for _ in range(40)] for _ in range(requests)]
    params = Params(max_tokens=2000, eos_token_id=None)
    holder.sync_batch(Update(requests, added=[(row, params, PROMPT, out) for row, out in enumerate(outputs)]))
    drafts: list[list[int]] = [[] for _ in outputs]
    drafted: list[int] = []
    for _ in range(150):
        sampled = []
        for output, draft in zip(outputs, drafts, strict=True):
            new: list[int] = []
            for token in [*draft, -1]:
                new.append(dice.randrange(65, 69))
                if new[-1] != token:
                    break
            output += new
            sampled.append(new)
        clock[0] += 1 + node * sum(1 + len(draft) for draft in drafts)
        drafts = proposer.propose(sampled, None, None)
        drafted.append(sum(map(len, drafts)))
    return drafted


def test_drafts_shorten_under_load_down_to_none(monkeypatch: pytest.MonkeyPatch) -> None:
    cheap = load(monkeypatch, 24, 0.001)
    dear = load(monkeypatch, 24, 2.0)
    assert sum(cheap[-50:]) / 50 >= 20
    assert dear[0] > 0
    assert dear[-50:].count(0) >= 45


@pytest.mark.parametrize("first", ["holder", "proposer"])
def test_holder_and_proposer_find_each_other(first: str) -> None:
    config = configuration()
    make = workers.holding(lambda *_, **__: None, lambda: config)
    if first == "holder":
        make()
    proposer = Proposer(config)
    make()
    holder = make()  # vLLM uses the last
    assert holder.seats.left == proposer._gone
    proposer.load_model("any")
    holder.sync_batch(Update(1, added=[(0, Params(), PROMPT, output := TEXT.encode("ababab"))]))
    assert proposer.propose([output[-1:]], None, None)[0]
    state = holder.seats.rows[0].drafting
    assert state is not None
    output.append(END)
    seat = holder.seats.rows[0]
    holder.sync_batch(Update(0, removed=[0]))
    assert seat.drafting is None


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"drafter": "draft-model"}, "needs a draft model"),
        ({"drafter": "suffix:fallback=[draft-model]"}, "'draft-model' needs"),
        ({"length": "svip"}, "needs a draft model, hidden"),
        ({"drafter": "token-recycling"}, "hidden states or logits"),
        ({"drafter": "head:nowhere"}, "hidden states or logits"),
        ({"drafter": "bandit"}, "chooses among ways"),
    ],
)
def test_what_a_proposer_does_not_have_is_refused(settings: dict[str, str], why: str) -> None:
    with pytest.raises(UnmetNeed, match=why):
        Proposer(configuration(**settings))


def test_a_tokenizer_is_read_at_start_up_and_once(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    monkeypatch.setattr("laconic.vllm.host.load_text", lambda *_, **__: read.append(1) or TEXT)
    config = configuration()
    make = workers.holding(lambda *_, **__: None, lambda: config)
    first, second = make(), make()  # vLLM sets its batch up twice
    assert second.host is first.host
    assert second.host.text is TEXT
    assert len(read) == 1
