"""Planted faults: a biased residual, a dropped bonus token, a stale cache entry, a forgotten rollback."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from laconic.bench.certify.proxies import Proxy, ProxySlot
from laconic.engine import Engine
from laconic.models.causal_lm import CausalLM
from laconic.policy import Card, knobs
from laconic.speculation.base import TargetRows, TokenTree, Verdict, Verifier
from laconic.speculation.draws import Draws
from laconic.speculation.verify.speculative_sampling import SpeculativeSampling
from tests import tiny
from tests.fakes import FakeModel

PROMPTS = [tuple((i * 5 + j * j) % 8 for j in range(12 + i)) for i in range(6)]
"""Token ids for the models of eight tokens."""


@knobs
class BiasedResidual(Verifier):
    """Tests chains rightly, but draws from p, not norm((p - q)+), where a token was refused."""

    card = Card(paper="a planted fault", lossless=True)

    def verify(self, rows: TargetRows, tree: TokenTree, draws: Draws) -> Verdict:
        if tree.draft_probs is None or rows.sampling.greedy:
            return SpeculativeSampling().verify(rows, tree, draws)
        path: list[int] = []
        for node, token in enumerate(tree.tokens):
            p, q = float(rows.probs[node][token]), float(tree.draft_probs[node][token])
            if draws.uniform(rows.position + node, Draws.ACCEPT) * q >= p:
                break
            path.append(node)
        return Verdict(tree, path, draws.pick(rows.probs[len(path)], rows.position + len(path)))


@knobs
class DroppedBonus(Verifier):
    """After a draft that stood to its end, the bonus token is dropped: the row before the last token is read again."""

    card = Card(paper="a planted fault", lossless=True)

    def verify(self, rows: TargetRows, tree: TokenTree, draws: Draws) -> Verdict:
        right = SpeculativeSampling().verify(rows, tree, draws)
        if not right.path or right.path[-1] in tree.parents:
            return right
        row = tree.parents[right.path[-1]] + 1
        if rows.sampling.greedy:
            return Verdict(tree, right.path, rows.best[row])
        return Verdict(tree, right.path, draws.pick(rows.probs[row], rows.position + len(right.path)))


class StaleSlot(ProxySlot):
    """Keeps the entry of one refused node in place of the last token that stood."""

    def commit(self, path: Sequence[int]) -> None:
        refused = path[-1] + 1
        self.inner.commit([*path[:-1], refused] if refused < len(self.scored) else path)
        self.tokens += [self.scored[node] for node in path]


class Stale(Proxy):
    """A model whose slots are stale after a refusal."""

    def open(self) -> ProxySlot:
        return StaleSlot(self, self.model.open())


class ForgetfulSlot(ProxySlot):
    """Forgets one token too few when it is rolled back."""

    def rollback(self, count: int) -> None:
        self.inner.rollback(max(count - 1, 0))
        del self.tokens[len(self.tokens) - count :]


class Forgetful(Proxy):
    """A model whose slots keep a token that was taken back."""

    def open(self) -> ProxySlot:
        return ForgetfulSlot(self, self.model.open())


def fake_engine(sharpness: float = 1.0, noise: float = 0.7, **methods: object) -> Engine:
    """An order-2 Markov chain over eight tokens, and a draft that is often right."""
    target = FakeModel.random(3, 8, sharpness)
    return Engine(target, tiny.text(), draft_model=target.noisy(4, noise)).using(**methods)


@cache
def _tiny(seed: int) -> tuple[CausalLM, CausalLM]:
    target = tiny.model(seed, sharpness=3.0)
    return CausalLM(target), CausalLM(tiny.noisy(target, 0.1))


def tiny_engine(seed: int = 0, **methods: object) -> Engine:
    """A small random Qwen3 with a noisy copy of itself for a draft."""
    target, draft = _tiny(seed)
    return Engine(target, tiny.text(), draft_model=draft).using(**methods)


def tiny_prompts(engine: Engine, count: int = 4) -> list[tuple[int, ...]]:
    return [engine.text.prompt(f"What is {i} + 7? And {i} + 7 again?") for i in range(count)]
