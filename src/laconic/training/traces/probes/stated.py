"""The answers that a thought states, held against the right one."""

from __future__ import annotations

from laconic.equality import same
from laconic.policy import Card, knobs
from laconic.thinking.statements import result, sentences, states
from laconic.training.traces.base import Sufficiency, Tools
from laconic.training.traces.trace import Problem, Trace


@knobs
class Stated(Sufficiency):
    """A thought is answered rightly where the last result that it has concluded is the right answer.

    Read from the text alone, as ``laconic replay`` reads it (laconic.thinking.statements): a sentence concludes a
    result that it states with a word of conclusion (so, therefore, the answer, in total ...), and a later conclusion
    of something else takes the place of an earlier one. Trap: a conclusion in other words is not seen, and a value on
    the way that equals the answer is taken for it; neither says that the model would have answered so. ``asked`` asks
    it.
    """

    card = Card(paper="laconic's own", lossless=False)

    concluding: bool = True
    """Whether only conclusions count; otherwise any sentence that states a result does."""

    def right(self, problem: Problem, trace: Trace, tools: Tools) -> list[bool]:
        """One reading of the steps."""
        answer, now, found = problem.answer or "", False, []
        for step in trace.steps.texts:
            for sentence in sentences(step):
                said = result(sentence)
                concludes = said is not None and (said[1] or not self.concluding)
                if states(sentence, answer) and (concludes or not self.concluding):
                    now = True
                elif said is not None and concludes:
                    now = same(answer, str(said[0]))
            found.append(now)
        return found
