"""A server with the bundled model, and a real Chromium that looks at its page."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from laconic.models.reasoner import target_path

SOURCE = Path(__file__).parents[2] / "src"
CHROMIUM = shutil.which("chromium")
LONG = 60_000
"""Milliseconds that a reply may take on a busy machine."""

needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium on the path")
needs_bundled = pytest.mark.skipif(
    not (target_path() / "model.safetensors").is_file(), reason="the bundled weights are not there (yet)"
)


@contextmanager
def served(*options: str) -> Iterator[str]:
    """The address of the page of ``laconic serve``, while it runs."""
    command = [sys.executable, "-m", "laconic", "serve", "--port", "0", *options]
    here = {**os.environ, "PYTHONPATH": str(SOURCE), "OMP_NUM_THREADS": "1"}
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=here)
    assert server.stdout is not None
    with server.stdout:
        try:
            ready = next((line for line in server.stdout if line.startswith("ready:")), "the server did not start")
            found = re.search(r"page: (\S+)\)", ready)
            assert found, ready
            yield found[1]
        finally:
            server.terminate()
            server.wait(30)


@contextmanager
def chromium() -> Iterator[Browser]:
    """The system's Chromium without a window."""
    options = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=options)
        yield browser
        browser.close()


@contextmanager
def looking(browser: Browser, address: str, **options: object) -> Iterator[Page]:
    """A page in a fresh profile. Afterwards: nothing went wrong in it, and nothing was asked of another host."""
    context = browser.new_context(**options)
    page = context.new_page()
    wrong: list[str] = []
    page.on("console", lambda said: wrong.append(said.text) if said.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("request", lambda asked: None if asked.url.startswith(address) else wrong.append(asked.url))
    page.goto(address)
    yield page
    context.close()
    # A browser reports every request that was refused; the tests that make such look at what the page says of it.
    assert [one for one in wrong if not one.startswith("Failed to load resource")] == []


def choose(page: Page, **fields: str) -> None:
    """Set fields of the settings by their ids."""
    page.locator("#settings").evaluate("settings => { settings.open = true; }")
    for name, value in fields.items():
        field = page.locator(f"#{name}")
        if field.evaluate("field => field.tagName") == "SELECT":
            field.select_option(value)
        else:
            field.fill(value)


def ask(page: Page, question: str, **fields: str) -> None:
    """Ask, and do not wait."""
    expect(page.locator("#model")).to_have_text("bundled")
    choose(page, **fields)
    page.locator("#question").fill(question)
    page.get_by_role("button", name="Ask", exact=True).click()


def ended(page: Page, lanes: int = 1) -> Page:
    """Wait until all lanes of the last turn have come to their ends."""
    expect(page.locator(".turn").last.locator(".lane[data-phase=done]")).to_have_count(lanes, timeout=LONG)
    return page


def figure(page: Page, name: str, lane: int = 0) -> str:
    """A figure of the last turn by its name."""
    figures = page.locator(".turn").last.locator(".lane").nth(lane).locator(".figures > div")
    return figures.filter(has_text=re.compile(f"^{name}")).locator("dd").inner_text()
