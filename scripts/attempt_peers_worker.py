"""One method of a peer project, in that project's own environment: questions come in by line, answers go out.

Run by ``attempt_peers.py``, never by hand. Nothing but the peer and the standard library is imported here, so that the
environment needs nothing of laconic's. A line in is ``{"question", "prompt"}``, the prompt as the model's template has
it; a line out is ``{"answer"}`` or ``{"error"}``. In between the worker may ask ``{"judge": [texts]}`` and is told
``{"scores": [numbers]}``: who judges is the same for both sides.
"""

from __future__ import annotations

import asyncio
import functools
import json
import os
import random
import sys
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from importlib import import_module, metadata
from typing import Any, TextIO

STEP = "\n\n"
ANSWERED = "\\boxed"
"""What only an answer holds; its-hub knows by it that a text is at its end."""
BOXED = r"\\boxed\{([^}]+)\}"
MOST_STEPS = 64
WIDTH = 4
"""Into how many each thought parts that a beam keeps."""

Answer = Callable[[str, str], str]


class Line:
    """The parent, at the other end of two pipes."""

    def __init__(self, into: TextIO, out: TextIO) -> None:
        self._into, self._out = into, out

    def questions(self) -> Iterator[dict[str, Any]]:
        """What is asked, until nothing more is."""
        for line in iter(self._into.readline, ""):
            yield json.loads(line)

    def say(self, said: dict[str, Any]) -> None:
        """A line out."""
        self._out.write(json.dumps(said) + "\n")
        self._out.flush()

    def judge(self, texts: Sequence[str]) -> list[float]:
        """What the parent's judge says of each text."""
        self.say({"judge": list(texts)})
        scores: list[float] = json.loads(self._into.readline())["scores"]
        return scores


def main() -> None:
    """Answer what is asked."""
    given = json.loads(sys.argv[1])
    line = Line(sys.stdin, os.fdopen(os.dup(1), "w", encoding="utf-8"))
    os.dup2(2, 1)  # peers print, and that must not get among the lines
    random.seed(given["seed"])  # they break ties and draw particles with the module's own numbers
    peer, _, method = given["row"].partition(":")
    answer = PEERS[peer](method, given, line)
    line.say({"ready": peer, "versions": versions(peer)})
    for asked in line.questions():
        try:
            line.say({"answer": answer(asked["question"], asked["prompt"])})
        except Exception as error:
            causes = getattr(error.__cause__, "exceptions", ())
            line.say({"error": "; ".join(f"{type(e).__name__}: {e}" for e in (error, *causes[:1]))})


def versions(peer: str) -> dict[str, str]:
    """Of the peer and what it asks the server with."""
    found: dict[str, str] = {}
    for name in (peer, "openai", "aiohttp", "numpy"):
        with suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def its_hub(method: str, given: dict[str, Any], line: Line) -> Answer:
    """its-hub: whole replies over its own client, steps over completions."""
    hub = import_module("its_hub")
    voting = import_module("its_hub.core.algorithms.self_consistency")
    vote = voting.create_regex_projection_function(BOXED)
    whole: dict[str, Callable[[], Any]] = {
        "self-consistency": lambda: hub.SelfConsistency(vote),
        "adaptive-self-consistency": lambda: hub.AdaptiveSelfConsistency(consistency_space_projection_func=vote),
        "beta-self-consistency": lambda: hub.BetaSelfConsistency(consistency_space_projection_func=vote),
        "best-of-n": lambda: hub.BestOfN(outcome_judge(hub, line)),
    }
    stepwise: dict[str, Callable[[Any, Any], Any]] = {
        "beam": lambda steps, judge: import_module("its_hub.core.algorithms.beam_search").BeamSearch(
            steps, judge, given["n"] // WIDTH
        ),
        "particles": lambda steps, judge: import_module("its_hub.core.algorithms.particle_gibbs").ParticleFiltering(
            steps, judge
        ),
    }
    if method in whole:
        made = whole[method]()

        def reply(question: str, prompt: str) -> str:
            lm = hub.OpenAICompatibleLanguageModel(
                given["url"],
                "none",
                given["model"],
                temperature=given["temperature"],
                max_completion_tokens=given["max_tokens"],
            )
            if not given["vllm_fields"]:
                lm.endpoint_type = "openai"  # else it sends a field extra_body, which strict servers refuse
            return str(made.infer(lm, question, given["n"])["content"] or "")

        return reply
    steps = hub.StepGeneration(MOST_STEPS, STEP, ANSWERED, given["temperature"])
    search = stepwise[method](steps, process_judge(hub, line))

    def searched(question: str, prompt: str) -> str:
        return str(search.infer(continuing(hub, given, prompt), question, given["n"])["content"] or "")

    return searched


