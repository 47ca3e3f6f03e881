"""The page of laconic serve, in a real browser, over a real server."""

import json
import re
from collections import Counter

import pytest
from playwright.sync_api import expect

from tests.serve.browsing import (
    LONG,
    ask,
    choose,
    chromium,
    ended,
    figure,
    looking,
    needs_bundled,
    needs_chromium,
    served,
)

pytestmark = [needs_chromium, needs_bundled]
QUESTION = "What is 37 * 48 + 15?"


@pytest.fixture(scope="module")
def address():
    with served() as address:
        yield address


@pytest.fixture(scope="module")
def browser():
    with chromium() as browser:
        yield browser


@pytest.fixture
def page(browser, address):
    with looking(browser, address) as page:
        yield page


@pytest.fixture
def asked(page):
    """The bodies of the requests for replies, as they are sent."""
    bodies = []
    page.on("request", lambda one: bodies.append(one.post_data_json) if one.url.endswith("completions") else None)
    return bodies


def test_a_reply_token_by_token(page):
    with page.expect_response("**/v1/chat/completions") as answered:
        ask(page, QUESTION)
    ended(page)
    said = [json.loads(line[6:]) for line in answered.value.text().splitlines() if line.startswith("data: {")]
    traced = [token for one in said for token in one.get("laconic", {}).get("trace", {}).get("tokens", ())]
    assert {token["origin"] for token in traced} == {"draft", "target", "injected"}
    # every token is there, in its order, each in a span of its origin
    shown = page.locator(".tape .token").evaluate_all("all => all.map(one => [one.className, one.textContent])")
    assert "".join(text for _, text in shown) == "".join(token["text"] for token in traced)
    letters = Counter()
    for name, text in shown:
        letters[name.removeprefix("token ")] += len(text)
    assert letters == sum((Counter({token["origin"]: len(token["text"])}) for token in traced), Counter())
    # neighbours of one origin are one span: far fewer of them than tokens
    assert len(shown) < len(traced) / 2
    content = "".join(one["choices"][0]["delta"].get("content", "") for one in said if one["choices"])
    assert page.locator(".lane p.answer").inner_text() == content == "The answer is \\boxed{1791}."
    last = next(one["laconic"] for one in said if one.get("laconic", {}).get("events"))
    assert figure(page, "Passes") == str(last["usage"]["target_passes"])
    assert figure(page, "Thought") == str(last["usage"]["thinking"])
    assert last["events"][0]["reason"] in page.locator(".decisions").inner_text()


def test_drafts_and_beliefs_are_drawn(page):
    with page.expect_response("**/v1/chat/completions") as answered:
        ask(page, QUESTION)
    ended(page)
    said = [json.loads(line[6:]) for line in answered.value.text().splitlines() if line.startswith("data: {")]
    traces = [one["laconic"]["trace"] for one in said if one.get("laconic", {}).get("trace")]
    passes = [one["passes"] for one in traces]
    assert passes == sorted(passes)
    assert f"{passes[-1]}" == figure(page, "Passes")  # as the account at the end has it
    drafts = [one for one in traces if one["drafted"]]
    strip = page.locator(".strip .drafted").get_attribute("d")
    assert strip.count("M") == len(drafts)
    looks = [look for one in traces for look in one["beliefs"]]
    assert page.locator("svg.belief circle").count() == len([look for look in looks if look["answer"]])
    page.get_by_text("All looks as a table").click()
    rows = page.locator(".belief ~ details tbody tr")
    assert [rows.nth(at).locator("td").nth(1).inner_text() for at in range(rows.count())] == [
        look["answer"] or "none" for look in looks
    ]
    # surer is higher, and the exit stands where the thought was ended
    circles = page.locator("svg.belief circle")
    heights = circles.evaluate_all("all => all.map(one => +one.getAttribute('cy'))")
    sure = [look["confidence"] for look in looks if look["answer"]]
    assert sorted(range(len(sure)), key=sure.__getitem__) == sorted(range(len(sure)), key=lambda at: -heights[at])
    end = page.locator("svg.belief .exit").get_attribute("d")
    assert re.match(r"M([\d.]+) ", end)[1] == circles.last.get_attribute("cx")


