"""Public-domain text to learn from."""

import random
import subprocess
from pathlib import Path

_NOUNS = [
    "river",
    "mountain",
    "king",
    "servant",
    "city",
    "field",
    "word",
    "stone",
    "garden",
    "ship",
    "wind",
    "fire",
    "lamp",
    "house",
    "road",
    "tree",
    "son",
    "daughter",
]
_VERBS = [
    "saw",
    "built",
    "left",
    "found",
    "carried",
    "heard",
    "kept",
    "crossed",
    "praised",
    "feared",
    "followed",
    "gave",
    "knew",
    "called",
    "sold",
    "sought",
]
_WORDS = {
    "noun": _NOUNS,
    "verb": _VERBS,
    "adjective": [
        "old",
        "great",
        "small",
        "bright",
        "dark",
        "faithful",
        "silent",
        "strong",
        "wise",
        "broken",
        "golden",
        "cold",
        "young",
    ],
    "place": ["by the sea", "in the valley", "before the gate", "under the sky", "upon the hill", "beyond the desert"],
    "time": ["in the morning", "at night", "after many days", "in those years", "on the seventh day"],
}
_FORMS = (
    "And the {noun} {verb} the {adjective} {noun} {place}.",
    "{time} the {adjective} {noun} {verb} a {noun}, and the {noun} {verb} it {place}.",
    "The {noun} of the {noun} {verb} neither {noun} nor {noun}.",
    "Behold, a {adjective} {noun} {place}; and they {verb} the {noun} {time}.",
)


def write_text(path: Path) -> str:
    """A paragraph a line; answers what it is: the King James Bible where there is a command `bible` (apt bible-kjv),
    else sentences of a small grammar, always the same, which anything learns soon."""
    try:
        done = subprocess.run(
            ["bible", "-f", "gen1:1-rev22:21"], check=True, capture_output=True, text=True, timeout=60
        )
    except FileNotFoundError:
        path.write_text("".join(f"{line}\n" for line in _sentences(20_000)), encoding="utf-8")
        return "generated sentences"
    verses = (line.split(" ", 1)[1] for line in done.stdout.splitlines() if " " in line)
    path.write_text("".join(f"{verse}\n" for verse in verses), encoding="utf-8")
    return "King James Bible"


def _sentences(count: int) -> list[str]:
    chosen, found = random.Random(1), []
    for _ in range(count):
        words = chosen.choice(_FORMS)
        for kind, choices in _WORDS.items():
            while f"{{{kind}}}" in words:
                words = words.replace(f"{{{kind}}}", chosen.choice(choices), 1)
        found.append(words[0].upper() + words[1:])
    return found
