"""The data sets: Fashion-MNIST, and the King James Bible."""

import subprocess
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from trainnet.local.bench import fashion
from trainnet.local.errors import LocalError

PARTS = 64
"""A text has so many parts of equal length, which are dealt as classes are: what stands together is alike."""

_HELD_OUT = 20  # every so many lines one


def pictures(folder: Path, path: Path) -> None:
    """Fashion-MNIST with its official cut. Raises LocalError."""
    fashion.write_parquet(folder, path)


def king_james() -> list[str]:
    """Its verses. Raises LocalError."""
    try:
        done = subprocess.run(
            ["bible", "-f", "gen1:1-rev22:21"], check=True, capture_output=True, text=True, timeout=60
        )
    except FileNotFoundError:
        raise LocalError(
            "the command `bible` is not there: `apt-get install bible-kjv`, or name a file with --text"
        ) from None
    return [line.split(" ", 1)[1] for line in done.stdout.splitlines() if " " in line]


def lines_of(path: Path) -> list[str]:
    """The lines of a text that are not empty. Raises LocalError."""
    try:
        found = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise LocalError(f"--text: {path} cannot be read: {error}") from None
    if len(found) < 10 * PARTS:
        raise LocalError(f"--text: {path} has {len(found)} lines, at least {10 * PARTS} are needed")
    return found


def write_text(lines: list[str], path: Path) -> None:
    """Columns `text`, `part`, and `split`, which holds out every twentieth line."""
    count = len(lines)
    columns = {
        "text": lines,
        "part": [f"part-{index * PARTS // count:02}" for index in range(count)],
        "split": ["test" if index % _HELD_OUT == 0 else "train" for index in range(count)],
    }
    pq.write_table(pa.table(columns), path)
