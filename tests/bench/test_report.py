import json

import pytest

from tests.bench import pages, scripted

pytest.importorskip("matplotlib")

from laconic.bench.report import render


@pytest.fixture(scope="module")
def record():
    return scripted.typical(30)


def test_page_is_whole_and_needs_nothing_else(record):
    html = render(json.loads(json.dumps(record)))
    assert pages.whole(html).tags.count("svg") == 6
    assert "#010101" not in html
    assert "prefers-color-scheme: dark" in html


def test_page_says_what_the_record_says(record):
    text = " ".join(" ".join(pages.Page(render(record)).text).split())
    assert f"{1 - record['ratio']['thinking_tokens']:.0%} fewer thinking tokens" in text
    assert f"{record['laconic']['accuracy']:.1%} right answers" in text
    assert "30/30 prompts exact" in text
    assert record["provenance"]["versions"]["torch"] in text
    for label in record["setup"]["variants"].values():
        assert label in text


def test_text_is_escaped(record):
    evil = json.loads(json.dumps(record))
    evil["example"]["question"] = "<script>alert(1)</script>"
    evil["setup"]["model"] = "<b>x"
    evil["by_kind"] = {f"<img src=x>$_{i}": kind for i, kind in enumerate(evil["by_kind"].values())}
    page = pages.Page(render(evil))
    assert {"script", "img"}.isdisjoint(page.tags)


def test_failures_and_interruption_come_first(record):
    bad = record | {"interrupted": True, "failures": [{"items": ["q/7"], "variant": "laconic", "error": "Boom: x"}]}
    text = " ".join(pages.Page(render(bad)).text)
    assert "interrupted" in text
    assert text.index("q/7") < text.index("Variants")


def test_a_configuration_without_drafts_or_savings_still_has_a_page():
    asked = scripted.items(3)
    same = [scripted.result() for _ in asked]
    record = scripted.bench(asked, {"baseline": same, "laconic": same}).run(asked)
    text = " ".join(pages.Page(render(record)).text)
    assert "One thought" not in text
    assert "Tokens per target pass" not in text
    assert "0%" in text
