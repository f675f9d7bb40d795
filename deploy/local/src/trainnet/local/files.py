"""Files that hold secrets or that others read while we write them."""

import os
import tempfile
from pathlib import Path


def private_folder(path: Path) -> Path:
    """Makes the folder, readable by its owner only."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.chmod(0o700)
    return path


def write_private(path: Path, text: str) -> None:
    """Replaces the file in one step, readable by its owner only: a reader sees the old text or the new one, whole."""
    # mkstemp creates the file with mode 0600, so the secret is never readable by others, not even for an instant.
    descriptor, partial = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(partial).replace(path)
    except BaseException:
        Path(partial).unlink(missing_ok=True)
        raise
