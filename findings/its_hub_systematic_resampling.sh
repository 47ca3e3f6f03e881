#!/usr/bin/env bash
# its-hub 1.2.0: `ParticleFiltering(resampling_method="systematic")` resamples multinomially.
#
# Expected: systematic resampling, as asked for; where all particles weigh the same it takes each exactly once.
# Seen: the argument is accepted and not handed on to `ParticleGibbs`, whose default is multinomial, so equal particles
# are lost and doubled at random at every step. `ParticleGibbs` itself, with the settings that make it a particle
# filter, does what the argument says, as does `EntropicParticleFiltering`.
#
# Each of 8 particles writes a first step of its own here, all steps score 0.5, and the requests for the second step
# tell which particles are left: 100 searches of 8 particles each.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/env"
"$place/env/bin/pip" install --quiet its_hub==1.2.0 numpy==2.4.6 2>/dev/null
cat > "$place/run.py" <<'PY'
import random
from collections import Counter

import numpy as np
from its_hub import AbstractLanguageModel, AbstractProcessRewardModel
from its_hub.core.algorithms.particle_gibbs import EntropicParticleFiltering, ParticleFiltering, ParticleGibbs
from its_hub.core.lms.step_generation import StepGeneration

PARTICLES, SEARCHES = 8, 100


class Model(AbstractLanguageModel):
    def __init__(self):
        self.first, self.left = 0, Counter()

    async def agenerate(self, messages, stop=None, **_):
        return [self.reply(conversation[-1]) for conversation in messages]

    def reply(self, last):
        if last.role == "assistant":
            self.left[last.content] += 1
            return {"role": "assistant", "content": "the end"}
        self.first += 1
        return {"role": "assistant", "content": f"particle {self.first}"}


class Equal(AbstractProcessRewardModel):
    async def ascore(self, prompt, steps):
        return [0.5] * len(steps)

    def score(self, prompt, steps):
        return [0.5] * len(steps)


WAYS = {
    "ParticleFiltering": lambda *given: ParticleFiltering(*given, resampling_method="systematic"),
    "ParticleGibbs": lambda *given: ParticleGibbs(*given, num_ref_particles=0, resampling_method="systematic"),
    "EntropicParticleFiltering": lambda *given: EntropicParticleFiltering(*given, resampling_method="systematic"),
}
random.seed(0)
np.random.seed(0)
once = {}
for name, way in WAYS.items():
    copies = Counter()
    for _ in range(SEARCHES):
        model = Model()
        way(StepGeneration(32, "\n\n", "the end"), Equal()).infer(model, "How many?", budget=PARTICLES)
        assert model.first == PARTICLES and model.left.total() == PARTICLES
        copies.update(model.left.values())
        copies[0] += PARTICLES - len(model.left)
    once[name] = copies[1]
    print(f"{name}: of {PARTICLES * SEARCHES} particles of equal weight {copies[0]} dropped, {copies[1]} kept once,",
          f"{copies.total() - copies[0] - copies[1]} kept more often")
assert once["ParticleGibbs"] == once["EntropicParticleFiltering"] == PARTICLES * SEARCHES, "this has changed"
assert once["ParticleFiltering"] < PARTICLES * SEARCHES * 0.6, "this has changed"
PY
"$place/env/bin/python" "$place/run.py"
# Output seen:
#   ParticleFiltering: of 800 particles of equal weight 289 dropped, 293 kept once, 218 kept more often
#   ParticleGibbs: of 800 particles of equal weight 0 dropped, 800 kept once, 0 kept more often
#   EntropicParticleFiltering: of 800 particles of equal weight 0 dropped, 800 kept once, 0 kept more often
