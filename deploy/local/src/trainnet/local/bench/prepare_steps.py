"""The steps of `trainnet bench prepare`, each in a process of its own, so that each has a peak of memory of its own.

    python -m trainnet.local.bench.prepare_steps STEP FOLDER FORMAT ROWS SHARDS

answers with one JSON object. `generate` writes the file and inspects it, `bare` is what pyarrow alone takes to read it
and write it again, `prepare` is the worker's own function.
"""

import json
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from trainnet.v1.dataset_pb2 import DATASET_FORMAT_CSV, DATASET_FORMAT_PARQUET, SHARD_KIND_IID, DataSchema, ShardPlan
from trainnet.v1.task_pb2 import InspectSpec, PrepareSpec
from trainnet.worker.trainer.context import TaskContext
from trainnet.worker.trainer.data.dealing import writer_options
from trainnet.worker.trainer.data.inspect import inspect
from trainnet.worker.trainer.data.prepare import prepare

GROUP_ROWS = 100_000
FORMATS = {"parquet": DATASET_FORMAT_PARQUET, "csv": DATASET_FORMAT_CSV}
_CITIES = [f"city of {letter}{number}" for letter in "abcdefgh" for number in range(8)]


def generate(folder: Path, form: str, rows: int, _shards: int) -> dict[str, Any]:
    """A table of measurements, amounts, counts with gaps, categories and a label of ten classes."""
    path = folder / f"source.{form}"
    random = np.random.default_rng(1)
    first = _batch(random, min(rows, GROUP_ROWS))
    writer = (
        pq.ParquetWriter(path, first.schema, compression="zstd")
        if form == "parquet"
        else pa_csv.CSVWriter(path, first.schema)
    )
    with writer:
        for start in range(0, rows, GROUP_ROWS):
            writer.write_batch(_batch(random, min(GROUP_ROWS, rows - start)) if start else first)
    started = time.perf_counter()
    result = inspect(InspectSpec(format=FORMATS[form]), _context(folder, form, folder / "inspected"))
    (folder / "schema").write_bytes(result.inspect.schema.SerializeToString())
    return {"seconds": time.perf_counter() - started, "source_bytes": path.stat().st_size}


def _batch(random: np.random.Generator, rows: int) -> pa.RecordBatch:
    label = random.integers(0, 10, rows)
    measured = {f"measure_{index}": random.normal(label, 2.0, rows) for index in range(3)}
    amounts = {f"amount_{index}": np.round(random.lognormal(3.0, 1.0, rows), 2) for index in range(3)}
    gaps = random.random(rows) < 0.05
    return pa.RecordBatch.from_pydict(
        {
            **measured,
            **amounts,
            "age": random.integers(18, 90, rows),
            "visits": pa.array(random.poisson(3.0, rows), mask=gaps),
            "city": pa.array(_CITIES).take(pa.array(random.integers(0, len(_CITIES), rows))),
            "device": pa.array(["phone", "tablet", "laptop", None]).take(pa.array(random.integers(0, 4, rows))),
            "label": pa.array([f"class {index}" for index in range(10)]).take(pa.array(label)),
        }
    )


def bare(folder: Path, form: str, rows: int, _shards: int) -> dict[str, Any]:
    """Reads with all of pyarrow's threads and writes as shards are written: the same codec, the source's row groups."""
    source, target = folder / f"source.{form}", folder / "bare.parquet"
    started = time.perf_counter()
    if form == "parquet":
        with (
            pq.ParquetFile(source) as file,
            pq.ParquetWriter(target, file.schema_arrow, **_options(file.schema_arrow)) as out,
        ):
            for group in range(file.num_row_groups):
                out.write_table(file.read_row_group(group))
    else:
        with (
            pa_csv.open_csv(source) as reader,
            pq.ParquetWriter(target, reader.schema, **_options(reader.schema)) as out,
        ):
            waiting: list[pa.RecordBatch] = []
            for batch in reader:
                waiting.append(batch)
                if sum(part.num_rows for part in waiting) >= GROUP_ROWS:
                    out.write_table(pa.Table.from_batches(waiting))
                    waiting.clear()
            if waiting:
                out.write_table(pa.Table.from_batches(waiting))
    seconds = time.perf_counter() - started
    assert pq.read_metadata(target).num_rows == rows
    target.unlink()
    return {"seconds": seconds}


def _options(schema: pa.Schema) -> dict[str, Any]:
    texts = [field.name for field in schema if pa.types.is_string(field.type)]
    return {**writer_options(schema), "use_dictionary": texts}


def prepare_it(folder: Path, form: str, _rows: int, shards: int) -> dict[str, Any]:
    """PREPARE, with the digests that its uploads declare."""
    schema = DataSchema.FromString((folder / "schema").read_bytes())
    plan = ShardPlan(kind=SHARD_KIND_IID, shards=shards, holdout_fraction=0.1, seed=1)
    out = folder / "prepared"
    context = _context(folder, form, out)
    started = time.perf_counter()
    result = prepare(PrepareSpec(format=FORMATS[form], schema=schema, plan=plan), context)
    seconds = time.perf_counter() - started
    done = sum(result.prepare.shard_rows) + result.prepare.holdout_rows
    shutil.rmtree(out)
    return {"seconds": seconds, "rows": done}


def _context(folder: Path, form: str, out: Path) -> TaskContext:
    out.mkdir()
    return TaskContext({"source": folder / f"source.{form}"}, out, on_progress=lambda _: None, on_output=lambda _: None)


def _peak_rss_bytes() -> int:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM:"))


def main() -> None:
    """Runs one step."""
    step, folder, form, rows, shards = sys.argv[1:]
    steps = {"generate": generate, "bare": bare, "prepare": prepare_it}
    result = steps[step](Path(folder), form, int(rows), int(shards))
    print(json.dumps({**result, "peak_rss_bytes": _peak_rss_bytes()}))


if __name__ == "__main__":
    main()
