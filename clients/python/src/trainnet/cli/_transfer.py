"""Progress of transfers on a terminal; silence elsewhere."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Self

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
        self._tasks: dict[str, int] = {}
        self._said = ""

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def transfer(self, what: str, done: int, total: int) -> None:
        """A TransferProgress."""
        if what not in self._tasks:
            self._tasks[what] = self._progress.add_task(what, total=total)
        self._progress.update(self._tasks[what], completed=done)  # type: ignore[arg-type]

    def dataset(self, dataset: Dataset) -> None:
        """Says, once each, what a data set that is not READY waits for."""
        line = f"{dataset.name}: {dataset.state.lower()}" + (f", {dataset.message}" if dataset.message else "")
        if dataset.state in (DatasetState.UPLOADING, DatasetState.PREPARING) and line != self._said:
            self._said = line
            print(line, file=sys.stderr, flush=True)
