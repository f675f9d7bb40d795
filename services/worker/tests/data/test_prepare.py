from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from trainnet.runtime.digest import file_digests
from trainnet.v1.dataset_pb2 import ShardPlan
from trainnet.worker.errors import TaskError
from trainnet.worker.protocol import PART_SIZE
from trainnet.worker.trainer.data.permutation import Permutation


def rows_of(outputs: dict[str, Any]) -> dict[str, list[tuple[Any, ...]]]:
    tables = {name: pq.read_table(output.path) for name, output in outputs.items()}
    return {
        name: list(zip(*(column.to_pylist() for column in table.columns), strict=True))
        for name, table in tables.items()
    }


def test_every_row_is_in_exactly_one_place(tasks: Any, iris_csv: Path) -> None:
    _, result, outputs = tasks.prepare(iris_csv, shards=7)
    found = rows_of(outputs)
    assert result.holdout_rows == 30 == len(found["holdout"])
    assert list(result.shard_rows) == [len(found[f"shard-{index}"]) for index in range(7)]
    assert max(result.shard_rows) - min(result.shard_rows) <= 1
    everything = sorted(row for rows in found.values() for row in rows)
    table = [line.split(",") for line in iris_csv.read_text().splitlines()[1:]]
    assert everything == sorted((*map(float, row[:-1]), row[-1]) for row in table)


def test_the_same_plan_gives_the_same_bytes_and_another_seed_does_not(tasks: Any, iris_csv: Path) -> None:
    def digests(seed: int) -> dict[str, Any]:
        _, _, outputs = tasks.prepare(iris_csv, shards=3, seed=seed)
        for output in outputs.values():
            assert file_digests(output.path, PART_SIZE).parts == output.part_sha256
        return {name: output.part_sha256 for name, output in outputs.items()}

    first = digests(1)
    assert digests(1) == first
    assert not set(digests(2).values()) & set(first.values())


def test_without_a_holdout(tasks: Any, iris_csv: Path) -> None:
    _, result, outputs = tasks.prepare(iris_csv, shards=2, holdout=0)
    assert sorted(outputs) == ["shard-0", "shard-1"]
    assert list(result.shard_rows) == [75, 75]
    assert result.holdout_rows == 0


def test_more_shards_than_files_open_at_once(tasks: Any, digits_parquet: Path) -> None:
    _, result, outputs = tasks.prepare(digits_parquet, shards=300)
    assert len(outputs) == 301
    assert set(result.shard_rows) == {4, 5}
    found = rows_of(outputs)
    images = sorted(row for rows in found.values() for row in rows)
    table = pq.read_table(digits_parquet)
    labels = map(str, table.column("label").to_pylist())
    assert images == sorted(zip(table.column("image").to_pylist(), labels, strict=True))
    folder = outputs["holdout"].path.parent
    assert not [path for path in folder.iterdir() if path.suffix == ".arrow"]


def test_more_shards_than_rows(tasks: Any, iris_csv: Path) -> None:
    with pytest.raises(TaskError, match="121 shards are more than the 120 rows that are left after 30 were held out"):
        tasks.prepare(iris_csv, shards=121)
    _, result, _ = tasks.prepare(iris_csv, shards=120)
    assert set(result.shard_rows) == {1}


def test_what_a_model_does_not_use_stays_with_the_owner(tasks: Any, tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    count = 40
    table = {"id": range(count), "name": [f"person {row} of the secret list" for row in range(count)]}
    pq.write_table(pa.table({**table, "x": np.arange(count) / 3, "y": [row % 2 == 0 for row in range(count)]}), path)
    _, _, outputs = tasks.prepare(path, shards=1)
    shard = pq.read_table(outputs["shard-0"].path)
    assert shard.column_names == ["name", "x", "y"]
    assert set(shard.column("y").to_pylist()) == {"true", "false"}


@pytest.mark.parametrize("n", [1, 2, 3, 10, 150, 4096, 100_003])
def test_ranks_are_a_permutation(n: int) -> None:
    ranks = Permutation(n, 7).ranks(np.arange(n, dtype=np.uint64))
    assert sorted(ranks.tolist()) == list(range(n))
    if n > 1000:
        assert abs(np.corrcoef(np.arange(n), ranks.astype(float))[0, 1]) < 0.05
        # Neighbours are dealt to any two of ten shards alike.
        shards = (ranks % np.uint64(10)).astype(int)
        pairs = np.bincount(shards[:-1] * 10 + shards[1:], minlength=100)
        assert pairs.min() > 0.5 * n / 100


def test_a_file_that_changed_since_its_inspection(tasks: Any, tmp_path: Path, iris_csv: Path) -> None:
    schema = tasks.inspect(iris_csv)
    lines = iris_csv.read_text().splitlines()
    shorter, longer = tmp_path / "shorter.csv", tmp_path / "longer.csv"
    shorter.write_text("\n".join(lines[:-5]))
    longer.write_text("\n".join([*lines, *lines[-5:]]))
    with pytest.raises(TaskError, match="the file has 145 rows, 150 were inspected"):
        tasks.cut(shorter, schema, ShardPlan(shards=2))
    with pytest.raises(TaskError, match="the file has more rows than were inspected"):
        tasks.cut(longer, schema, ShardPlan(shards=2))
