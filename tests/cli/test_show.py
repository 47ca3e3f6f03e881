import io
import re
from dataclasses import replace
from types import SimpleNamespace

import pytest
from rich.console import Console

from laconic.cli.show import Screen, closing_line, drawing
from laconic.models.defaults import Defaults
from laconic.types import Result, Sampling, Step, Usage

STEPS = [("thinking", "<think>\nab "), ("thinking", "cd\n\n"), ("injected", "</think>\n\n"), ("answer", "ef<eos>")]


def engine():
    text = SimpleNamespace(eos={9}, decode=lambda tokens: "<eos>" if list(tokens) == [9] else "")
    return SimpleNamespace(text=text, target=SimpleNamespace(passes=0))


def play(screen, steps):
    with screen:
        for kind, text in steps:
            screen.show(Step(kind, text, (1, 9) if text.endswith("<eos>") else (1, 2)))


def final_screen(written):
    """What is left on a terminal that knows newline, carriage return, cursor up and erase line."""
    lines, at = [""], 0
    for piece in re.split(r"(\x1b\[[0-9;?]*[a-zA-Z]|\r|\n)", written):
        if piece == "\n":
            at += 1
            lines += [""] * (at + 1 - len(lines))
        elif piece.endswith("A") and piece.startswith("\x1b"):
            at -= int(piece[2:-1] or 1)
        elif piece == "\x1b[2K":
            lines[at] = ""
        elif piece and piece != "\r" and not piece.startswith("\x1b"):
            lines[at] += piece
    return "\n".join(lines)


def test_on_a_terminal_every_character_shows_once_and_the_status_goes(monkeypatch):
    screen = Screen(engine())
    file = io.StringIO()
    screen._console = Console(
        file=file, force_terminal=True, width=60, highlight=False, legacy_windows=False, _environ={}
    )
    so_far = ""
    with screen:
        for kind, text in STEPS:
            screen.show(Step(kind, text, (1, 9) if text.endswith("<eos>") else (1, 2)))
            so_far += text.removesuffix("<eos>")
            shown, _, status = final_screen(file.getvalue()).rstrip("\n").rpartition("\n")
            assert shown == so_far
            assert "per target pass" in status
    assert final_screen(file.getvalue()).rstrip("\n") == "<think>\nab cd\n\n</think>\n\nef"
    assert "per target pass" in file.getvalue()
    assert "\x1b[1mef" in file.getvalue()
    assert "\x1b[2m" in file.getvalue()


def test_elsewhere_the_bare_text(capsys):
    play(Screen(engine()), STEPS)
    assert capsys.readouterr().out == "<think>\nab cd\n\n</think>\n\nef\n"


def test_quiet(capsys):
    play(Screen(engine(), quiet=True), STEPS)
    assert capsys.readouterr().out == ""


def result(thinking, passes, seconds=1.0, tokens=(1,)):
    usage = Usage(thinking=thinking, answer=10, target_passes=passes, seconds={"score": seconds})
    return Result("", "", "", tokens, "stop", usage)


@pytest.mark.parametrize(
    ("ours", "plain", "parts"),
    [
        (result(90, 25), None, ["75 of 100 target passes saved", "4.00 tokens per target pass"]),
        (result(10, 30), None, ["10 passes more than tokens"]),
        (result(40, 10), result(80, 90, 3.0), ["50% fewer thinking tokens", "89% fewer passes", "3.00 times faster"]),
        (
            result(80, 45, 2.0),
            result(80, 90),
            ["as many thinking", "50% fewer", "2.00 times slower", "same tokens"],
        ),
        (result(90, 45, tokens=(2,)), result(60, 70), ["50% more thinking tokens", "36% fewer passes"]),
    ],
)
def test_closing_line(ours, plain, parts):
    line = closing_line(ours, plain)
    assert "\n" not in line
    for part in parts:
        assert part in line


def test_a_lossy_run_says_so():
    assert "lossy" in closing_line(replace(result(90, 25), lossless=False))
    assert "lossy" not in closing_line(result(90, 25))


def test_what_cut_the_text_off_is_named():
    cut = replace(result(90, 25, tokens=(1, 2, 3)), finish_reason="length")
    cut.usage.prompt = 7
    assert "cut off at the token limit" in closing_line(cut)
    assert "cut off at the token limit" in closing_line(cut, context=11)
    assert "cut off at the end of the model's context of 10 tokens" in closing_line(cut, context=10)


def test_what_a_checkpoint_asks_for_in_vain_is_called_ignored():
    defaults = Defaults(Sampling(0.6, top_k=20), source="generation_config.json", unheard=("max_length", "num_beams"))
    line = drawing(defaults, defaults.sampling)
    assert line == (
        "sampling: temperature 0.6, top_k 20 (generation_config.json); "
        "ignored: max_length, num_beams of generation_config.json"
    )