def test_plain_decoding_beside_it(page, asked):
    ask(page, QUESTION, compare="together")
    expect(page.locator(".saving h3")).to_contain_text("so far", timeout=LONG)
    ended(page, lanes=2)
    mine, plain = asked
    assert (plain["seed"], plain["messages"]) == (mine["seed"], mine["messages"])
    assert plain["laconic"] == {"trace": True, "think": "none", "draft": False}
    assert mine["laconic"] == {"trace": True}
    saving = page.locator(".saving")
    expect(saving.locator("h3")).to_have_text("Saving, whole replies")
    expect(saving).to_contain_text("Both give the same answer.")
    expect(saving).to_contain_text("share this machine")
    passes = [int(figure(page, "Passes", lane)) for lane in (0, 1)]
    assert passes[0] < passes[1] / 2
    expect(saving).to_contain_text(f"{passes[0]} against {passes[1]}")
    expect(saving).to_contain_text(re.compile(rf"{100 * (1 - passes[0] / passes[1]):.0f}\s% less"))
    assert page.locator(".lane").nth(1).locator(".token:not(.target)").count() == 0


def test_a_saving_that_is_none(page):
    """Where laconic writes more than plain decoding, it is said so; two answers are not called the same."""

    def answer(route):
        plain = route.request.post_data_json["laconic"].get("draft") is False
        tokens, passes = (5, 5) if plain else (10, 2)
        news = []
        for done in range(1, passes + 1):
            said = [{"text": " w", "origin": "target", "kind": "answer"}] * (tokens // passes)
            trace = {"tokens": said, "drafted": 0, "accepted": 0, "beliefs": [], "passes": done}
            choice = {"delta": {"content": f"{tokens}"}, "finish_reason": "stop" if done == passes else None}
            news.append(f"data: {json.dumps({'id': 'x', 'choices': [choice], 'laconic': {'trace': trace}})}\n\n")
        route.fulfill(body="".join([*news, "data: [DONE]\n\n"]), content_type="text/event-stream")

    page.route("**/v1/chat/completions", answer)
    ask(page, QUESTION, compare="after")
    ended(page, lanes=2)
    saving = page.locator(".saving")
    expect(saving).to_contain_text(re.compile(r"tokens\s*100\s% more\s*10 against 5"))
    expect(saving).to_contain_text(re.compile(r"passes\s*60\s% less\s*2 against 5"))
    expect(saving).to_contain_text("The answers are not the same text.")


def test_answer_now(page):
    ask(page, QUESTION, method="none", temperature="0", seed="1")
    ended(page)
    whole = int(figure(page, "Thought"))
    page.get_by_role("button", name="New conversation").click()
    ask(page, QUESTION)
    now = page.get_by_role("button", name="Answer now")
    expect(now).to_be_enabled(timeout=LONG)
    now.click()
    ended(page)
    assert int(figure(page, "Thought")) < whole
    assert "boxed" in page.locator(".lane p.answer").inner_text()
    expect(page.locator(".decisions")).to_contain_text("the client asked for the answer")


def test_stop(page):
    ask(page, QUESTION, method="none")
    expect(page.locator(".tape")).to_contain_text("think", timeout=LONG)
    page.get_by_role("button", name="Stop").click()
    expect(page.locator(".lane[data-phase=stopped]")).to_be_visible()
    expect(page.get_by_role("button", name="Ask", exact=True)).to_be_enabled()


def test_settings_are_what_is_asked(page, asked):
    ask(page, "What is 2 + 3?", effort="low", method="budget", temperature="0.5", most="300", seed="7")
    expect(page.locator("#spec")).to_have_value("budget:tokens=")  # the knob that has no default is to be said
    expect(page.locator(".lane .problem")).to_be_visible()  # the server's own words for a spec that is none
    choose(page, spec="budget:40+settled")
    ask(page, "What is 2 + 3?")
    ended(page)
    assert asked[-1]["laconic"] == {"trace": True, "think": "budget:40+settled"}
    said = {name: asked[-1][name] for name in ("reasoning_effort", "temperature", "max_tokens", "seed")}
    assert said == {"reasoning_effort": "low", "temperature": 0.5, "max_tokens": 300, "seed": 7}
    expect(page.locator(".turn").last.locator(".decisions")).to_contain_text("reasoning_effort=low has no effect")
    assert int(figure(page, "Thought")) <= 40


def test_what_the_server_refuses_is_said_in_its_words(page):
    ask(page, "word " * 4000)
    expect(page.get_by_role("alert")).to_contain_text("The prompt has")
    expect(page.locator("#question")).to_have_value(re.compile("^word"))  # nothing is lost


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ('data: {"error": {"message": "the engine failed."}}\n\n', "the engine failed."),
        (": waiting\n\n", "The connection ended before the reply did."),
        (None, "The server cannot be reached."),
    ],
)
def test_streams_that_fail(page, body, words):
    def answer(route):
        route.abort() if body is None else route.fulfill(body=body, content_type="text/event-stream")

    page.route("**/v1/chat/completions", answer)
    ask(page, QUESTION)
    expect(page.locator(".lane[data-phase=failed] .problem")).to_have_text(words)
    expect(page.get_by_role("button", name="Ask", exact=True)).to_be_enabled()


