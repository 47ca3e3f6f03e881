"""Who may ask: keys, names of the host, pages of other origins; and what is open to anybody."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from laconic.errors import RequestError
from laconic.serve.settings import Settings
from tests.serve.live import Live, bundled, ok, own, refused, serving

KEY, OTHER = "a-key-of-ann", "a-key-of-bob"
PAGE = "https://chat.example.org"
ASKED = {"messages": [{"role": "user", "content": "What is 3 + 15?"}], "max_tokens": 4}


@pytest.fixture(scope="module")
def live() -> Iterator[Live]:
    settings = Settings(keys=(KEY, OTHER), hosts=("models.example.org",), origins=(PAGE,), grace=2.0)
    with serving(own(), settings) as made:
        yield made


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


@pytest.mark.parametrize("path", ["/v1/models", "/metrics", "/v1/laconic/status", "/openapi.json", "/v1/nothing"])
def test_a_key_is_needed(live: Live, path: str) -> None:
    reply = live.http.get(path)
    assert refused(reply, 401)["code"] == "invalid_api_key"
    assert reply.headers["www-authenticate"] == "Bearer"
    assert live.http.get(path, headers=bearer(KEY)).status_code == (404 if path == "/v1/nothing" else 200)


@pytest.mark.parametrize(
    "given",
    ["Bearer", "Bearer nobodys-key", f"Basic {KEY}", KEY, f"Bearer {KEY}x", f"Bearer {KEY},{OTHER}",
     f"Bearer {KEY[:-1]}", "Bearer \xff\xfe"],
)  # fmt: skip
def test_other_keys_are_refused(live: Live, given: str) -> None:
    headers = [(b"authorization", given.encode("latin-1"))]
    refused(live.http.post("/v1/chat/completions", json=ASKED, headers=headers), 401)


def test_the_scheme_is_written_in_any_case(live: Live) -> None:
    for scheme in ("bearer", "BEARER", "Bearer"):
        ok(live.http.post("/v1/chat/completions", json=ASKED, headers={"authorization": f"{scheme} {OTHER}"}))


def test_probes_of_an_orchestrator_need_none(live: Live) -> None:
    assert ok(live.http.get("/health")) == {"status": "ok"}
    assert ok(live.http.get("/ready")) == {"status": "ready"}


@pytest.mark.parametrize("host", ["evil.example.org", "", "127.0.0.1.evil.org", "localhost.evil.org:80", "[::2]:80"])
def test_other_names_are_refused(live: Live, host: str) -> None:
    """A page that lets its own name point to this machine must not reach the server (DNS rebinding)."""
    refused(live.http.get("/v1/models", headers={"host": host, **bearer(KEY)}), 403)


@pytest.mark.parametrize(
    "host",
    ["localhost", "LocalHost:9", "127.0.0.1:1", "[::1]", "[::1]:80", "models.example.org", "models.example.org:443"],
)
def test_own_names_are_known(live: Live, host: str) -> None:
    ok(live.http.get("/v1/models", headers={"host": host, **bearer(KEY)}))


def test_pages_of_other_origins(live: Live) -> None:
    for origin in (
        "https://evil.example.org",
        "null",
        f"{PAGE}.evil.org",
        "http://chat.example.org",
        "http://[::1",
        "https://[",
    ):
        reply = live.http.post("/v1/chat/completions", json=ASKED, headers={"origin": origin, **bearer(KEY)})
        assert refused(reply, 403)["code"] == "invalid_origin"
        assert "access-control-allow-origin" not in reply.headers
    reply = live.http.post("/v1/chat/completions", json=ASKED, headers={"origin": PAGE, **bearer(KEY)})
    assert ok(reply)
    assert reply.headers["access-control-allow-origin"] == PAGE
    ok(live.http.post("/v1/chat/completions", json=ASKED, headers={"origin": live.url, **bearer(KEY)}))
    keyless = live.http.post("/v1/chat/completions", json=ASKED, headers={"origin": PAGE})
    refused(keyless, 401)
    assert keyless.headers["access-control-allow-origin"] == PAGE  # so that the page can read why


def test_a_browser_asks_first(live: Live) -> None:
    wanted = {"origin": PAGE, "access-control-request-method": "POST",
              "access-control-request-headers": "authorization,content-type"}  # fmt: skip
    reply = live.http.options("/v1/chat/completions", headers=wanted)
    assert reply.status_code == 204
    assert "authorization" in reply.headers["access-control-allow-headers"]
    assert "POST" in reply.headers["access-control-allow-methods"]
    assert live.http.options("/v1/models", headers=wanted | {"origin": "https://evil.org"}).status_code == 403


def test_a_request_is_concluded_by_its_owner_alone(live: Live) -> None:
    body = {"messages": [{"role": "user", "content": "What is 37 * 48 + 15?"}], "stream": True, "max_tokens": 1500}
    with live.http.stream("POST", "/v1/chat/completions", json=body, headers=bearer(KEY)) as reply:
        id, lines = reply.headers["x-request-id"], reply.iter_lines()
        for line in lines:
            if "reasoning" in line:
                break
        refused(live.http.post(f"/v1/requests/{id}/conclude", headers=bearer(OTHER)), 404)
        refused(live.http.post(f"/v1/requests/{id}/conclude"), 401)
        assert ok(live.http.post(f"/v1/requests/{id}/conclude", headers=bearer(KEY))) == {"id": id, "concluded": 1}
        rest = "".join(lines)
    assert '"method":"client","action":"conclude"' in rest
    assert "content" in rest
    refused(live.http.post(f"/v1/requests/{id}/conclude", headers=bearer(KEY)), 404)


def test_nobody_is_resumed_from_anothers_text() -> None:
    with serving(own(), Settings(keys=(KEY, OTHER), grace=2.0)) as live:
        asked = ASKED | {"messages": [{"role": "user", "content": "What is 3 + 15? " + "Think well. " * 20}]}

        def cached(key: str) -> int:
            usage = ok(live.http.post("/v1/chat/completions", json=asked, headers=bearer(key)))["usage"]
            return int(usage["prompt_tokens_details"]["cached_tokens"])

        assert cached(KEY) == 0
        assert cached(KEY) > 50
        assert cached(OTHER) == 0
        assert cached(OTHER) > 50
    assert not bundled().target.slots


def test_an_open_server_has_keys() -> None:
    with pytest.raises(RequestError, match="open to whoever"):
        Settings(host="0.0.0.0")
    with pytest.raises(RequestError, match="8 characters"):
        Settings(keys=("short",))
    assert Settings(host="0.0.0.0", keys=(KEY,)).keys
    assert Settings(host="127.0.0.9").local


def test_a_server_bound_everywhere_is_reached_by_any_name_with_a_key() -> None:
    """Probes come by address; who rebinds a name has no key."""
    settings = Settings(host="0.0.0.0", keys=(KEY,), grace=1.0)
    with serving(own(), settings) as live:
        other = {"host": "10.1.2.3:8000"}
        assert live.http.get("/health", headers=other).status_code == 200
        assert live.http.get("/v1/models", headers=other).status_code == 401
        assert live.http.get("/v1/models", headers={**other, "authorization": f"Bearer {KEY}"}).status_code == 200
    with serving(own(), replace(settings, hosts=("example.org",))) as live:
        assert live.http.get("/health", headers={"host": "10.1.2.3"}).status_code == 403
        assert live.http.get("/health", headers={"host": "example.org"}).status_code == 200
