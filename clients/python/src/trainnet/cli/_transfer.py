"""Progress of transfers on a terminal; silence elsewhere."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Self

from trainnet.cli._output import size
from trainnet.client import Dataset, DatasetState


class TransferDisplay:
    """A bar for hashing, uploading and downloading, and a line that says what a data set waits for.

    Use it as a context manager; hand `transfer` and `dataset` to the client as callbacks. All of it goes to stderr.
    """

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

        self._console = Console(stderr=True, highlight=False)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
            transient=True,
        )
        self._tasks: dict[tuple[str, int], int] = {}
        self._said = ""
        self._waiting = False

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def transfer(self, what: str, done: int, total: int) -> None:
        """A TransferProgress."""
        if what == "export":
            if not self._waiting:
                self._waiting = True
                self.say("a worker makes the model's folder: waiting for it; --no-wait takes the weights as they are")
            return
        key = what, total
        if key not in self._tasks:
            if what == "upload" and 0 < done < total:
                self.say(f"resuming at {size(done)} of {size(total)}")
            self._tasks[key] = self._progress.add_task(what, total=total)
        self._progress.update(self._tasks[key], completed=done)  # type: ignore[arg-type]

    def dataset(self, dataset: Dataset) -> None:
        """Says, once each, what a data set that is not READY waits for."""
        line = f"{dataset.name}: {dataset.state.lower()}" + (f", {dataset.message}" if dataset.message else "")
        if dataset.state in (DatasetState.UPLOADING, DatasetState.PREPARING) and line != self._said:
            self._said = line
            self.say(line)

    def say(self, line: str) -> None:
        """A line above the bars."""
        if self._console.is_terminal:
            self._console.print(line, markup=False, soft_wrap=True)
        else:
            print(line, file=sys.stderr, flush=True)
