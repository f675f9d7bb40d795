"""The runs of the table, one after the other, and how they are shown."""

import itertools
import statistics
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from rich.table import Table

from trainnet.aggregator.errors import AggregatorError
from trainnet.local.bench import fashion, merging
from trainnet.local.bench.in_process import Trainer
from trainnet.local.bench.learned import data, job
from trainnet.local.bench.learned.plan import TASKS, Row, Run
from trainnet.local.errors import LocalError


def run(
    wanted: Sequence[Run],
    steps: Mapping[str, int],
    data_dir: Path | None,
    text: Path | None,
    say: Callable[[str], None],
) -> Iterator[Row]:
    """Trains them; `steps` are those of each shard by task. Raises LocalError."""
    with tempfile.TemporaryDirectory(prefix="trainnet-bench-") as name, merging.storing() as store:
        folder = Path(name)
        trainer = Trainer(folder / "trainer")
        cuts: dict[tuple[str, str, int], job.Cut] = {}
        for number, item in enumerate(wanted, start=1):
            say(f"{number} of {len(wanted)}: {_told(item)}")
            task = TASKS[item.task]
            source = folder / f"{item.task}.parquet"
            if not source.exists():
                _write(item.task, source, data_dir, text)
            # Where all are alike, or one has all, another cut says nothing new.
            key = (item.task, item.split, item.seed if item.split == "dirichlet" else 1)
            if key not in cuts:
                cuts[key] = job.cut(trainer, source, job.inspect(trainer, source, task.label), item.split, key[2])
            try:
                yield Row(item, job.train(trainer, store, item, task, steps[item.task], cuts[key]))
            except AggregatorError as error:
                raise LocalError(f"{_told(item)}: {error}") from error


def _write(task: str, path: Path, data_dir: Path | None, text: Path | None) -> None:
    if task == "fashion":
        data.pictures(data_dir or fashion.FOLDER, path)
    else:
        data.write_text(data.lines_of(text) if text else data.king_james(), path)


def _told(run: Run) -> str:
    dropped = f", {run.dropped:.0%} dropped" if run.dropped else ""
    split = "" if run.strategy == "central" else f", {run.split}"
    return f"{run.task}{split}, {run.strategy}, {run.local_steps} steps a round{dropped}, seed {run.seed}"


def table(rows: Sequence[Row]) -> Table:
    """A line for each kind of run, its mean over the seeds and how far they lie apart."""
    found = Table("task", "split", "strategy", "local steps", "dropped", "metric", box=None)
    found.add_column("mean", justify="right")
    found.add_column("from", justify="right")
    found.add_column("to", justify="right")

    def kind(row: Row) -> tuple[str, str, str, int, float]:
        return row.run.task, row.run.split, row.run.strategy, row.run.local_steps, row.run.dropped

    for key, group in itertools.groupby(sorted(rows, key=kind), key=kind):
        metrics = [row.metric for row in group]
        digits = 4 if TASKS[key[0]].metric == "accuracy" else 3
        shown = [f"{value:.{digits}f}" for value in (statistics.fmean(metrics), min(metrics), max(metrics))]
        found.add_row(*key[:3], str(key[3]), f"{key[4]:.0%}", TASKS[key[0]].metric, *shown)
    return found
