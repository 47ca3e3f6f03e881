"""The tokenizer of the pair: a small byte-level BPE that keeps digits single and a Qwen3-style chat template."""

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

VOCAB_SIZE = 640
START, END, PAD = "<|im_start|>", "<|im_end|>", "<|endoftext|>"
THINK, THINK_END = "<think>", "</think>"

# Blank lines, line ends, braces, single digits; words and signs keep the space before them, and the one after them
# where a digit follows, so that " = 48" is " = ", "4", "8".
PATTERN = r"\n\n|\n|[{}]|\p{N}| ?\p{L}+ (?=\p{N})| ?\p{L}+| ?[^\s\p{L}\p{N}{}]+ (?=\p{N})| ?[^\s\p{L}\p{N}{}]+|\s"

CHAT_TEMPLATE = """\
{%- for message in messages %}
    {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\\n\\n</think>\\n\\n' }}
    {%- endif %}
{%- endif %}"""


def train_tokenizer(texts: Iterable[str], vocab_size: int = VOCAB_SIZE) -> "PreTrainedTokenizerFast":
    """Learn the merges from texts; every byte is in the vocabulary, so any text can be written."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    model = Tokenizer(models.BPE())
    model.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PATTERN), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    model.decoder = decoders.ByteLevel()
    # <think> is no "special" token: it stays in the text when special tokens are skipped, as with Qwen3
    added = [AddedToken(text, special=text not in (THINK, THINK_END)) for text in (PAD, START, END, THINK, THINK_END)]
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - len(added),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    special = re.compile("|".join(map(re.escape, (PAD, START, END, THINK, THINK_END))))
    model.train_from_iterator((part for text in texts for part in special.split(text)), trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=model,
        eos_token=added[2],
        pad_token=added[0],
        additional_special_tokens=[added[1]],
        model_max_length=2048,
        clean_up_tokenization_spaces=False,
        padding_side="left",
    )
    tokenizer.add_tokens(added)
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def save_tokenizer(tokenizer: "PreTrainedTokenizerFast", folder: Path) -> None:
    """Save the tokenizer under the class name that every version of Transformers knows."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save_pretrained(folder)
    path = folder / "tokenizer_config.json"
    config = json.loads(path.read_text())
    config["tokenizer_class"] = "PreTrainedTokenizerFast"
    path.write_text(json.dumps(config, indent=2) + "\n")


def load_tokenizer(folder: Path) -> "PreTrainedTokenizerFast":
    """Load a tokenizer that `save_tokenizer` saved."""
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast.from_pretrained(folder)
