"""Contract of collaboration: a policy says who writes the next piece of a thought, and whether it stands."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from laconic.judges.base import Judge
from laconic.models.text import Message
from laconic.policy import Policy
from laconic.types import Event, FinishReason, Result, Usage

Side = Literal["small", "large"]


@dataclass(frozen=True, slots=True)
class Turn:
    """Who writes next, and how much: up to the end of a step, or so many tokens at ``most``, or (``whole``) to the end
    of the thought. With a ``draw`` other than 0 it begins the thought again, with other draws for each number.

    With ``ahead`` the small one writes so many steps, and beside them the large one its own in the place of each, all
    at once; the first that does not stand is replaced by the large one's.
    """

    side: Side
    most: int | None = None
    whole: bool = False
    draw: int = 0
    ahead: int = 0


@dataclass(frozen=True, slots=True)
class Piece:
    """What one side wrote at one turn. ``closes`` says that it ended the thought with it."""

    side: Side
    text: str
    tokens: int
    closes: bool = False
    score: float | None = None
    refused: bool = False


@dataclass(slots=True)
class Thought:
    """A thought under way: the pieces that stand, and all that were written, refused ones too."""

    messages: tuple[Message, ...]
    seed: int = 0
    pieces: list[Piece] = field(default_factory=list)
    written: list[Piece] = field(default_factory=list)

    @property
    def text(self) -> str:
        """What stands of it."""
        return "".join(piece.text for piece in self.pieces)

    def tokens(self, side: Side) -> int:
        """Tokens that a side has written, refused ones too."""
        return sum(piece.tokens for piece in self.written if piece.side == side)


class Looks(Protocol):
    """What the large model, or a judge, says of a piece that the small one has just written.

    The large model reads the piece once, in one pass, whatever is asked of it; what it has read of a piece that
    stands it need not read again.
    """

    def digits(self, ask: str) -> list[float]:
        """Its probabilities of the ten digits as the first token behind the piece and ``ask``."""
        ...

    instead: str
    """What the large one wrote in the piece's place, where steps were written ``ahead``; else empty."""

    def chances(self) -> list[float]:
        """Its probabilities of the piece's tokens. Raises UnmetNeed over a server."""
        ...

    def likelihood(self) -> float:
        """The geometric mean of its probabilities of the piece's tokens. Raises UnmetNeed over a server."""
        ...

    def judged(self, judge: Judge, *, instead: bool = False) -> float:
        """What a judge says of the thought with this piece, or with what was written ``instead``."""
        ...


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a piece stands, and the score by which that was decided, if there was any."""

    stands: bool
    score: float | None = None


class Collaboration(Policy):
    """Decides which of two models writes the next piece of a thought."""

    def start(self, thought: Thought) -> Any:
        """State of one question."""
        return None

    def turn(self, state: Any, thought: Thought) -> Turn:
        """Who writes next."""
        raise NotImplementedError

    def stands(self, state: Any, thought: Thought, piece: Piece, looks: Looks) -> Verdict:
        """Whether what the small model has just written stands; what does not is taken back in both."""
        return Verdict(True)

    @property
    def answers(self) -> Side:
        """Who writes the answer."""
        return "large"


@dataclass(frozen=True, slots=True)
class Collaborated:
    """A question answered by two models. ``small`` and ``large`` are what each has written and read.

    ``result`` is that of the side that answered; its text is all of it. Of a usage ``thinking`` are tokens that this
    model chose and that stood, ``injected`` what it was given of the other; ``refused`` are the small model's tokens
    that were taken back. ``seconds`` is the time that it took.
    """

    answer: str
    result: Result
    pieces: tuple[Piece, ...]
    small: Usage
    large: Usage
    refused: int
    seconds: float
    events: tuple[Event, ...] = ()

    @property
    def finish_reason(self) -> FinishReason:
        """How the answer ended."""
        return self.result.finish_reason

    @property
    def share(self) -> float:
        """The large model's share of the tokens of the thought that stand."""
        own = {
            side: sum(p.tokens for p in self.pieces if p.side == side and not p.refused) for side in ("small", "large")
        }
        total = own["small"] + own["large"]
        return own["large"] / total if total else 1.0

    def as_dict(self) -> dict[str, Any]:
        """Answer, counts and every piece, ready for JSON."""
        return {
            "answer": self.answer,
            "text": self.result.text,
            "finish_reason": self.finish_reason,
            "share": self.share,
            "refused": self.refused,
            "seconds": self.seconds,
            "small": self.small.as_dict(),
            "large": self.large.as_dict(),
            "pieces": [
                {"side": p.side, "text": p.text, "tokens": p.tokens, "score": p.score, "refused": p.refused}
                for p in self.pieces
            ],
            "events": [f"{event.method}: {event.action}, {event.reason}" for event in self.events],
        }
