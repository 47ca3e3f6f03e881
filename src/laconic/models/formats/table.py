"""Formats that cannot be read off a rendered turn: the template keeps no past thought, or says half of it."""

from __future__ import annotations

from laconic.models.formats.format import Format

HARMONY = Format(
    "<|channel|>analysis<|message|>",
    "<|end|><|start|>assistant<|channel|>final<|message|>",
    bridge="",
    lead="",
    trail="",
    headers=("<|channel|>final",),
    header_end="<|message|>",
    asides=("<|channel|>commentary",),
    turn="<|start|>assistant",
    field="thinking",
    source="table",
)
"""gpt-oss: channels, of which final is the answer and commentary holds calls of tools and words about them."""

TABLE: tuple[Format, ...] = (
    HARMONY,
    Format("Here are my reasoning steps:", "[BEGIN FINAL RESPONSE]", bridge="\n", source="table"),  # Apriel
    Format("<think>", "</think>", source="table"),  # DeepSeek-R1 and its distills, QwQ, SmolLM3, Phi-4-reasoning ...
    Format("<|channel>thought", "<channel|>", bridge="", source="table"),  # Gemma 4
    Format("[THINK]", "[/THINK]", bridge="", lead="", trail="", source="table"),  # Magistral
    Format("<thought>", "</thought>", source="table"),  # EXAONE-Deep
    Format("<seed:think>", "</seed:think>", bridge="\n", lead="", trail="", source="table"),
    Format("<reasoning>", "</reasoning>", source="table"),
    Format("<longcat_think>", "</longcat_think>", source="table"),
    Format("<ifm|think>", "</ifm|think>", source="table"),  # K2-Horizon
    Format("<|content_thinking|>", "<|end_message|>", bridge="", lead="", trail="", source="table"),  # Inkling
    Format("<|inner_prefix|>", "<|inner_suffix|>", bridge="", lead="", trail="", source="table"),  # Apertus
)