def outcome_judge(hub: Any, line: Line) -> Any:
    """The parent's judge as its-hub's outcome reward model."""

    class Judge(hub.AbstractOutcomeRewardModel):  # type: ignore[misc]
        def score(self, messages: Any, **others: Any) -> list[float]:
            return line.judge([conversation[-1].content or "" for conversation in messages])

        async def ascore(self, messages: Any, orchestrator: Any = None, **others: Any) -> list[float]:
            return self.score(messages)

    return Judge()


def process_judge(hub: Any, line: Line) -> Any:
    """The parent's judge as its-hub's process reward model."""

    class Judge(hub.AbstractProcessRewardModel):  # type: ignore[misc]
        def score(self, prompt_or_messages: Any, steps: list[str]) -> list[float]:
            return line.judge(steps)

        async def ascore(self, prompt_or_messages: Any, steps: list[str]) -> list[float]:
            return self.score(prompt_or_messages, steps)

    return Judge()


def continuing(hub: Any, given: dict[str, Any], prompt: str) -> Any:
    """A language model as its-hub's contract has it, over completions.

    Its own client goes on with an assistant's message by fields that vLLM alone knows, and vLLM's chat templates often
    cut the thought off such a message. A completion goes on with any text. its-hub has no limit for all steps together;
    it is kept here, and what asks for more gets an empty step.
    """

    class Continuing(hub.AbstractLanguageModel):  # type: ignore[misc]
        def __init__(self) -> None:
            self.tokens = {"": 0}

        async def agenerate(self, messages: Any, stop: str | None = None, **others: Any) -> Any:
            return await asyncio.gather(*(asyncio.to_thread(self._next, each, stop, **others) for each in messages))

        def _next(self, messages: Any, stop: str | None, temperature: float, **others: Any) -> dict[str, str]:
            before = messages[1].content if len(messages) > 1 else ""
            left = given["max_tokens"] - self.tokens.get(before, 0)
            if left <= 0:
                return {"role": "assistant", "content": ""}
            body = {"model": given["model"], "prompt": prompt + before, "max_tokens": left}
            told = posted(given["url"] + "/completions", body | {"temperature": temperature, "stop": stop})
            text: str = told["choices"][0]["text"]
            self.tokens[before + text + STEP] = self.tokens.get(before, 0) + told["usage"]["completion_tokens"]
            return {"role": "assistant", "content": text}

    return Continuing()


def posted(url: str, body: dict[str, Any]) -> dict[str, Any]:
    """What a server says to a body of JSON."""
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=600) as reply:
        told: dict[str, Any] = json.load(reply)
    return told


def optillm(method: str, given: dict[str, Any], line: Line) -> Answer:
    """optillm: its approaches as functions, as its own proxy calls them, with the proxy's empty system message."""
    client = Client(import_module("openai").OpenAI(base_url=given["url"], api_key="none"), given["temperature"])
    name, n = given["model"], given["n"]
    config = {"max_tokens": given["max_tokens"], "temperature": given["temperature"], "k": n, "num_candidates": n}

    def of(module: str, function: str, **others: Any) -> Answer:
        call = functools.partial(getattr(import_module(f"optillm.{module}"), function), request_config=config, **others)
        return lambda question, prompt: str(call("", question, client, name)[0])

    def vote(question: str, prompt: str) -> str:
        """As its function of this name, which knows no number of samples but 5."""
        module = import_module("optillm.self_consistency")
        attempts = module.AdvancedSelfConsistency(client, name, n, request_config=config)
        clusters = attempts.evaluate("", question)["aggregated_result"]["clusters"]
        return str(clusters[0]["answer"]) if clusters else "No consistent answer found."

    known: dict[str, Callable[[], Answer]] = {
        "self-consistency": lambda: vote,
        "majority-voting": lambda: of("plugins.majority_voting_plugin", "run"),
        "bon": lambda: of("bon", "best_of_n_sampling", n=n),
        "genselect": lambda: of("plugins.genselect_plugin", "run"),
    }
    import_module("optillm")
    return known[method]()


class Client:
    """OpenAI's client with the temperature of attempts in place of the 1 that optillm's approaches name."""

    def __init__(self, client: Any, temperature: float) -> None:
        self._client, self._temperature = client, temperature
        self.chat = self.completions = self

    def create(self, **asked: Any) -> Any:
        """A chat completion."""
        if asked.get("temperature") == 1:
            asked["temperature"] = self._temperature
        return self._client.chat.completions.create(**asked)


PEERS: dict[str, Callable[[str, dict[str, Any], Line], Answer]] = {"its-hub": its_hub, "optillm": optillm}

if __name__ == "__main__":
    main()
