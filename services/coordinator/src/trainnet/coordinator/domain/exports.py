"""Paths of the files of an exported model."""

import re

MAX_FILES = 64
_OUTPUT = "model/"
_PATH = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)*")
MAX_PATH = 57
"""With `model/` before it an output's name has 63 characters at most."""


def path_of(output: str) -> str | None:
    """Path in the folder of an output `model/<path>`; None where it is none that an owner's disk should see: no part
    of it begins with a dot, and none is empty."""
    path = output.removeprefix(_OUTPUT)
    if not output.startswith(_OUTPUT) or len(path) > MAX_PATH or not _PATH.fullmatch(path):
        return None
    return path


def unusable(outputs: list[str]) -> str:
    """Why these outputs are no folder; empty where they are."""
    paths = [path for path in map(path_of, outputs) if path is not None]
    if len(paths) < len(outputs):
        wrong = next(output for output in outputs if path_of(output) is None)
        return f"{wrong!r} is no file of a model's folder"
    if not 1 <= len(paths) <= MAX_FILES:
        return f"a model's folder has 1 to {MAX_FILES} files, not {len(paths)}"
    folded = {path.casefold() for path in paths}
    if len(folded) < len(paths):
        return "two files of a model's folder have the same name"
    parents = {path[:index] for path in folded for index, character in enumerate(path) if character == "/"}
    if folded & parents:
        return f"{min(folded & parents)!r} is a file and a folder at once"
    return ""
