"""Photograph the page of ``laconic serve``: starts a server, asks it in a real Chromium, and saves what is seen.

    python scripts/page_shots.py --out out/page

Needs Playwright (extra dev) and a ``chromium`` on the path.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

import httpx
from playwright.sync_api import Browser, Page, expect, sync_playwright

QUESTION = "What is 64 * 35 + 27?"
DESKTOP, PHONE = {"width": 1280, "height": 860}, {"width": 360, "height": 740}
VIEWS: dict[str, dict[str, Any]] = {
    "desktop-light": {"viewport": DESKTOP, "color_scheme": "light"},
    "desktop-dark": {"viewport": DESKTOP, "color_scheme": "dark"},
    "phone": {"viewport": PHONE, "color_scheme": "light"},
}


@contextmanager
def served(*options: str) -> Iterator[str]:
    """The address of a server with the bundled model, while it runs."""
    command = [sys.executable, "-m", "laconic", "serve", "--port", "0", *options]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        ready = next((line for line in server.stdout if line.startswith("ready:")), "")
        found = re.search(r"page: (\S+)\)", ready)
        if found is None:
            raise SystemExit("the server did not start")
        yield found[1]
    finally:
        server.terminate()
        server.wait()


@contextmanager
def chromium() -> Iterator[Browser]:
    """The system's Chromium without a window."""
    found = shutil.which("chromium")
    if found is None:
        raise SystemExit("there is no chromium on the path")
    options = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=options)
        yield browser
        browser.close()


def ask(page: Page, question: str, *, beside: str = "", wait: bool = True) -> None:
    """Ask, and wait until all lanes have ended."""
    page.locator("#settings").evaluate("settings => settings.open = true")
    page.get_by_label("Beside plain decoding").select_option(beside)
    page.locator("#settings").evaluate("settings => settings.open = false")
    page.get_by_label("Question", exact=True).fill(question)
    page.keyboard.press("Enter")
    if wait:
        done(page, lanes=2 if beside else 1)


def done(page: Page, lanes: int) -> None:
    """Wait for the ends of the last turn's lanes."""
    expect(page.locator(".turn").last.locator(".lane[data-phase=done]")).to_have_count(lanes, timeout=60_000)


def whole(page: Page, path: Path) -> None:
    """The last turn in a window that is high enough for it."""
    size = page.viewport_size
    assert size is not None
    page.set_viewport_size({"width": size["width"], "height": 1600})
    page.locator(".turn").last.evaluate("turn => turn.scrollIntoView()")
    page.screenshot(path=path)
    page.set_viewport_size(size)


def main() -> None:
    """Take all pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    out: Path = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    with chromium() as browser:
        with served() as address:
            for name, view in VIEWS.items():
                asked(browser.new_page(**view), address, out, name)
        with served("--audit", "1", "--harm", "0.2") as address:
            watched(address)
            for name, view in VIEWS.items():
                page = browser.new_page(**view)
                page.goto(f"{address}#server")
                busy(page, address)
                page.screenshot(path=out / f"{name}-server.png", full_page=True)


def asked(page: Page, address: str, out: Path, name: str) -> None:
    """The page before, while and after it is asked."""
    page.goto(address)
    expect(page.locator("#model")).to_have_text("bundled")
    page.screenshot(path=out / f"{name}-empty.png")
    ask(page, QUESTION)
    page.screenshot(path=out / f"{name}.png")
    whole(page, out / f"{name}-whole.png")
    ask(page, QUESTION, beside="after", wait=False)
    expect(page.locator(".turn").last.locator(".tape").last).to_contain_text("check", timeout=60_000)
    page.screenshot(path=out / f"{name}-running.png")
    done(page, lanes=2)
    whole(page, out / f"{name}-beside.png")
    page.locator("#settings summary").click()
    page.screenshot(path=out / f"{name}-settings.png")


def watched(address: str, requests: int = 24) -> None:
    """Let the audit hear of some requests, eight at a time."""
    dice = Random(1)
    problems = [
        f"What is {dice.randint(11, 60)} * {dice.randint(11, 60)} + {dice.randint(2, 99)}?" for _ in range(requests)
    ]
    with ThreadPoolExecutor(8) as pool:
        list(
            pool.map(
                lambda problem: httpx.post(f"{address}v1/chat/completions", json=body(problem), timeout=300), problems
            )
        )


def busy(page: Page, address: str, seconds: int = 8) -> None:
    """Keep the server busy for a while, so that there is something to see."""
    until = time.monotonic() + seconds
    with ThreadPoolExecutor(3) as pool:
        for _ in range(3):
            pool.submit(lambda: [httpx.post(f"{address}v1/chat/completions", json=body(QUESTION), timeout=300)
                                 for _ in iter(lambda: time.monotonic() < until, False)])  # fmt: skip
        page.wait_for_timeout(1000 * seconds - 500)


def body(problem: str) -> dict[str, Any]:
    """A request."""
    return {"messages": [{"role": "user", "content": problem}]}


if __name__ == "__main__":
    main()
