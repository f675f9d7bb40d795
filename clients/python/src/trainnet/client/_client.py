"""The client: one object that knows a coordinator."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from datetime import timedelta
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from trainnet.client._architectures import Architecture, Architectures
from trainnet.client._bases import Model, Models, bad_base, check_weights, named_base
from trainnet.client._config import resolve
from trainnet.client._datasets import Dataset, Datasets, TransferProgress
from trainnet.client._errors import DatasetFailed, FieldViolation, InvalidArgument, InvalidFile
from trainnet.client._folders import model_files
from trainnet.client._hyperparameters import check_hyperparameters
from trainnet.client._jobs import Job, Jobs
from trainnet.client._merging import merge_policy
from trainnet.client._names import looks_like
from trainnet.client._participation import base_codec as base_codec_kind
from trainnet.client._participation import codec as codec_message
from trainnet.client._participation import participation
from trainnet.client._rpc import Connection, Retry
from trainnet.client._spec import job_spec
from trainnet.client._workers import Workers
from trainnet.v1 import task_pb2


class Client:
    """A coordinator, typed and synchronous. Threads may share it; close it, or use it as a context manager.

    `address` is `host:port`, or `https://host:port` for TLS. What is not given comes from TRAINNET_COORDINATOR and
    TRAINNET_TOKEN, else from the `endpoints.json` that `trainnet up` writes. Nothing is sent before the first call, and
    every call has a deadline and is repeated while the coordinator is away, as `retry` says.
    Raises ConfigurationError.
    """

    def __init__(self, address: str | None = None, token: str | None = None, *, retry: Retry | None = None) -> None:
        self._connection = Connection(resolve(address, token), retry or Retry())
        self.datasets = Datasets(self._connection)
        self.models = Models(self._connection)
        self.jobs = Jobs(self._connection)
        self.workers = Workers(self._connection)
        self.architectures = Architectures(self._connection)

    @property
    def address(self) -> str:
        """`host:port` of the coordinator."""
        return self._connection.address

    def close(self) -> None:
        """Closes the channel."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def catalog(self) -> list[Architecture]:
        """Every architecture: its task, the data it takes, its sizes and its hyperparameters."""
        return self.architectures.list()

    def upload_dataset(
        self,
        path: str | PathLike[str],
        label: str | None = None,
        name: str | None = None,
        *,
        format: str | None = None,  # noqa: A002 - the word people use for it
        kinds: Mapping[str, str] | None = None,
        split_column: str | None = None,
        progress: TransferProgress | None = None,
    ) -> Dataset:
        """The same as `datasets.upload`: a file, or a folder of class folders; `wait` on the answer."""
        return self.datasets.upload(path, label, name, format, progress, kinds=kinds, split_column=split_column)

    def upload_model(
        self, path: str | PathLike[str], name: str | None = None, *, progress: TransferProgress | None = None
    ) -> Model:
        """The same as `models.upload`: a .safetensors file, or a folder as transformers saves it."""
        return self.models.upload(path, name, progress)

    def find_dataset(
        self,
        dataset_or_path: Dataset | str | PathLike[str] | None,
        *,
        label: str | None = None,
        kinds: Mapping[str, str] | None = None,
        split_column: str | None = None,
        format: str | None = None,  # noqa: A002 - the word people use for it
        progress: TransferProgress | None = None,
        watch: Callable[[Dataset], None] | None = None,
    ) -> Dataset | None:
        """The data set meant, READY: itself, one by name, or a file or a folder, which is uploaded. None stays None.

        How it is read (`label`, `kinds`, `split_column`, `format`, as for `datasets.upload`) can be said of what is
        uploaded only: else InvalidArgument.
        Raises InvalidFile when a text is neither a file nor a data set's name, and when nothing can be learnt from the
        file (it is then deleted again); NotFound, DatasetFailed.
        """
        asked = {"label": label, "kinds": kinds or None, "split_column": split_column, "format": format}
        if dataset_or_path is None:
            _as_it_is(asked, "there are no data to read")
            return None
        if isinstance(dataset_or_path, Dataset):
            _as_it_is(asked, _UPLOADED)
            return dataset_or_path.wait(watch=watch)
        path = Path(dataset_or_path)
        named = isinstance(dataset_or_path, str) and looks_like("datasets", dataset_or_path)
        if isinstance(dataset_or_path, str) and named and not path.exists():
            _as_it_is(asked, _UPLOADED)
            return self.datasets.get(dataset_or_path).wait(watch=watch)
        if not path.exists():
            raise InvalidFile(str(path), "no such file", hint="check the path, or name a data set as datasets/…")
        dataset = self.datasets.upload(
            path, label, format=format, kinds=kinds, split_column=split_column, progress=progress
        )
        try:
            return dataset.wait(watch=watch)
        except DatasetFailed as error:
            # Who named a file asked for no data set: one that is of no use must not be left behind.
            dataset.delete()
            raise InvalidFile(
                str(path),
                dataset.message or "cannot be used",
                hint="mend it, or say how to read it: --label, --kind, --split-column; label=, kinds=, split_column=",
            ) from error

    def _check(self, name: str, hyperparameters: Mapping[str, Any], *, has_data: bool, has_base: bool) -> None:
        found = self.architectures.get(name)
        check_hyperparameters(found, hyperparameters)
        if found.data == "none" and has_data:
            raise _refused("spec.dataset", f"{name} takes no data", "leave the data set out")
        if found.data != "none" and not has_data:
            raise _refused("spec.dataset", f"{name} needs {found.data} data", "name a data set or a file")
        if has_base and not found.takes_base:
            raise _refused("spec.base", f"{name} starts from scratch only", "leave the base out")

    def _base(
        self, base: Job | Model | str | PathLike[str] | None, progress: TransferProgress | None
    ) -> Callable[[], task_pb2.BaseModel | None]:
        """What names the base in a job; where it is a file or a folder, calling it uploads that. Raises InvalidArgument
        and InvalidFile at once."""
        if base is None:
            return lambda: None
        if isinstance(base, Job):
            return lambda: task_pb2.BaseModel(job=base.name)
        if isinstance(base, Model):
            return lambda: task_pb2.BaseModel(model=base.name)
        named = named_base(base) if isinstance(base, str) else None
        if named is not None:
            return lambda: named
        path = Path(base)
        if not path.exists():
            raise bad_base(
                f"there is no file or folder {str(path)!r}",
                "name jobs/…, models/…, hub:owner/name, a .safetensors file or a model's folder",
            )
        if path.is_dir():
            model_files(path)
        else:
            check_weights(path)
        return lambda: task_pb2.BaseModel(model=self.models.upload(path, progress=progress).name)

    def train(
        self,
        dataset_or_path: Dataset | str | PathLike[str] | None,
        architecture: str,
        *,
        rounds: int = 3,
        shards: int = 4,
        epochs: int | None = None,
        hyperparameters: Mapping[str, Any] | None = None,
        pool: str = "trusted",
        seed: int = 0,
        holdout: float = 0.2,
        name: str | None = None,
        label: str | None = None,
        kinds: Mapping[str, str] | None = None,
        split_column: str | None = None,
        format: str | None = None,  # noqa: A002 - the word people use for it
        merge: str = "fedavg",
        merge_settings: Mapping[str, float] | None = None,
        rule: str | None = None,
        max_update_norm: float = 0.0,
        codec: str = "fp32",
        codec_settings: Mapping[str, float] | None = None,
        base_codec: str = "fp32",
        sample: int | None = None,
        quorum: int | None = None,
        deadline: float | timedelta | None = None,
        backup_after: float | None = None,
        buffer: int | None = None,
        max_staleness: int | None = None,
        keep_optimizer: bool = False,
        base: Job | Model | str | PathLike[str] | None = None,
        local_steps: int | None = None,
        split: str = "iid",
        alpha: float | None = None,
        request_id: str | None = None,
        progress: TransferProgress | None = None,
        watch: Callable[[Dataset], None] | None = None,
    ) -> Job:
        """Starts a job; `wait` or `watch` it.

        The data are a Dataset, a data set's name, or a file or a folder (None for architectures without data). A file
        or a folder is uploaded first, and read as `label`, `kinds`, `split_column` and `format` say: see
        `datasets.upload`. `base` is what to start from in place of scratch: a Job or `jobs/…`, a Model or
        `models/…`, a name on the hub as `hub:owner/name[@revision]`, or a .safetensors file or a model's folder, which
        is uploaded first.
        In each round a worker makes `epochs` passes over its shard (1 where None), or `local_steps` optimiser steps.
        `split` deals the rows: `iid`, `stratified`, or `dirichlet` with its concentration `alpha` (0.5 where None).
        `merge` is how the updates of a round become one model: `fedavg`, `fedavgm`, `diloco`, `fedadam`, `fedyogi`,
        `fedadagrad`, or the preset `robust`; `rule` is what they become before that: `mean`, or `median`,
        `trimmed_mean`, `krum`, `geometric_median` or `centered_clipping`, which bear harmful ones. `merge_settings` are
        the numbers of both where they differ from the defaults, which docs/merging.md lists. An update longer than
        `max_update_norm` is rejected (0: 1000 on the public pool, no bound on the trusted one).
        `codec` is how updates travel: `fp32`, `bf16`, `int8` or `topk`, with its `codec_settings`; `base_codec` is how
        the weights travel to the workers from the second round on: `fp32`, or `bf16` for half the bytes. A round trains
        `sample` shards (all where None), and closes with `quorum` accepted ones once `deadline` (seconds) is over, or
        once all other shards were given up; a shard that takes `backup_after` times the median goes to a second worker
        too. With a `buffer` a round closes with that many updates instead, and what comes later counts in a later
        round, the staler the less, up to `max_staleness` rounds (10 where None). With `keep_optimizer` workers keep the
        state of their optimiser from round to round.
        `pool="public"` lets strangers' workers see the shards. A `request_id` of one's own makes a repeat
        answer the same job. `progress` is told of the upload, `watch` sees the data set while it is
        prepared. What can be told wrong is told before anything is uploaded: InvalidArgument names the
        field. Without a `name` the job is called like its data. Raises also NotFound, DatasetFailed, and what
        `find_dataset` and `datasets.upload` raise.
        """
        spec = job_spec(
            dataset="",
            architecture=architecture,
            rounds=rounds,
            shards=shards,
            epochs=_passes(epochs, local_steps),
            hyperparameters=hyperparameters or {},
            pool=pool,
            seed=seed,
            holdout=holdout,
            name=name,
            merge=merge_policy(merge, merge_settings or {}, max_update_norm, rule),
            local_steps=local_steps or 0,
            split=split,
            alpha=alpha,
            participation=participation(sample, quorum, deadline, backup_after, buffer, max_staleness),
            codec=codec_message(codec, codec_settings or {}),
            keep_optimizer=keep_optimizer,
            base_codec=base_codec_kind(base_codec),
        )
        self._check(
            architecture, hyperparameters or {}, has_data=dataset_or_path is not None, has_base=base is not None
        )
        start = self._base(base, progress)
        found = self.find_dataset(
            dataset_or_path,
            label=label,
            kinds=kinds,
            split_column=split_column,
            format=format,
            progress=progress,
            watch=watch,
        )
        if found is not None:
            spec.dataset = found.name
            spec.display_name = name or Path(found.display_name).stem
        beginning = start()
        if beginning is not None:
            spec.base.CopyFrom(beginning)
        return self.jobs.create(spec, request_id=request_id or f"train-{secrets.token_hex(16)}")


