#!/usr/bin/env bash
# its-hub 1.2.0: `BeamSearch` whose beam is as wide as its budget does not search: it has one candidate at each level.
#
# Expected: a beam of width 8 keeps the 8 best candidates, so a budget of 8, the smallest that this width is allowed,
# follows 8 paths with one continuation each. Seen: the search begins with budget / beam_width candidates, keeps at most
# beam_width of them at each level and copies those budget / beam_width times. Where the quotient is 1, there is one
# candidate at the beginning and nothing ever multiplies it: the result is a single sample, whatever the reward model
# says. A beam of 4 or 2 begins short of the budget as well and grows to it over the first levels. Counted here: the
# requests at each level.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/env"
"$place/env/bin/pip" install --quiet its_hub==1.2.0 numpy==2.4.6 2>/dev/null
cat > "$place/run.py" <<'PY'
from collections import Counter

from its_hub import AbstractLanguageModel, AbstractProcessRewardModel
from its_hub.core.algorithms.beam_search import BeamSearch
from its_hub.core.lms.step_generation import StepGeneration

BUDGET, LEVELS = 8, 5


class Model(AbstractLanguageModel):
    def __init__(self):
        self.asked = Counter()

    async def agenerate(self, messages, stop=None, **_):
        return [self.reply(conversation[-1]) for conversation in messages]

    def reply(self, last):
        level = last.content.count("\n\n") if last.role == "assistant" else 0
        self.asked[level] += 1
        return {"role": "assistant", "content": "one step more" if level < LEVELS - 1 else "\\boxed{7}"}


class Equal(AbstractProcessRewardModel):
    async def ascore(self, prompt, steps):
        return [0.5] * len(steps)

    def score(self, prompt, steps):
        return [0.5] * len(steps)


found = {}
for width in (8, 4, 2, 1):
    model = Model()
    search = BeamSearch(StepGeneration(32, "\n\n", "\\boxed"), Equal(), beam_width=width)
    result = search.infer(model, "How many?", budget=BUDGET, return_response_only=False)
    found[width] = [model.asked[level] for level in range(LEVELS)]
    print(f"budget {BUDGET}, width {width}: {found[width]} requests by level, {len(result.responses)} left at the end")
assert found[8] == [1] * LEVELS and found[1] == [BUDGET] * LEVELS, "this has changed"
assert found[4] == [2, 4, 8, 8, 8] and found[2] == [4, 8, 8, 8, 8], "this has changed"
PY
"$place/env/bin/python" "$place/run.py"
# Output seen:
#   budget 8, width 8: [1, 1, 1, 1, 1] requests by level, 1 left at the end
#   budget 8, width 4: [2, 4, 8, 8, 8] requests by level, 8 left at the end
#   budget 8, width 2: [4, 8, 8, 8, 8] requests by level, 8 left at the end
#   budget 8, width 1: [8, 8, 8, 8, 8] requests by level, 8 left at the end
