"""How the page of laconic serve looks and is operated: contrast, width, keyboard, long thoughts, its files."""

import re
from html.parser import HTMLParser

import pytest
from playwright.sync_api import expect

from laconic.serve.pages import PAGE
from tests.serve.browsing import LONG, ask, choose, chromium, ended, looking, needs_bundled, needs_chromium, served

QUESTION = "What is 37 * 48 + 15?"
CONTRASTS = """() => {
    const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
    const paint = (colour, under) => {
        canvas.fillStyle = `rgb(${under})`;
        canvas.fillRect(0, 0, 1, 1);
        canvas.fillStyle = colour;
        canvas.fillRect(0, 0, 1, 1);
        return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3);
    };
    const light = (rgb) => {
        const [r, g, b] = rgb.map((v) => v / 255).map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const ground = (one) => {
        const above = one.parentElement ? ground(one.parentElement) : [255, 255, 255];
        return paint(getComputedStyle(one).backgroundColor, above);
    };
    const found = [];
    for (const one of document.querySelectorAll("body *")) {
        const said = [...one.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
        if (!said || one.disabled || !one.getClientRects().length || one.closest("script, noscript, option")) continue;
        const style = getComputedStyle(one);
        const under = ground(one);
        const drawn = one instanceof SVGElement ? style.fill : style.color;
        const [a, b] = [light(paint(drawn, under)), light(under)].sort((x, y) => y - x);
        const big = parseFloat(style.fontSize) >= 24;
        found.push({ what: `${one.tagName}.${one.getAttribute("class")} ${one.textContent.slice(0, 30)}`,
                     ratio: (a + 0.05) / (b + 0.05), needed: big ? 3 : 4.5 });
    }
    return found;
}"""


@pytest.fixture(scope="module")
def address():
    with served() as address:
        yield address


@pytest.fixture(scope="module")
def browser():
    with chromium() as browser:
        yield browser


def everything(page):
    """Show all parts of the page one after the other; yields the name of each."""
    yield "welcome"
    ask(page, QUESTION, compare="together", method="budget", spec="budget:60", effort="low")
    ended(page, lanes=2)
    page.locator("details").evaluate_all("all => all.forEach((one) => { one.open = true; })")
    yield "turn"
    choose(page, method="budget", spec="budget:")
    ask(page, QUESTION, compare="")
    expect(page.locator(".lane .problem").last).to_be_visible()
    yield "refused"
    page.get_by_role("link", name="Server").click()
    expect(page.locator("#view-server")).to_contain_text("Thoughts are ended early.")
    yield "server"
    page.locator("#key").evaluate("dialog => dialog.showModal()")
    yield "key"


@needs_chromium
@needs_bundled
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast_is_that_of_wcag_aa(browser, address, scheme):
    with looking(browser, address, color_scheme=scheme) as page:
        for part in everything(page):
            found = page.evaluate(CONTRASTS)
            assert len(found) >= 5
            assert [one for one in found if one["ratio"] < one["needed"]] == [], part
        ground = page.evaluate("() => getComputedStyle(document.documentElement).backgroundColor")
        assert (sum(map(int, re.findall(r"\d+", ground))) > 3 * 128) == (scheme == "light")


@needs_chromium
@needs_bundled
def test_a_phone_has_no_sideways_scroll(browser, address):
    with looking(browser, address, viewport={"width": 360, "height": 740}) as page:
        for part in everything(page):
            assert page.evaluate("() => document.documentElement.scrollWidth") == 360, part
            wide = page.evaluate(
                """() => [...document.querySelectorAll("body *")]
                    .filter((one) => one.getBoundingClientRect().right > 361 && !one.closest(".scroll"))
                    .map((one) => one.outerHTML.slice(0, 80))"""
            )
            assert wide == [], part


@needs_chromium
@needs_bundled
def test_origins_differ_by_more_than_colour(browser, address):
    with looking(browser, address) as page:
        ask(page, QUESTION)
        ended(page)
        for place in (".legend", ".tape"):
            signs = set()
            for origin in ("draft", "target", "injected"):
                token = page.locator(f"{place} .token.{origin}").first
                signs.add(
                    token.evaluate("""one => {
                        const style = getComputedStyle(one);
                        return [style.textDecorationLine, style.textDecorationStyle, style.fontStyle].join();
                    }""")
                )
            assert len(signs) == 3, place


@needs_chromium
@needs_bundled
def test_the_keyboard_alone_is_enough(browser, address):
    with looking(browser, address) as page:
        expect(page.locator("#model")).to_have_text("bundled")
        page.keyboard.press("Tab")
        expect(page.get_by_text("Skip to the question")).to_be_in_viewport()
        page.keyboard.press("Enter")
        expect(page.locator("#question")).to_be_focused()
        page.keyboard.type("What is")
        page.keyboard.press("Shift+Enter")
        page.keyboard.type("2 + 3?")
        page.keyboard.press("Enter")
        ended(page)
        expect(page.locator(".turn h2")).to_have_text("What is\n2 + 3?")
        page.locator("#settings").evaluate("settings => { settings.open = true; }")
        page.locator("body").evaluate("body => { document.activeElement.blur(); body.tabIndex = -1; body.focus(); }")
        reached = []
        for _ in range(60):
            page.keyboard.press("Tab")
            now = page.evaluate("""() => {
                const one = document.activeElement;
                const style = getComputedStyle(one);
                return [one.outerHTML.slice(0, 60), parseFloat(style.outlineWidth), style.outlineStyle];
            }""")
            if now[0].startswith("<body") or now in reached:
                break
            reached.append(now)
        wanted = page.locator(
            "a[href], button:not(:disabled), input, select, textarea, summary, [tabindex='0']"
        ).evaluate_all("all => all.filter((one) => one.checkVisibility()).map((one) => one.outerHTML.slice(0, 60))")
        assert {name for name, _, _ in reached} == set(wanted)
        assert [name for name, width, style in reached if width < 2 or style == "none"] == []