def _passes(epochs: int | None, local_steps: int | None) -> int:
    """Epochs as the contract wants them: 0 beside local steps."""
    if local_steps is None:
        if epochs is not None and epochs < 1:
            raise _refused("spec.epochs", f"{epochs} is less than 1", "leave it out for one pass over each shard")
        return 1 if epochs is None else epochs
    if local_steps < 1:
        raise _refused("spec.local_steps", f"{local_steps} is less than 1", "leave it out to train whole epochs")
    if epochs is not None:
        raise _refused("spec.local_steps", "stands in place of epochs", "give one of the two")
    return 0


_UPLOADED = "a data set is read as was said when it was uploaded"


def _as_it_is(asked: Mapping[str, object], why: str) -> None:
    """Raises InvalidArgument where somebody says how to read what is not uploaded now: it must not be ignored."""
    said = next((name for name, value in asked.items() if value is not None), None)
    if said is not None:
        hint = f"leave {said} out; `trainnet datasets edit`, or Dataset.update, has data read anew"
        raise InvalidArgument(f"{said}: {why}", violations=(FieldViolation(said, why),), hint=hint)


def _refused(field: str, message: str, hint: str) -> InvalidArgument:
    return InvalidArgument(f"{field}: {message}", violations=(FieldViolation(field, message),), hint=hint)
