"""Small random checkpoints of real architectures, and a byte-level tokenizer with thinking tags."""

from __future__ import annotations

import copy

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerFast, Qwen3Config

from laconic.models.text import Text

TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<think>", "</think>"]


def tokenizer(*, tags_as_tokens: bool = True, template: str | None = TEMPLATE) -> PreTrainedTokenizerFast:
    """Bytes, a blank line as one token, and the special tokens; without tags as tokens, they are several bytes each."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {symbol: i for i, symbol in enumerate(alphabet)}
    newline = next(s for s in alphabet if decoders.ByteLevel().decode([s]) == "\n")
    vocabulary[newline * 2] = len(vocabulary)
    core = Tokenizer(models.BPE(vocab=vocabulary, merges=[(newline, newline)]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    core.decoder = decoders.ByteLevel()
    special = SPECIAL if tags_as_tokens else SPECIAL[:3]
    made = PreTrainedTokenizerFast(
        tokenizer_object=core, eos_token="<|im_end|>", pad_token="<|endoftext|>", additional_special_tokens=special
    )
    made.chat_template = template
    return made


def text(**options: object) -> Text:
    """The tokenizer as laconic sees it."""
    return Text(tokenizer(**options))  # type: ignore[arg-type]


def model(
    seed: int = 0, *, layers: int = 2, vocab: int = 264, sharpness: float = 2.0, bias: dict[str, float] | None = None
) -> PreTrainedModel:
    """A random Qwen3. ``sharpness`` is the spread of its logits; ``bias`` raises tokens, e.g. blank lines and tags."""
    torch.manual_seed(seed)
    config = Qwen3Config(
        vocab_size=vocab,
        hidden_size=32,
        num_hidden_layers=layers,
        intermediate_size=48,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        max_position_embeddings=512,
        tie_word_embeddings=False,
    )
    made = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        made.lm_head.weight.copy_(torch.randn_like(made.lm_head.weight) * sharpness / config.hidden_size**0.5)
        if bias:
            offsets = torch.zeros(vocab)
            for token, value in bias.items():
                offsets[tokenizer().encode(token)] = value
            made.lm_head.bias = torch.nn.Parameter(offsets)
    return made.eval()


REASONER = {"\n\n": 5.0, "}": 4.0, "<|im_end|>": 1.5, "</think>": 1.0}
"""A bias under which a random model writes short steps, closes answers, and sometimes ends."""


def noisy(original: PreTrainedModel, scale: float = 0.2) -> PreTrainedModel:
    """A copy with disturbed weights: a draft model that is often, not always, right."""
    torch.manual_seed(1)
    made = copy.deepcopy(original)
    with torch.no_grad():
        for parameter in made.parameters():
            if parameter.std() > 0:
                parameter.add_(torch.randn_like(parameter) * parameter.std() * scale)
    return made


def begun(question: str) -> list[dict[str, str]]:
    """A question whose reply has been begun with an opening tag."""
    return [{"role": "user", "content": question}, {"role": "assistant", "content": "<think>\n"}]
