"""Trains every case through the CLI on a local stack, and beside it on one machine; writes docs/real-data.md.

PYTHONPATH=tools python -m real_data --work FOLDER [--only NAME]... [--table docs/real-data.md]
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from google.protobuf import json_format

from real_data.alone import train_alone
from real_data.cases import CASES, WORKERS, Case
from real_data.sources import Missing, make_all
from trainnet.local.stack import LocalStack
from trainnet.v1.dataset_pb2 import (
    DATASET_FORMAT_CSV,
    DATASET_FORMAT_PARQUET,
    DATASET_FORMAT_TEXT,
    DATASET_FORMAT_ZIP,
    SHARD_KIND_IID,
    DatasetFormat,
    ShardPlan,
)
from trainnet.v1.task_pb2 import BaseModel, InitializeSpec, InspectSpec, ModelSpec

FORMATS: dict[str, DatasetFormat] = {
    ".csv": DATASET_FORMAT_CSV,
    ".parquet": DATASET_FORMAT_PARQUET,
    ".txt": DATASET_FORMAT_TEXT,
    ".zip": DATASET_FORMAT_ZIP,
}
METRICS = ("accuracy", "perplexity", "word_error_rate")
HEAD = """\
# Real data

Each line was trained by the command below it, through the CLI, on `trainnet up --workers {workers}` (all on one machine
of {cores} cores), and beside it by a plain loop on the same machine without TrainNet: the same model, rows, settings
and number of examples seen. Metrics are on the held-out rows. Wall times take in everything from the command's start,
the preparation of the data with them; the plain loop's are its training alone, on one thread as each worker has. Made
by `make real-data`; where the data come from stands in `tools/real_data/sources.py`.

| data | model | metric | TrainNet | one machine | wall | plain loop | |
|---|---|---|---|---|---|---|---|
"""


class Runner:
    """Runs the CLI against one stack and keeps what each case gave."""

    def __init__(self, stack: LocalStack, data: Path, work: Path) -> None:
        self._data, self._work = data, work
        self._env = {
            **os.environ,
            "TRAINNET_COORDINATOR": stack.endpoints.grpc,
            "TRAINNET_TOKEN": stack.endpoints.token,
        }
        self._datasets: dict[tuple[str, str], str] = {}
        self.jobs: dict[str, str] = {}

    def run(self, case: Case) -> dict[str, Any]:
        """Uploads, trains, downloads, verifies, and trains alone."""
        dataset = self._dataset(case)
        base = self.jobs.get(case.base, str(self._data / case.base) if case.base else "")
        arguments = ["train", dataset, *case.arguments(base), "--wait", "--json"]
        done = self._json(*arguments)
        job = str(done["job"])
        self.jobs[case.name] = job
        shown = self._json("jobs", "show", job, "--json")
        folder = self._model(case.name)
        self._call("jobs", "download", job, "--to", str(folder), "--force")
        self._call("jobs", "verify", job)
        alone = self._alone(case, shown)
        metric = next(name for name in METRICS if name in done["metrics"])
        command = ["trainnet", "train", case.file, *case.arguments(case.base)]
        return {
            "name": case.name,
            "architecture": case.architecture,
            "metric": metric,
            "before": shown.get("initial_metrics", {}).get(metric),
            "trainnet": done["metrics"][metric],
            "alone": alone.metrics[metric],
            "wall_s": done["wall_s"],
            "alone_s": alone.seconds,
            "command": shlex.join(command),
            "remark": case.remark,
        }

    def _model(self, case: str) -> Path:
        return self._work / "models" / case.replace(" ", "-").replace(",", "")

    def _dataset(self, case: Case) -> str:
        key = (case.file, case.label)
        if key not in self._datasets:
            label = ["--label", case.label] if case.label else []
            self._datasets[key] = str(
                self._json("datasets", "upload", str(self._data / case.file), *label, "--json")["dataset"]
            )
        return self._datasets[key]

    def _alone(self, case: Case, shown: Mapping[str, Any]) -> Any:
        model = ModelSpec(architecture=case.architecture)
        json_format.ParseDict(shown["hyperparameters"], model.hyperparameters)
        plan = ShardPlan(kind=SHARD_KIND_IID, shards=1, holdout_fraction=case.holdout, seed=1)
        examples = sum(entry["examples"] for entry in shown["rounds"][-1]["manifest"])
        per_round = (
            case.local_steps * case.shards * int(shown["hyperparameters"]["batch_size"])
            if case.local_steps
            else (case.epochs or 1) * examples
        )
        start, inputs = InitializeSpec(seed=1), {}
        if case.base:
            folder = self._data / case.base
            if case.base in self.jobs:
                folder = self._model(case.base)
            start.base.CopyFrom(BaseModel(model="models/base"))
            inputs["base_weights"] = _zipped(folder, self._work / "base.zip")
        return train_alone(
            InspectSpec(format=FORMATS[Path(case.file).suffix], label_column=case.label),
            self._data / case.file,
            plan,
            model,
            start,
            inputs,
            examples_to_see=case.rounds * per_round,
            folder=self._work / "alone" / case.name.replace(" ", "-"),
        )

    def _json(self, *arguments: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self._call(*arguments))
        return found

    def _call(self, *arguments: str) -> str:
        command = [str(Path(sys.executable).with_name("trainnet")), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, env=self._env, check=False, timeout=3600)
        if done.returncode:
            raise SystemExit(f"{shlex.join(['trainnet', *arguments])}\n{done.stdout}{done.stderr}")
        return done.stdout


def _zipped(folder: Path, target: Path) -> Path:
    wanted = (".json", ".safetensors", ".txt")
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as file:
        for path in sorted(folder.iterdir()):
            if path.suffix in wanted:
                file.write(path, path.name)
    return target


def table(results: list[dict[str, Any]]) -> str:
    """The page."""
    lines, commands = [], []
    for found in results:
        before = f"{found['before']:.3f} → " if found["before"] is not None else ""
        lines.append(
            f"| {found['name']} | `{found['architecture']}` | {found['metric'].replace('_', ' ')} | "
            f"{before}{found['trainnet']:.3f} | {found['alone']:.3f} | {found['wall_s']:.0f} s | "
            f"{found['alone_s']:.0f} s | {found['remark']} |"
        )
        commands.append(f"    # {found['name']}\n    {found['command']}\n")
    head = HEAD.format(workers=WORKERS, cores=os.cpu_count())
    return head + "\n".join(lines) + "\n\n## Commands\n\n" + "\n".join(commands)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m real_data", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--work", type=Path, required=True, help="folder for data, models and the stack")
    parser.add_argument("--only", action="append", default=[], help="a case's name; may be repeated")
    parser.add_argument("--table", type=Path, help="file to write the table to")
    options = parser.parse_args()
    cases = [case for case in CASES if not options.only or case.name in options.only]
    work = options.work.absolute()
    try:
        for name in make_all(work / "data", {name for case in cases for name in (case.file, case.base)}):
            print(f"made {name}", flush=True)
    except Missing as error:
        raise SystemExit(str(error)) from None
    results = []
    with LocalStack(work / "stack", workers=WORKERS) as stack:
        runner = Runner(stack, work / "data", work)
        for case in cases:
            found = runner.run(case)
            print(json.dumps(found), flush=True)
            results.append(found)
            if options.table:
                options.table.write_text(table(results), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
