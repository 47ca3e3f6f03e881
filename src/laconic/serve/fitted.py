"""What becomes of a request when its turn comes: its controllers rewrite it, choose others for it, or only watch."""

from __future__ import annotations

from dataclasses import replace

from laconic.engine import Engine, acting
from laconic.serve.job import Job
from laconic.serve.shadow import Shadow
from laconic.types import Event, Request


def fitted(engine: Engine, job: Job) -> Request:
    """The request as it is to be served. Controllers may ask the model first, so this is for who may use it.

    Raises LaconicError subclasses where they refuse it.
    """
    mine = job.asked((Shadow(engine.plan.controllers),) if job.shadow else engine.plan.controllers)
    question = job.request.question
    if question is None:
        return replace(job.request, controllers=mine)
    reading = engine.reading()
    chosen, asked = acting(mine, question, reading)
    events: tuple[Event, ...] = asked.events
    if cost := reading.cost():
        events = (*events, Event("reader", "read", 0, cost))
    request = job.request
    if asked != replace(question, events=asked.events):
        made = engine.made(asked)
        request = replace(request, prompt=made.prompt, sampling=made.sampling, limits=made.limits, phase=made.phase)
    return replace(request, controllers=chosen, events=events)
