"""A stack for a measurement: in a folder of its own, gone afterwards."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from trainnet.local.errors import ChildFailed, LocalError
from trainnet.local.signals import StopSignals
from trainnet.local.stack import LocalStack


@contextmanager
def running(console: Console, *, data: Path | None, workers: int, need_bytes: int = 0) -> Iterator[LocalStack]:
    """A running stack in a new folder below `data`, or below the temporary files.

    Stopped and removed at the end; when a part of it did not start, its logs stay.

    Raises LocalError, before anything starts, when `need_bytes` are not free there; KeyboardInterrupt on a signal.
    """
    try:
        if data is not None:
            data.expanduser().mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix="trainnet-bench-", dir=data and data.expanduser().absolute()))
    except OSError as error:
        raise LocalError(f"--data: {data} cannot be used: {error.strerror or error}") from None
    try:
        free = shutil.disk_usage(folder).free
        if free < need_bytes:
            raise LocalError(
                f"{folder.parent} has {free / 1e9:.1f} GB free, this needs {need_bytes / 1e9:.1f} GB: "
                "choose another folder with --data, or measure less"
            )
        stack = LocalStack(
            folder, workers=workers, say=lambda line: console.print(line, style="yellow", soft_wrap=True)
        )
        with StopSignals(stack):
            try:
                with console.status("starting the stack"):
                    stack.start()
                yield stack
            finally:
                stack.stop()
    except ChildFailed:
        raise
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    shutil.rmtree(folder, ignore_errors=True)
