"""The cells of the table of attacks, and how they are run and shown."""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass

import torch
from rich.table import Table

from trainnet.aggregator.errors import AggregatorError
from trainnet.coordinator.domain.rules import RULES as NUMBERS
from trainnet.local.bench import merging
from trainnet.local.bench.robustness import training
from trainnet.local.bench.robustness.training import HOSTILE, WORKERS, Setting
from trainnet.local.errors import LocalError
from trainnet.v1.job_pb2 import MergePolicy

RULES: Mapping[str, tuple[str, Mapping[str, float]]] = {
    "mean": ("MEAN", {}),
    "median": ("MEDIAN", {}),
    "trimmed_mean": ("TRIMMED_MEAN", {}),
    "krum": ("KRUM", {"keep": 1}),
    "multi_krum": ("KRUM", {}),
    "geometric_median": ("GEOMETRIC_MEDIAN", {}),
    "centered_clipping": ("CENTERED_CLIPPING", {}),
    "robust": ("CENTERED_CLIPPING", {"norm_clip": 3.0}),
}
"""The contract's rule of each name, and the numbers that make it what it says; `robust` is the client's preset."""

_BUCKETS = {"mean": 1, "robust": 2}
"""What has a size of its own: the mean knows no buckets."""

_WHOLE = frozenset({"byzantine", "bucket_size", "keep", "iterations"})


@dataclass(frozen=True)
class Cell:
    """One training."""

    rule: str
    bucketing: int
    momentum: float
    attack: str
    seed: int

    @property
    def name(self) -> str:
        """Its own wherever it stands: rounds are named by it, and buckets drawn by the names of rounds."""
        return f"{self.rule}-{self.bucketing}-{self.momentum}-{self.attack}-{self.seed}"


@dataclass(frozen=True)
class Row:
    """What came out of it."""

    cell: Cell
    accuracy: float
    success_rate: float

    def as_json(self) -> dict[str, object]:
        """As the command prints it."""
        found: dict[str, object] = {**asdict(self.cell), "accuracy": round(self.accuracy, 4)}
        if self.cell.attack == "backdoor":
            found["success_rate"] = round(self.success_rate, 4)
        return found


def cells(
    rules: Sequence[str], bucketing: Sequence[int], momentum: Sequence[float], attacks: Sequence[str], seeds: int
) -> list[Cell]:
    """All of them, each once."""
    found = itertools.product(rules, bucketing, momentum, attacks, range(1, seeds + 1))
    made = [Cell(rule, _BUCKETS.get(rule, size), share, attack, seed) for rule, size, share, attack, seed in found]
    return list(dict.fromkeys(made))


def policy(rule: str, bucketing: int, given: Mapping[str, float]) -> MergePolicy:
    """The completed policy of a rule; of the numbers `given` it takes those that it has. Raises LocalError."""
    kind, numbers = RULES[rule]
    found = MergePolicy(rule=f"AGGREGATION_RULE_{kind}")
    wanted = {"byzantine": HOSTILE, "bucket_size": bucketing, **numbers, **given}
    for name, value in wanted.items():
        if name in NUMBERS[kind]:
            setattr(found, name, int(value) if name in _WHOLE else float(value))
    return merging.completed(found, WORKERS)


def run(
    wanted: Sequence[Cell], given: Mapping[str, float], setting: Setting, say: Callable[[str], None]
) -> Iterator[Row]:
    """Trains the cells one after the other on one thread, with a new object store for each rule. Raises LocalError."""
    policies = {(cell.rule, cell.bucketing): policy(cell.rule, cell.bucketing, given) for cell in wanted}
    torch.set_num_threads(1)
    done = 0
    for _, group in itertools.groupby(wanted, key=lambda cell: cell.rule):
        with merging.storing() as store:
            for cell in group:
                done += 1
                told = f"{done} of {len(wanted)}: {_told(cell)}"

                def progress(rounds: int, told: str = told) -> None:
                    say(f"{told}, round {rounds} of {setting.rounds}")

                try:
                    result = training.train(
                        store,
                        cell.name,
                        policies[cell.rule, cell.bucketing],
                        setting,
                        attack=cell.attack,
                        momentum=cell.momentum,
                        seed=cell.seed,
                        say=progress,
                    )
                except AggregatorError as error:
                    raise LocalError(f"{_told(cell)}: {error}") from error
                yield Row(cell, result.accuracy, result.success_rate)


def _told(cell: Cell) -> str:
    buckets = f", buckets of {cell.bucketing}" if cell.bucketing > 1 else ""
    return f"{cell.rule}{buckets}, momentum {cell.momentum:g}, {cell.attack}"


def table(rows: Sequence[Row]) -> Table:
    """A line for each rule, a column for each attack, accuracies in percent over all seeds."""
    attacks = list(dict.fromkeys(row.cell.attack for row in rows))
    found = Table("rule", "bucketing", "momentum", box=None)
    for attack in attacks:
        found.add_column(attack, justify="right")
    found.add_column("worst", justify="right")
    if "backdoor" in attacks:
        found.add_column("success", justify="right")
    for key in dict.fromkeys((row.cell.rule, row.cell.bucketing, row.cell.momentum) for row in rows):
        mine = [row for row in rows if (row.cell.rule, row.cell.bucketing, row.cell.momentum) == key]
        means = [_mean(row.accuracy for row in mine if row.cell.attack == attack) for attack in attacks]
        line = [key[0], str(key[1]), f"{key[2]:g}", *(f"{100 * mean:.1f}" for mean in means), f"{100 * min(means):.1f}"]
        if "backdoor" in attacks:
            line.append(f"{100 * _mean(row.success_rate for row in mine if row.cell.attack == 'backdoor'):.1f}")
        found.add_row(*line)
    return found


def _mean(values: Iterator[float]) -> float:
    found = list(values)
    return sum(found) / len(found)
