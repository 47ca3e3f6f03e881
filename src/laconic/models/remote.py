"""A model behind an OpenAI-compatible server: completions of text over HTTP, and nothing of the model's insides."""

from __future__ import annotations

import asyncio
import os
import warnings
import weakref
from collections.abc import Coroutine, Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, Self, TypeVar

from laconic.errors import BadReply, BadStatus, MissingExtra, RequestError, Unreachable
from laconic.models.background import Background
from laconic.models.replies import Completion, completion
from laconic.types import Sampling

if TYPE_CHECKING:
    import httpx

T = TypeVar("T")

KEY = "LACONIC_API_KEY"
"""Environment variable that holds the key of a server, where it wants one. No other variable is read: keys that were
set for one provider are not sent to another."""

_WAIT = 0.2
"""Seconds before the first further attempt to connect; each one after it waits twice as long."""
_BUSY = (429, 500, 502, 503, 529)
"""What servers answer that may be gone a moment later."""
_PATIENCE = 3
"""Attempts at a busy server for each one where there is no connection."""
_LONGEST_WAIT = 60.0
"""Seconds that a server may ask to be left alone; one that asks for more has failed."""
_FEWER = (20, 5, 1)
"""How many of the likeliest tokens to ask for where a server refuses more."""
_HINTS = {
    401: f"Give the server's key as api_key, or in the environment variable {KEY}.",
    403: f"Give the server's key as api_key, or in the environment variable {KEY}.",
    404: "The URL mostly ends in /v1; the model's name must be the one that the server lists under /models.",
    429: "Send fewer requests at once (batch).",
    503: "Send fewer requests at once (batch).",
}
_REFUSED = "A server that does not know vLLM's fields may refuse them: extras=False leaves them out."


class Served(NamedTuple):
    """A model that a server offers; ``context`` is the longest sequence in tokens, where it says so."""

    name: str
    context: int | None