def test_markup_in_a_reply_is_text(page):
    markup = '<img src="x" onerror="document.title = 1"><b>bold</b>'
    tokens = [{"text": markup, "origin": "target", "kind": "answer"}]
    looks = [{"tokens": 3, "answer": markup, "confidence": 0.5}]
    trace = {"tokens": tokens, "drafted": 0, "accepted": 0, "beliefs": looks, "passes": 1}
    chunk = {"id": "x", "choices": [{"delta": {"content": markup}, "finish_reason": "stop"}]}
    body = f"data: {json.dumps({**chunk, 'laconic': {'trace': trace}})}\n\ndata: [DONE]\n\n"
    page.route("**/v1/chat/completions", lambda route: route.fulfill(body=body, content_type="text/event-stream"))
    ask(page, markup)
    ended(page)
    for place in (".turn h2", ".tape", ".lane p.answer"):
        expect(page.locator(place)).to_have_text(markup)
    assert page.locator(".turn :is(img, b)").count() == 0


def test_a_conversation(page, asked):
    ask(page, "What is 2 + 3?")
    ended(page)
    answer = page.locator(".lane p.answer").inner_text()
    ask(page, "What is 4 + 5?")
    ended(page)
    assert asked[1]["messages"] == [
        {"role": "user", "content": "What is 2 + 3?"},
        {"role": "assistant", "content": answer},
        {"role": "user", "content": "What is 4 + 5?"},
    ]


def test_the_answer_is_announced_once_and_no_token_is(page):
    page.locator("#said").evaluate(
        """said => {
            window.heard = [];
            new MutationObserver(() => window.heard.push(said.textContent)).observe(said, { childList: true });
        }"""
    )
    ask(page, QUESTION)
    ended(page)
    heard = page.evaluate("() => window.heard")
    assert [text for text in heard if "1791" in text] == [heard[-1]]
    assert len(heard) <= 3
    assert page.locator(".turn [aria-live], .turn [role=status], .turn [role=log]").count() == 0


def test_the_server_view_asks_while_it_is_seen(page):
    polls = []
    page.on("request", lambda one: polls.append(one) if one.url.endswith("/status") else None)
    page.get_by_role("link", name="Server").click()
    expect(page.locator("#view-server")).to_contain_text("of 16")
    expect(page.locator("#view-server")).to_contain_text("Thoughts are ended early.")
    expect(page.locator("#view-server")).to_contain_text("draft-model, length marginal")
    page.wait_for_timeout(1500)
    assert 2 <= len(polls) <= 4
    page.get_by_role("link", name="Ask").click()
    seen = len(polls)
    page.wait_for_timeout(1500)
    assert len(polls) == seen


def test_the_audit_with_its_interval(page):
    audit = {"mode": "stopped", "share": 0.1, "limit": 0.05, "watched": 60, "ended": 50, "compared": 40, "changed": 8}
    audit |= {"harm": 0.2, "low": 0.105, "high": 0.348, "saved": 0.41}

    def answer(route):
        route.fulfill(json=route.fetch().json() | {"audit": audit})

    page.route("**/v1/laconic/status", answer)
    page.get_by_role("link", name="Server").click()
    panel = page.locator(".panel").filter(has_text="Audit")
    expect(panel).to_contain_text("has stopped ending thoughts")
    expect(panel).to_contain_text(re.compile(r"20\.0\s% of answers would change \(10\.5\s% to 34\.8\s%"))
    expect(panel).to_contain_text(re.compile(r"60 requests watched.*acting saves 41\s%"))
    drawn = [panel.locator(f"svg .{name}").get_attribute("d") for name in ("interval", "limit")]
    low, high, limit = (float(number) for path in drawn for number in re.findall(r"[MH]([\d.]+)", path))
    assert limit < low < float(panel.locator("svg circle").get_attribute("cx")) < high


def test_a_server_with_keys(browser, tmp_path):
    keys = tmp_path / "keys"
    keys.write_text("the-right-key\n")
    with served("--api-key-file", str(keys)) as address, looking(browser, address) as page:
        dialog = page.get_by_role("dialog")
        for key in ("a-wrong-key", "the-right-key"):
            expect(dialog).to_be_visible()
            dialog.get_by_label("Key").fill(key)
            dialog.get_by_label("Key").press("Enter")
            if key == "a-wrong-key":
                expect(dialog).to_contain_text("not taken")
        expect(dialog).to_be_hidden()
        ask(page, "What is 2 + 3?")
        ended(page)
        assert page.evaluate("() => [localStorage.length, sessionStorage.length]") == [0, 1]
        page.reload()
        expect(page.locator("#model")).to_have_text("bundled")
        expect(dialog).to_be_hidden()
