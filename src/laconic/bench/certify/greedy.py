"""First audit: greedy decoding writes the very tokens of the reference loop, and of plain decoding."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from laconic import reference
from laconic.bench.certify.base import Verdict, dtype_of, fresh_rows, tolerance
from laconic.bench.compare import PLAIN
from laconic.engine import Engine
from laconic.errors import RequestError
from laconic.speculation.drafters.history import common_prefix
from laconic.types import Limits, Request, Usage

_TOLD = "configuration"


@dataclass(frozen=True, slots=True)
class Difference:
    """The first place where two texts part. ``position`` counts tokens after the prompt.

    ``gap`` is how far apart the logits of the two tokens are there, in a pass of its own over the common text.
    Within ``tolerance`` it is a ``near_tie``: rounding decides it, and either token is the model's own. Where one
    text simply ends, its token is None and there is no gap.
    """

    prompt: int
    position: int
    expected: str | None
    found: str | None
    gap: float | None
    tolerance: float | None
    near_tie: bool


@dataclass(frozen=True, slots=True)
class Check:
    """One way of running, compared with another that must write the same tokens."""

    of: tuple[str, str]
    prompts: int
    identical: int
    near_ties: int
    tokens: int
    """Tokens compared, up to the first difference of each prompt."""
    differences: tuple[Difference, ...]

    @property
    def faults(self) -> int:
        """Prompts whose texts part at a place that rounding does not explain."""
        return self.prompts - self.identical - self.near_ties


@dataclass(frozen=True, slots=True)
class GreedyAudit:
    """All checks, and how much was drafted, kept and refused while they ran."""

    verdict: Verdict
    reason: str
    checks: tuple[Check, ...]
    drafted: int
    accepted: int
    target_passes: int


def audit(
    engine: Engine,
    prompts: Sequence[tuple[int, ...]],
    *,
    limits: Limits | None = None,
    references: int = 2,
    batch: int = 4,
    after: Callable[[str], object] = lambda done: None,
) -> GreedyAudit:
    """Compare the engine's greedy texts with plain decoding on all ``prompts`` and the reference loop on some.

    ``prompts`` are token ids. The reference loop computes the whole text anew for every token, on the first
    ``references`` prompts. With ``batch`` above 1 the configuration runs a second time, that many at once.
    Controllers stay as they are: plain decoding then has the same ones, each probe in a pass of its own. Raises
    RequestError without prompts.
    """
    if not prompts:
        raise RequestError("there are no prompts to certify on.", "Give at least one.")
    requests = [Request(prompt, limits=limits or Limits(160)) for prompt in prompts]
    results = engine.run(requests)
    texts = [result.tokens for result in results]
    after("greedy: the configuration")
    plain = [r.tokens for r in engine.using(**PLAIN, probes="separate").run(requests)]
    after("greedy: plain decoding")
    checks = [_compare(engine, (_TOLD, "plain"), requests, plain, texts)]
    if references > 0:
        some = requests[:references]
        slow = [_reference(engine, request) for request in some]
        checks.insert(0, _compare(engine, (_TOLD, "reference"), some, slow, texts))
        after("greedy: the reference loop")
    if batch > 1 and len(requests) > 1:
        together = [r.tokens for r in engine.run(requests, batch=batch)]
        checks.append(_compare(engine, (f"{_TOLD}, {batch} at once", "plain"), requests, plain, together))
        after("greedy: in a batch")
    usage = Usage()
    for result in results:
        usage.add(result.usage)
    verdict, reason = _judge(checks, usage, drafts=engine.plan.drafter.name != "none")
    return GreedyAudit(verdict, reason, tuple(checks), usage.drafted, usage.accepted, usage.target_passes)


def _reference(engine: Engine, request: Request) -> tuple[int, ...]:
    model = engine.target
    tokens, _ = reference.decode(
        lambda tokens: fresh_rows(model, tokens)[-1], engine.text, request, engine.plan.controllers, model.context
    )
    return tuple(tokens)


def _compare(
    engine: Engine,
    of: tuple[str, str],
    requests: Sequence[Request],
    expected: Sequence[tuple[int, ...]],
    found: Sequence[tuple[int, ...]],
) -> Check:
    differences, tokens = [], 0
    for i, (request, right, text) in enumerate(zip(requests, expected, found, strict=False)):
        at = common_prefix(list(right), list(text))
        tokens += at
        if right != text:
            differences.append(_difference(engine, i, request, right, text, at))
    ties = sum(difference.near_tie for difference in differences)
    return Check(of, len(expected), len(expected) - len(differences), ties, tokens, tuple(differences))


def _difference(
    engine: Engine, i: int, request: Request, right: tuple[int, ...], text: tuple[int, ...], at: int
) -> Difference:
    expected, found = (engine.text.piece(tokens[at]) if at < len(tokens) else None for tokens in (right, text))
    if expected is None or found is None:
        return Difference(i, at, expected, found, None, None, near_tie=False)
    row = fresh_rows(engine.target, [*request.prompt, *right[:at]])[-1]
    gap, excused = float(row[right[at]] - row[text[at]]), tolerance(row, dtype_of(engine.target))
    return Difference(i, at, expected, found, gap, excused, near_tie=abs(gap) <= excused)


def _judge(checks: Sequence[Check], usage: Usage, *, drafts: bool) -> tuple[Verdict, str]:
    for check in checks:
        if check.faults:
            return "not exact", f"{' and '.join(check.of)} differ on {check.faults} of {check.prompts} prompts"
    ties = max(check.near_ties for check in checks)
    if ties:
        return "inconclusive", f"{ties} prompts differ at a near tie of two logits; what follows was not compared"
    if drafts and not usage.drafted:
        return "inconclusive", "nothing was drafted on these prompts"
    if drafts and usage.accepted in (0, usage.drafted):
        kind = "accepted" if usage.accepted == 0 else "refused"
        return "inconclusive", f"no drafted token was {kind} on these prompts"
    return "exact", "all texts are identical, token for token"
