"""What becomes of a request when its turn comes: its controllers rewrite it, choose others for it, or only watch."""

from __future__ import annotations

from laconic.engine import Engine
from laconic.serve.job import Job
from laconic.serve.shadow import Shadow
from laconic.types import Request


def fitted(engine: Engine, job: Job) -> Request:
    """The request as it is to be served. Controllers may ask the model first, so this is for who may use it.

    Raises LaconicError subclasses where they refuse it.
    """
    mine = job.asked((Shadow(engine.plan.controllers),) if job.shadow else engine.plan.controllers)
    return engine.under(job.request, mine)
