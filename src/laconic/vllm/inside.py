"""Thinking control of requests that another engine decodes: what each next row of logits must be made of.

Such an engine writes a token, or accepts a draft, before anybody can take it back. So nothing is taken back here: for
every row of a pass it is worked out beforehand what laconic's own loop would have done by then, and where it would have
ended the thought or written something of its own, the row allows that token alone. What the loop itself would decide is
found by asking it: its own code runs over a copy of the request's state, token by token along the draft.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from laconic.engine import Methods, check
from laconic.errors import LaconicError, UnmetNeed
from laconic.loop import Loop
from laconic.models.text import Text
from laconic.policy import Policy
from laconic.remote.elsewhere import Elsewhere
from laconic.sequence import Sequence as Followed
from laconic.speculation.draws import Draws, warp
from laconic.thinking.base import Ban, Controller, LogitRule, Place, ruled
from laconic.types import Request

Think = tuple[str | Policy, ...]

_OWN = "Run the model in laconic's own engine, or do without this method."


class OutOfStep(LaconicError):
    """The engine wrote something else than what its row of logits allowed."""


@dataclass(slots=True)
class Row:
    """What is to become of one row of logits.

    ``forced`` is the only token that may stand there. Else ``rules`` are applied in the given ``place``, and a token of
    ``ends`` would end the thought: if it is what the row chooses, ``chosen`` says so, and what the loop writes in its
    place is forced.
    """

    place: Place | None = None
    rules: tuple[LogitRule, ...] = ()
    ends: tuple[int, ...] = ()
    forced: int | None = None
    chosen: int | None = None
    shaped: bool = False


class Inside(Loop):
    """The loop's decisions without its passes. :meth:`follow` takes a request up.

    Raises UnmetNeed for controllers that cannot work so: those that probe, see probabilities or hidden states, steer,
    or have a say before the request begins.
    """

    def __init__(self, text: Text, think: Think, *, vocab_size: int, context: int) -> None:
        plan = Methods(drafter="none", length="constant", think=think).plan()
        target = Elsewhere(vocab_size, context)
        for controller in plan.controllers:
            _can_follow(controller, text)
        check(plan, text, target, None)
        super().__init__(target, text, plan)

    def follow(self, request: Request) -> Following:
        """A request that the other engine is about to decode, whose own sampling is ``request.sampling``.

        Raises RequestError where a controller refuses it.
        """
        sequence = self.add(request)
        self._leave(sequence)  # none of this loop's passes will carry it
        return Following(self, sequence)

    def write(self, s: Followed, token: int, *, supposed: bool) -> None:
        """A token that the model chose or, ``supposed``, might choose, and what the controllers make of it."""
        self._write(s, [token])
        if supposed and s.checks:
            s.own_states()
        self._decide(s)


class Following:
    """One request in the other engine's hands.

    :meth:`plan` works out what shall become of the logits of the next pass, :meth:`shaped` does it to one row, and
    :meth:`arrived` takes in what the engine has written with them. ``written`` counts the tokens that the engine has
    written, prompt included; what the loop wants written beyond them waits in :attr:`owed`.
    """

    def __init__(self, inside: Inside, sequence: Followed) -> None:
        self._inside = inside
        self.sequence = sequence
        self.written = len(sequence.tokens)
        self.rows: list[Row] = []
        """What was planned last, for the committed text and each token of the draft."""
        self._draft: tuple[int, ...] = ()
        self._draws = Draws(sequence.request.sampling.seed)

    @property
    def owed(self) -> list[int]:
        """Tokens that must come next whatever the model thinks: a draft that is always accepted."""
        return self.sequence.tokens[self.written :]

    @property
    def done(self) -> bool:
        """Whether there is nothing left to decide."""
        return self.sequence.done and not self.owed

    def plan(self, draft: Sequence[int]) -> int:
        """Work out what shall become of the rows after the committed text and after each token of ``draft``.

        Returns how many there are: after a token that cannot be accepted nothing matters, and rows are left out.
        """
        self._draft, self.rows = tuple(draft), []
        with self.sequence.supposing():
            self._plan_from(0)
        return len(self.rows)

    @property
    def looks(self) -> bool:
        """Whether rows that were planned depend on which token is the likeliest."""
        return self.sequence.request.sampling.greedy and any(row.ends for row in self.rows)

    def shaped(self, at: int, logits: torch.Tensor, best: int | None = None) -> torch.Tensor | None:
        """``logits [vocab]`` as row ``at`` wants them; None where they stay as they are.

        ``best`` is the likeliest token, for an engine that has found it for all rows at once. An engine may begin with
        its last row and go through the others in order.
        """
        row, changed = self.rows[at], None
        row.shaped = True
        if row.forced is None:
            assert row.place is not None
            changed = ruled(row.rules, logits, row.place) if row.rules else logits
            row.chosen = self._chooses_an_end(at, changed, best if changed is logits else None)
            if row.chosen is not None:
                self._end_at(at)
            elif row.ends and not self.sequence.request.sampling.greedy:
                changed = changed.clone()
                changed[list(row.ends)] = -torch.inf  # the dice have said that none of them is drawn
        if row.forced is not None:
            changed = torch.full_like(logits, -torch.inf)
            changed[row.forced] = 0.0
        return None if changed is logits else changed

    def arrived(self, tokens: Sequence[int]) -> None:
        """Take in what the engine wrote in the rows that were planned last. Raises OutOfStep."""
        s = self.sequence
        for at, token in enumerate(tokens):
            row = self.rows[at] if at < len(self.rows) else None
            if len(s.tokens) <= self.written and not s.done:
                chosen = token if row is None or row.chosen is None else row.chosen
                self._inside.write(s, chosen, supposed=False)
            if len(s.tokens) > self.written and s.tokens[self.written] != token:
                raise OutOfStep(
                    f"the engine wrote token {token} where {s.tokens[self.written]} was the only one allowed."
                )
            self.written += 1
        self.rows = []

    def _plan_from(self, first: int) -> None:
        """Rows from ``first`` on. The text, and what was decided about it, stands behind that much of the draft."""
        s, draft = self.sequence, self._draft
        for at in range(first, len(draft) + 1):
            here = self.written + at
            if len(s.tokens) > here:
                self.rows.append(Row(forced=s.tokens[here]))
            elif s.done:
                if s.finish != "length":
                    return  # an end token, which is the engine's own affair
                self.rows.append(Row(forced=min(s.text.eos)))
            else:
                self.rows.append(self._open())
            if at == len(draft):
                return
            if self.rows[-1].forced is None:
                self._inside.write(s, draft[at], supposed=True)
            elif self.rows[-1].forced != draft[at]:
                return

    def _open(self) -> Row:
        """The row after the text as it is, where the model chooses; no end token right behind a thought."""
        s, place = self.sequence, self.sequence.transcript.place()
        rules: list[LogitRule] = []
        for rule in s.rules:
            if not isinstance(rule, Ban):
                rules.append(rule)
            elif banned := tuple(rule.banned(place)):
                rules.append(Ban(lambda _, banned=banned: banned))  # type: ignore[misc]
        if s.transcript.unanswered and s.request.limits.answers:
            ends = tuple(s.text.eos)
            rules.append(Ban(lambda _: ends))
        if not all(isinstance(rule, Ban) for rule in rules):
            place = replace(place, tokens=list(place.tokens))  # they go on
        return Row(place, tuple(rules), self._ends(place.phase))

    def _ends(self, phase: str) -> tuple[int, ...]:
        """Tokens whose choice the loop has a say about: end tokens within the thought, and its closing tag."""
        s = self.sequence
        if phase != "thinking":
            return ()
        ends = list(s.text.eos) if s.controllers or s.request.limits.answers else []
        if any(controller.closing for controller, _ in s.controllers):
            close = s.text.close_token
            assert close is not None
            ends.append(close)
        return tuple(ends)

    def _chooses_an_end(self, at: int, logits: torch.Tensor, best: int | None) -> int | None:
        """Which of row ``at``'s ``ends`` is chosen, by the likeliest token or by dice of our own; None if none is."""
        row = self.rows[at]
        if not row.ends:
            return None
        sampling, ends = self.sequence.request.sampling, list(row.ends)
        if sampling.greedy:
            best = int(logits.argmax()) if best is None else best
            return best if best in row.ends else None
        probs = warp(logits, sampling)[ends].double().cpu()
        left = self._draws.uniform(self.written + at, Draws.RELAX)
        for token, chance in zip(ends, probs.tolist(), strict=True):
            left -= chance
            if left < 0:
                return token
        return None

    def _end_at(self, at: int) -> None:
        """Force what the loop writes where the model chose an end in row ``at``, and plan the rows after it anew.

        Where the last row has been seen to already and the draft goes on as the loop would, the draft is taken to be
        the model's own choice: the tag that it wrote closes the thought as well.
        """
        s, row = self.sequence, self.rows[at]
        assert row.chosen is not None
        with s.supposing():
            for token in (*self._draft[len(s.tokens) - self.written : at], row.chosen):
                self._inside.write(s, token, supposed=True)
            row.forced = s.tokens[self.written + at]
            if self._draft[at : at + 1] != (row.forced,):
                return
            if any(later.shaped for later in self.rows[at + 1 :]):
                row.chosen = None
                return
            del self.rows[at + 1 :]
            self._plan_from(at + 1)


def has_its_say_before(policy: Policy) -> bool:
    """Whether a controller rewrites the question, or names others for it."""
    if not isinstance(policy, Controller):
        return False
    mine = type(policy)
    return mine.prepare is not Controller.prepare or mine.resolve is not Controller.resolve


def _can_follow(controller: Controller, text: Text) -> None:
    """Raise UnmetNeed for a controller that cannot do its work inside another engine."""
    for policy in controller.walk():
        name, needs = policy.name, policy.needs
        if needs.probabilities or needs.chances or needs.target_hidden or needs.steerable:
            raise UnmetNeed(f"'{name}' looks into the model, and cannot do so inside another engine.", _OWN)
        if not isinstance(policy, Controller):
            continue
        if policy.asks:
            raise UnmetNeed(f"'{name}' asks the model questions, which costs requests of their own.", _OWN)
        if has_its_say_before(policy):
            raise UnmetNeed(f"'{name}' has its say before the request begins.", _OWN)
        if policy.closing and text.close_token is None:
            raise UnmetNeed(
                f"'{name}' takes back the closing tag, which is several tokens of this model.",
                "Only a tag of one token can be kept from being written.",
            )