class RemoteModel:
    """Completions from ``{base_url}/completions``.

    ``api_key`` is taken from the environment (``LACONIC_API_KEY``) if it is not given, and is never shown. ``extras``
    sends fields that are vLLM's own and that other servers may know or pass over: they ask for token ids, for special
    tokens in the text, and for sampling without the filters that a server's defaults may hold. ``timeout`` is in
    seconds from the last byte. ``retries`` are further attempts where there is no connection or it breaks; a busy
    server (429, 500, 502, 503, 529) is asked three times as often, after the time that its ``Retry-After`` names.

    It is asynchronous at heart; :meth:`wait` runs a coroutine of it for a caller that is not, in a thread that keeps
    the connections. Use one way or the other: connections belong to the event loop that opened them.
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        *,
        api_key: str | None = None,
        extras: bool = True,
        timeout: float = 600.0,
        retries: int = 2,
    ) -> None:
        try:
            import httpx
        except ImportError as error:
            raise MissingExtra("httpx", "remote") from error
        url = _checked(base_url)
        self.url = str(url).rstrip("/")
        self.model = model
        self.extras = extras
        self.retries = retries
        self._timeout = timeout
        self._most_logprobs: int | None = None
        self._key = api_key if api_key is not None else os.environ.get(KEY, "")
        self._client = httpx.AsyncClient(
            headers={"Authorization": f"Bearer {self._key}"} if self._key else {},
            timeout=httpx.Timeout(timeout, connect=min(timeout, 10.0)),
            limits=httpx.Limits(max_connections=None),
            trust_env=url.host not in ("localhost", "127.0.0.1", "::1"),  # no proxy stands before this machine
        )
        self._background = Background()
        self._end = weakref.finalize(self, _end, self._client, self._background)

    def again(self) -> RemoteModel:
        """The same server and model over connections of its own, for use in another event loop."""
        timeout, key = self._timeout, self._key
        return RemoteModel(self.url, self.model, api_key=key, extras=self.extras, timeout=timeout, retries=self.retries)

    async def complete(
        self,
        prompt: str | Sequence[int],
        *,
        max_tokens: int,
        sampling: Sampling | None = None,
        stop: Sequence[str] = (),
        logprobs: int | None = None,
        bans: Sequence[int] = (),
    ) -> Completion:
        """What the model writes after ``prompt``, a text or token ids, up to a stop string or ``max_tokens`` tokens.

        ``logprobs`` asks for probabilities, and how many of the likeliest tokens come with them. ``bans`` are tokens
        that must not be written. The seed is sent with sampled requests alone. Raises RemoteError subclasses, and
        RequestError for sampling that needs ``extras``.
        """
        body = self._body(prompt, max_tokens, sampling or Sampling())
        if stop:
            body["stop"] = list(stop)
        if logprobs is not None:
            body["logprobs"] = logprobs
        if bans:
            body.setdefault("logit_bias", {}).update({str(token): -100 for token in bans})
        return completion(await self._completions(body), max_tokens)

    async def served(self) -> list[Served]:
        """The models that the server offers, in its own order; none from a server that has no such list."""
        try:
            said = await self._json("GET", "models")
        except BadStatus as error:
            if error.status in (404, 405, 501):
                return []
            raise
        try:
            return [Served(str(one["id"]), _positive(one.get("max_model_len"))) for one in said["data"]]
        except (KeyError, TypeError, AttributeError) as error:
            raise BadReply("the server's list of models is not one.") from error

    def wait(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine that uses this model to its end, from code that is not asynchronous."""
        return self._background.run(coroutine)

    def close(self) -> None:
        """Close what :meth:`wait` has opened. Safe to call more than once."""
        self._end()

    async def aclose(self) -> None:
        """Close the connections of a model that was used asynchronously."""
        await self._client.aclose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"RemoteModel({self.url!r}, {self.model!r})"

    def _body(self, prompt: str | Sequence[int], max_tokens: int, sampling: Sampling) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": self.model,
            "prompt": prompt if isinstance(prompt, str) else list(prompt),
            "max_tokens": max_tokens,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "echo": False,
        }
        if not sampling.greedy:
            body["seed"] = sampling.seed
        if sampling.logit_bias:
            body["logit_bias"] = {str(token): bias for token, bias in sampling.logit_bias}
        if self.extras:
            # Servers take what is not said from the checkpoint's generation_config.json, repetition penalty included.
            body |= {"top_k": sampling.top_k or -1, "min_p": sampling.min_p}
            body["repetition_penalty"] = sampling.repetition_penalty
            body |= {"return_token_ids": True, "return_tokens_as_token_ids": True, "skip_special_tokens": False}
            if isinstance(prompt, str):
                body["add_special_tokens"] = False  # they are in the text
        elif sampling.repetition_penalty != 1 or (not sampling.greedy and (sampling.top_k or sampling.min_p)):
            raise RequestError(
                "top_k, min_p and repetition_penalty are not part of the OpenAI API.", "Use top_p, or extras=True."
            )
        return body

    async def _completions(self, body: dict[str, Any]) -> Any:
        """Send a request, with fewer likeliest tokens where the server refuses as many."""
        while True:
            asked = body.get("logprobs")
            if asked and self._most_logprobs is not None:
                body["logprobs"] = asked = min(asked, self._most_logprobs)
            try:
                return await self._json("POST", "completions", body)
            except BadStatus as error:
                fewer = next((n for n in _FEWER if asked and n < asked), None)
                if error.status not in (400, 422) or "logprobs" not in error.message or fewer is None:
                    raise
                self._most_logprobs = fewer
                warnings.warn(
                    f"{self.url} refuses logprobs={asked}; asking for {fewer}. Entropies are then coarser.",
                    stacklevel=2,
                )

    async def _json(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        reply = await self._send(method, path, body)
        if not reply.is_success:
            hint = _HINTS.get(reply.status_code, _REFUSED if reply.status_code in (400, 422) and self.extras else "")
            raise BadStatus(
                f"{self.url}/{path} answered {reply.status_code}: {self._quoted(reply)}",
                hint,
                status=reply.status_code,
            )
        try:
            return reply.json()
        except (ValueError, RecursionError) as error:
            raise BadReply(f"{self.url}/{path} answered something that is not JSON.") from error

    async def _send(self, method: str, path: str, body: Mapping[str, Any] | None) -> httpx.Response:
        import httpx

        broken = busy = 0
        while True:
            try:
                reply = await self._client.request(method, f"{self.url}/{path}", json=body)
            except (httpx.NetworkError, httpx.ConnectTimeout, httpx.RemoteProtocolError) as error:
                # The last of these is also what a kept connection says that the server closed in the meantime.
                if broken == self.retries:
                    raise Unreachable(
                        f"no connection to {self.url}: {self._safe(str(error)) or type(error).__name__}.",
                        "Is the server running, and is this its URL?",
                    ) from None
                await _sleep(_WAIT * 2**broken)
                broken += 1
            except httpx.TimeoutException:
                raise Unreachable(
                    f"{self.url} did not answer in time.", "Give it more with timeout=, or send fewer requests."
                ) from None
            except httpx.HTTPError as error:
                raise BadReply(f"{self.url}: {self._safe(str(error)) or type(error).__name__}.") from None
            else:
                wait = _retry_after(reply.headers.get("Retry-After"), _WAIT * 2**busy)
                if reply.status_code not in _BUSY or busy == _PATIENCE * self.retries or wait > _LONGEST_WAIT:
                    return reply
                await _sleep(wait)
                busy += 1

    def _quoted(self, reply: httpx.Response) -> str:
        """What the server says of its error, at most a few lines of it and without the key."""
        try:
            said = reply.json()
        except ValueError:
            said = reply.text or reply.reason_phrase
        for key in ("error", "detail", "message"):  # OpenAI's way, FastAPI's, and what is in both
            said = said.get(key, said) if isinstance(said, dict) else said
        return self._safe(str(said).strip())[:400]

    def _safe(self, text: str) -> str:
        return text.replace(self._key, "***") if self._key else text


async def _sleep(seconds: float) -> None:
    await asyncio.sleep(seconds)


def _retry_after(said: str | None, otherwise: float) -> float:
    """Seconds to wait by a ``Retry-After`` header, which holds seconds or a date (RFC 9110, 10.2.3)."""
    if not said:
        return otherwise
    try:
        return max(float(said), 0.0)
    except ValueError:
        pass
    try:
        return max((parsedate_to_datetime(said) - datetime.now(UTC)).total_seconds(), 0.0)
    except (ValueError, TypeError):
        return otherwise


def _checked(base_url: str) -> httpx.URL:
    import httpx

    try:
        url = httpx.URL(base_url)
    except (httpx.InvalidURL, TypeError) as error:
        raise RequestError("the server's URL cannot be read.", "It looks like http://127.0.0.1:8000/v1.") from error
    if url.scheme not in ("http", "https") or not url.host:
        raise RequestError(
            f"a server's URL begins with http:// or https://, not {url.scheme or 'nothing'!r}.",
            "It looks like http://127.0.0.1:8000/v1.",
        )
    if url.userinfo or url.query:
        raise RequestError("a server's URL holds no key or password here.", f"Give it as api_key, or in {KEY}.")
    return url


def _positive(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def _end(client: httpx.AsyncClient, background: Background) -> None:
    if background.started:
        background.run(client.aclose())
        background.stop()
