"""How to use a model that was downloaded."""

from __future__ import annotations

import json
from pathlib import Path

# What a class of transformers ends in, and the automatic class that picks it.
_AUTO = {
    "ForSequenceClassification": "AutoModelForSequenceClassification",
    "ForImageClassification": "AutoModelForImageClassification",
    "LMHeadModel": "AutoModelForCausalLM",
    "ForCausalLM": "AutoModelForCausalLM",
    "ForConditionalGeneration": "AutoModelForSpeechSeq2Seq",
}


def how_to_load(folder: Path, architecture: str) -> list[str]:
    """Lines that say how to run and how to load the model of a folder; none where there is nothing to run."""
    if architecture == "noop":
        return []
    lines = [f"`trainnet predict {folder} INPUT` runs it"]
    found = _transformers_class(folder / "config.json")
    if found:
        lines.append(f"transformers loads it: {found}.from_pretrained({str(folder)!r})")
    return lines


def _transformers_class(config: Path) -> str:
    """The class that loads the folder, told by its config.json; nothing where that is not of transformers."""
    try:
        facts = json.loads(config.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # a folder without a configuration loads otherwise
        return ""
    if not isinstance(facts, dict) or not isinstance(facts.get("model_type"), str):
        return ""
    names = facts.get("architectures")
    name = str(names[0]) if isinstance(names, list) and names else ""
    return next((auto for end, auto in _AUTO.items() if name.endswith(end)), "AutoModel")
