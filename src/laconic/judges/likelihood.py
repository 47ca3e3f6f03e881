"""How likely a model finds the last step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from laconic.errors import UnmetNeed
from laconic.judges.base import Asking, Bound, ModelJudge, checked
from laconic.models.text import Message
from laconic.policy import Card, knobs
from laconic.types import Question

if TYPE_CHECKING:
    from laconic.engine import Engine


@knobs
class Likelihood(ModelJudge):
    """The geometric mean of the probabilities of the last step's tokens, to the model that writes or to another.

    The value of a partial solution in stepwise beam search (Self-Evaluation Guided Beam Search, Xie et al. 2023, beside
    the model's own evaluation). Another ``model`` than the one that writes says how likely it would have written this.
    """

    reads_answers: ClassVar[bool] = False  # the thought is what is weighed
    card = Card(paper="Self-Evaluation Guided Beam Search", lossless=False, arxiv="2305.00633")

    def bind(self, engine: Engine) -> Bound:
        """As every model's. Raises UnmetNeed over a server."""
        from laconic.remote import RemoteEngine

        if self.url or (isinstance(engine, RemoteEngine) and not self.model):
            raise UnmetNeed("a server does not say how likely a text is.", "Use another judge.")
        return _Likelihood(self, *self.asked(engine))


class _Likelihood(Asking):
    def score(self, question: Sequence[Message], steps: Sequence[str]) -> float:
        """One reading of the steps."""
        form = self.engine.text.format
        head = f"{form.opens}{form.lead}" if form.thinks else ""
        shown, last = self.judge.shown(steps), steps[-1] if steps else ""
        before = {"role": "assistant", "content": head + shown[: max(len(shown) - len(last), 0)]}
        after = {"role": "assistant", "content": head + shown}
        asked = (Question((*question, before)), Question((*question, after)))
        return checked(self.judge.name, self.engine.reading().likelihood(*asked))
