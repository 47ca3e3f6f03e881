"""What is written into a text must stand there in the tokens that the model's own tokenizer gives the whole.

Every probe and every injection of every method is held to that at both ends. Real tokenizers are read from the folders
below ``LACONIC_TOKENIZERS`` (``scripts/fetch_tokenizers.py`` fetches some); a small one with the merge that does harm
is always tried.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

import laconic.methods  # noqa: F401  (fills the registry)
from laconic import Format
from laconic.errors import LaconicError
from laconic.landing import TEXT
from laconic.models.text import Text
from laconic.policy import registry
from laconic.probe import opening
from laconic.thinking.base import Probe

FOLDER = os.environ.get("LACONIC_TOKENIZERS", "")
NAMES = ("qwen3", "deepseek_v3", "gptoss", "llama3", "gemma3")
ANSWERS = (
    "42", "-4", "3.14", "1,200", "1/2", r"\frac{2}{3}", r"-\frac{1}{2}", r"\dfrac{1}{2}", r"\sqrt{2}", r"\text{Monday}",
    r"\pi", r"2\pi", r"\infty", r"\left(1, 2\right)", r"\{1, 2\}", r"90^\circ", r"50\%", r"\$5", "(1, 2)", "[0, 1)",
    "x^2 + 1", "x = 3", "A", "Paris", "true", "10:30",
)  # fmt: skip
STEPS = ("So x is 5.\n\n", "Thus f(x) = (2)\n\n", "It is \\(y\\).\n\n", "a, b and c:\n\n", "Hm \n \n")
FORMATS = (
    Format("<think>", "</think>"),
    Format("<think>", "</think>", bridge=""),
    Format("<think>", "</think>", bridge="<response>"),
    Format("<|channel|>analysis<|message|>", "<|end|><|start|>assistant<|channel|>final<|message|>", bridge=""),
    Format("[THINK]", "[/THINK]", bridge=""),
)


def merging() -> PreTrainedTokenizerFast:
    """Bytes, and a brace that is one token with a four or a minus after it."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {symbol: i for i, symbol in enumerate([*alphabet, "{4", "{-", "ĊĊ", ".ĊĊ"])}
    core = Tokenizer(models.BPE(vocab=vocabulary, merges=[("{", "4"), ("{", "-"), ("Ċ", "Ċ"), (".", "ĊĊ")]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    core.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=core, eos_token="!")


def tokenizer(name: str) -> PreTrainedTokenizerFast:
    if name == "merging":
        return merging()
    file = Path(FOLDER) / name / "tokenizer.json"
    if not FOLDER or not file.is_file():
        pytest.skip(
            f"no tokenizer of {name}: set LACONIC_TOKENIZERS to the folder that scripts/fetch_tokenizers.py writes"
        )
    return PreTrainedTokenizerFast(tokenizer_file=str(file), eos_token="x")


def texts(attribute: str) -> dict[str, str]:
    """What methods write, by their names: every knob of this name that every thinking method has by default."""
    found = {}
    for name in registry.names("think"):
        try:
            policy = registry.build("think", name)
        except LaconicError:
            continue  # one with knobs that must be given
        for part in policy.walk():
            said = getattr(part, attribute, None)
            if isinstance(said, str) and said:
                found[f"{name}: {part.name}"] = said
    return found


PROBES = {said for name, said in texts("text").items() if "boxed" in said} | {"The answer is \\boxed"}
INJECTED = {TEXT, *texts("text").values(), *texts("wait").values(), *texts("hint").values()}


@pytest.fixture(scope="module", params=("merging", *NAMES))
def words(request: pytest.FixtureRequest) -> list[Text]:
    made = tokenizer(request.param)
    return [Text(made, format=form) for form in FORMATS]


def test_something_is_held_to_it() -> None:
    assert len(texts("text")) >= 5
    assert any("boxed" in text for text in INJECTED)


@pytest.mark.parametrize("said", sorted(PROBES))
def test_no_probe_ends_inside_a_token_of_any_answer(words: list[Text], said: str) -> None:
    for text in words:
        probe = Probe(said, "}")
        for answer in ANSWERS:
            rest = f"{probe.opens or ''}{answer}}}"
            whole = text.encode(f"{text.format.ending}{said}{rest}")
            assert whole == opening(probe, text) + text.encode(rest), (text.format, answer)


def test_the_brace_would_be_such_an_end(words: list[Text]) -> None:
    text = words[0]
    merged = [a for a in ANSWERS if text.encode(f"\\boxed{{{a}}}") != text.encode("\\boxed{") + text.encode(f"{a}}}")]
    assert merged


@pytest.mark.parametrize("before", STEPS)
def test_what_is_written_at_the_end_of_a_step_begins_as_the_tokenizer_would_write_it(
    words: list[Text], before: str
) -> None:
    for text in words:
        for said in sorted(INJECTED):
            for written in (said, f"{said}{text.format.ending}", text.format.ending, f"{text.format.ending}{said}"):
                assert text.encode(before) + text.encode(written) == text.encode(before + written), written
