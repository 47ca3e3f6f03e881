"""The simulated server by hand: virtual times, order of events, bounds."""

import random
from itertools import pairwise

import pytest

from laconic.bench.simulate.costs import Line
from laconic.bench.simulate.host import HostCost
from laconic.bench.simulate.jobs import Job
from laconic.bench.simulate.memory import Bounds, Memory, Size
from laconic.bench.simulate.run import policy
from laconic.bench.simulate.server import Server
from laconic.errors import RequestError
from laconic.speculation.base import EMPTY, Go, LengthPolicy
from tests.bench.simulate.by_hand import script

TARGET, DRAFT = Line(1.0, 0.1), Line(0.2)


def test_one_request_to_the_second():
    job = Job(script("11011"))
    (plain,) = Server(TARGET).run([job], clients=1).served
    assert (plain.first, plain.finished) == (pytest.approx(1.5), pytest.approx(1.5 + 4 * 1.1))
    history = Server(TARGET, DRAFT, policy("constant:2")).run([job])
    first, second = [each for each in history.rounds if each.requests]
    # Two drafted, both held; prompt and draft in one pass. Then two more, the second of them the end token.
    assert (first.draft, first.score, first.nodes, first.given, first.tokens) == (0.4, pytest.approx(1.7), 7, 4, 3)
    assert (second.draft, second.score, second.nodes, second.tokens) == (0.4, pytest.approx(1.3), 3, 2)
    (served,) = history.served
    assert served.rounds == [(2, 2), (2, 2)]
    assert (served.first, served.finished) == (pytest.approx(2.1), pytest.approx(3.8))
    assert second.ended == served.finished


def test_the_engines_own_work_and_long_prompts():
    host = HostCost(round=0.01, request=0.02, node=0.001, ask=0.002, draft_pass=0.003, guess=0.004, join=0.5)
    history = Server(TARGET, DRAFT, policy("constant:3"), host=host).run([Job(script("1111", prompt=70))])
    joined, only = history.rounds
    assert (joined.prefill, joined.host) == (pytest.approx(7.9), 0.5)
    # The draft model reads 69 tokens in a pass of its own (0.2), then drafts three.
    assert only.draft == pytest.approx(0.2 + 3 * (0.2 + 0.003 + 0.004) + 0.002)
    assert only.host == pytest.approx(0.01 + 0.02 + 4 * 0.001)
    assert (only.score, only.given) == (pytest.approx(1.4), 0)


def test_a_tie_costs_a_pass_over_the_whole_text():
    with_tie, without = (Server(TARGET).run([Job(script("0000", ties=t))]) for t in ((2,), ()))
    extra = TARGET.prefill(5 + 2 - 1) + TARGET.seconds([1], [0])
    assert with_tie.served[0].finished == pytest.approx(without.served[0].finished + extra)
    assert sum(each.ties for each in with_tie.rounds) == 1
    assert Server(TARGET, ties=False).run([Job(script("0000", ties=(2,)))]).rounds == without.rounds
    drafted = Server(TARGET, DRAFT, policy("constant:4")).run([Job(script("1111", ties=(1, 3)))])
    assert sum(each.ties for each in drafted.rounds) == 2


@pytest.mark.parametrize("spec", ["none", "constant:3", "marginal", "confidence:threshold=0.7", "bandit", "adaedl"])
def test_a_closed_loop_keeps_its_clients_at_work_and_every_token_is_written(spec):
    rng = random.Random(1)
    texts = [script("".join(rng.choices("10", (4, 1), k=rng.randint(3, 30))), name=str(i)) for i in range(40)]
    history = Server(TARGET, DRAFT, policy(spec), bounds=Bounds(6)).run([Job(text) for text in texts], clients=6)
    rounds = [each for each in history.rounds if each.requests]
    busy = [each.requests for each in rounds]
    assert busy == sorted(busy, reverse=True), "fewer than six only once there is nobody left to come"
    assert busy[0] == 6
    assert sum(each.tokens for each in rounds) == sum(map(len, texts))
    assert [served.written for served in history.served] == [len(text) for text in texts]
    for served in history.served:
        assert sum(accepted for _, accepted in served.rounds) + len(served.rounds) >= served.written
    assert all(a.ended == pytest.approx(b.begun) for a, b in pairwise(history.rounds))


def test_open_arrivals_wait_for_a_place_and_the_server_for_them():
    jobs = [Job(script("000"), at) for at in (0.0, 0.1, 50.0)]
    history = Server(TARGET, bounds=Bounds(1)).run(jobs)
    one, two, three = history.served
    each = 1.5 + 2 * 1.1
    assert [s.joined for s in history.served] == [0.0, pytest.approx(each), 50.0]
    assert (one.finished, two.finished, three.finished) == pytest.approx((each, 2 * each, 50 + each))
    assert history.idle == pytest.approx(50 - 2 * each)


class Spy(LengthPolicy):
    """Writes down what it is asked."""

    def __init__(self):
        self.log, self.started = [], 0

    def start(self, context, pace):
        self.started += 1
        return self.started - 1

    def budgets(self, states):
        self.log.append(("budgets", tuple(states)))
        return [2 + state for state in states]

    def go_on(self, state, node):
        self.log.append(("go_on", state, node.depth))
        return Go.LAST if state == 1 and node.depth == 1 else Go.ON

    def select(self, states, trees):
        self.log.append(("select", tuple(states), tuple(map(len, trees))))
        return [trees[0], *([EMPTY] * (len(trees) - 1))]

    def observe(self, state, verdict, seconds):
        self.log.append(("observe", state, len(verdict.tree), verdict.accepted))


def test_policies_are_asked_in_the_order_of_the_loop(monkeypatch):
    monkeypatch.setattr(Spy, "walk", lambda self: iter(()))
    spy = Spy()
    Server(TARGET, DRAFT, spy).run([Job(script("10000")), Job(script("11111"))], clients=2)
    assert spy.log[:7] == [
        ("budgets", (0, 1)),
        ("go_on", 0, 0), ("go_on", 1, 0), ("go_on", 0, 1), ("go_on", 1, 1),
        ("select", (0, 1), (2, 2)),
        ("observe", 0, 2, 1),
    ]  # fmt: skip


def test_a_draft_never_passes_the_requests_limit():
    history = Server(TARGET, DRAFT, policy("constant:9")).run([Job(script("1" * 6, limit=6, stopped=False))])
    assert history.served[0].rounds == [(5, 5)]


def test_bounds():
    memory = Memory(Size(1000.0, 10.0), Size(0.0, 0.0))
    jobs = [Job(script("0000", prompt=p)) for p in (6, 6, 90)]
    plain = memory.bytes([10, 10], 0)
    history = Server(TARGET, bounds=Bounds(8, bytes=plain, memory=memory)).run(jobs)
    assert [len(job.script) + job.script.prompt for job in history.refused] == [94]
    assert max(each.requests for each in history.rounds) == 2
    by_tokens = Server(TARGET, bounds=Bounds(8, tokens=19)).run(jobs[:2])
    assert max(each.requests for each in by_tokens.rounds) == 1
    # Memory for two more tokens of each request: drafts of four are cut to two.
    room = Bounds(8, bytes=memory.bytes([10, 10], 2), memory=memory)
    cut = Server(TARGET, DRAFT, policy("constant:4"), bounds=room).run(jobs[:2])
    assert max(drafted for served in cut.served for drafted, _ in served.rounds) == 2
    with pytest.raises(RequestError):
        Bounds(0)
    with pytest.raises(RequestError):
        Bounds(bytes=10)
    with pytest.raises(RequestError):
        Server(TARGET, None, policy("constant:2"))