LONG_THOUGHT = """() => {
    const real = window.fetch;
    const token = (at) => ({ text: at % 40 === 39 ? " end.\\n\\n" : ` w${at}`, kind: "thinking",
                             origin: at % 5 ? "draft" : "target" });
    window.fetch = async (path, options) => {
        if (!String(path).endsWith("chat/completions")) return real(path, options);
        let at = 0;
        const body = new ReadableStream({
            async pull(out) {
                await new Promise((done) => setTimeout(done, 1));
                const tokens = Array.from({ length: 5 }, () => token(at++));
                const look = at % 100 ? [] : [{ tokens: at, answer: String(at), confidence: 1 - 1 / at }];
                const trace = { tokens, drafted: 4, accepted: 4, beliefs: look, passes: at / 5 };
                const choice = { delta: {}, finish_reason: at >= 10000 ? "stop" : null };
                const chunk = { id: "x", choices: [choice], laconic: { trace } };
                const said = `data: ${JSON.stringify(chunk)}\\n\\n` + (at >= 10000 ? "data: [DONE]\\n\\n" : "");
                out.enqueue(new TextEncoder().encode(said));
                if (at >= 10000) out.close();
            },
        });
        return new Response(body);
    };
    window.frames_ = [];
    let before = performance.now();
    const frame = (now) => { window.frames_.push(now - before); before = now; requestAnimationFrame(frame); };
    requestAnimationFrame(frame);
    window.busy = 0;
    new PerformanceObserver((list) => list.getEntries().forEach((one) => { window.busy += one.duration; }))
        .observe({ entryTypes: ["longtask"] });
}"""


@needs_chromium
@needs_bundled
def test_a_thought_of_ten_thousand_tokens_stays_smooth(browser, address):
    with looking(browser, address) as page:
        expect(page.locator("#model")).to_have_text("bundled")
        page.evaluate(LONG_THOUGHT)
        ask(page, "Think long.")
        tape = page.locator(".tape")
        gap = "tape => tape.scrollHeight - tape.scrollTop - tape.clientHeight"
        expect(tape).to_contain_text("w2000", timeout=LONG)
        assert tape.evaluate(gap) < 32  # the end is followed
        tape.evaluate("tape => { tape.scrollTop = 100; }")
        expect(tape).to_contain_text("w5000", timeout=LONG)
        assert tape.evaluate("tape => tape.scrollTop") == 100  # and the reader, once they have scrolled up, left alone
        tape.evaluate("tape => { tape.scrollTop = tape.scrollHeight; }")
        page.get_by_role("link", name="Server").click()  # another view meanwhile changes nothing
        page.wait_for_timeout(300)
        page.get_by_role("link", name="Ask").click()
        ended(page)
        assert tape.evaluate(gap) < 32
        assert tape.evaluate("tape => tape.textContent.match(/w\\d+| end\\./g).length") == 10_000
        frames = sorted(page.evaluate("() => window.frames_"))
        busy = page.evaluate("() => window.busy")
        middle, rare = frames[len(frames) // 2], frames[len(frames) * 95 // 100]
        print(f"{len(frames)} frames: median {middle:.0f} ms, 95 % {rare:.0f} ms, longest {frames[-1]:.0f} ms")
        print(f"tasks of more than 50 ms: {busy:.0f} ms of {sum(frames):.0f}")
        assert middle < 50
        assert busy < 0.3 * sum(frames)


class Links(HTMLParser):
    def __init__(self):
        super().__init__()
        self.found, self.inline = [], []

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.found += [attrs[name] for name in ("src", "href") if name in attrs and not attrs[name].startswith("#")]
        self.inline += [tag] if tag == "style" or (tag == "script" and "src" not in attrs) else []
        self.inline += [name for name in attrs if name == "style" or name.startswith("on")]


def test_all_files_are_there_and_none_is_idle_or_from_elsewhere():
    links = Links()
    links.feed((PAGE / "index.html").read_text(encoding="utf-8"))
    assert links.inline == []  # the page's own rules would refuse it
    used = {"index.html", *(link.removeprefix("page/") for link in links.found)}
    for file in PAGE.iterdir():
        text = file.read_text(encoding="utf-8")
        assert not re.search(r"(?:https?:)?//(?!www\.w3\.org/2000/svg)[a-z0-9.-]+\.[a-z]{2,}", text), file.name
        if file.suffix == ".js":
            used |= set(re.findall(r'from "\./([\w.]+)"', text))
    assert used == {file.name for file in PAGE.iterdir()}
