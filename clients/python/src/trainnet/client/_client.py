"""The client: one object that knows a coordinator."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from trainnet.client._config import resolve
from trainnet.client._datasets import Dataset, Datasets, TransferProgress
from trainnet.client._errors import DatasetFailed, FieldViolation, InvalidArgument, InvalidFile
from trainnet.client._hyperparameters import check_hyperparameters, nearest
from trainnet.client._jobs import Job, Jobs
from trainnet.client._models import Architecture, Worker
from trainnet.client._names import looks_like, resource
from trainnet.client._rpc import Connection, Retry
from trainnet.client._spec import job_spec
from trainnet.v1 import catalog_pb2, operator_pb2

_PAGE = 200


class Workers:
    """The workers of a coordinator."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def list(self) -> Iterator[Worker]:
        """All of them, newest first, a page at a time."""
        token = ""
        while True:
            request = operator_pb2.ListWorkersRequest(page_size=_PAGE, page_token=token)
            page = self._connection.call(self._connection.operator.ListWorkers, request)
            yield from map(Worker.of, page.workers)
            token = page.next_page_token
            if not token:
                return

    def get(self, name: str) -> Worker:
        """One by its name, with or without `workers/`. Raises NotFound."""
        request = operator_pb2.GetWorkerRequest(name=resource("workers", name))
        return Worker.of(self._connection.call(self._connection.operator.GetWorker, request).worker)


class Architectures:
    """The catalogue of a coordinator."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def list(self) -> list[Architecture]:
        """All of them, by name."""
        request = catalog_pb2.ListArchitecturesRequest()
        answer = self._connection.call(self._connection.catalog.ListArchitectures, request)
        return [Architecture.of(message) for message in answer.architectures]

    def get(self, name: str) -> Architecture:
        """One of them. Raises InvalidArgument, which names the nearest one."""
        found = {architecture.name: architecture for architecture in self.list()}
        if name not in found:
            raise InvalidArgument(
                f"architecture: there is no {name!r}",
                violations=(FieldViolation("spec.architecture", f"there is no {name!r}"),),
                hint=nearest(name, list(found), "there are"),
            )
        return found[name]


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

    def find_dataset(
        self,
        dataset_or_path: Dataset | str | PathLike[str] | None,
        *,
        label: str | None = None,
        progress: TransferProgress | None = None,
        watch: Callable[[Dataset], None] | None = None,
    ) -> Dataset | None:
        """The data set meant, READY: itself, one by name, or a file, which is uploaded. None stays None.

        Raises InvalidFile when a text is neither a file nor a data set's name, and when nothing can be learnt from the
        file (it is then deleted again); NotFound, DatasetFailed.
        """
        if dataset_or_path is None:
            return None
        if isinstance(dataset_or_path, Dataset):
            _no_label(label)
            return dataset_or_path.wait(watch=watch)
        path = Path(dataset_or_path)
        named = isinstance(dataset_or_path, str) and looks_like("datasets", dataset_or_path)
        if isinstance(dataset_or_path, str) and named and not path.is_file():
            _no_label(label)
            return self.datasets.get(dataset_or_path).wait(watch=watch)
        if not path.exists():
            raise InvalidFile(str(path), "no such file", hint="check the path, or name a data set as datasets/…")
        dataset = self.datasets.upload(path, label, progress=progress)
        try:
            return dataset.wait(watch=watch)
        except DatasetFailed as error:
            # Who named a file asked for no data set: one that is of no use must not be left behind.
            dataset.delete()
            raise InvalidFile(str(path), dataset.message or "cannot be used", hint=error.hint) from error

    def _check(self, name: str, hyperparameters: Mapping[str, Any], *, has_data: bool) -> None:
        found = self.architectures.get(name)
        check_hyperparameters(found, hyperparameters)
        if found.data == "none" and has_data:
            raise InvalidArgument(
                f"spec.dataset: {name} takes no data",
                violations=(FieldViolation("spec.dataset", f"{name} takes no data"),),
                hint="leave the data set out",
            )
        if found.data != "none" and not has_data:
            raise InvalidArgument(
                f"spec.dataset: {name} needs {found.data} data",
                violations=(FieldViolation("spec.dataset", f"{name} needs {found.data} data"),),
                hint="name a data set or a file",
            )

    def train(
        self,
        dataset_or_path: Dataset | str | PathLike[str] | None,
        architecture: str,
        *,
        rounds: int = 3,
        shards: int = 4,
        epochs: int = 1,
        hyperparameters: Mapping[str, Any] | None = None,
        pool: str = "trusted",
        seed: int = 0,
        holdout: float = 0.2,
        name: str | None = None,
        label: str | None = None,
        max_update_norm: float = 0.0,
        request_id: str | None = None,
        progress: TransferProgress | None = None,
        watch: Callable[[Dataset], None] | None = None,
    ) -> Job:
        """Starts a job; `wait` or `watch` it.

        The data are a Dataset, a data set's name, or a file, which is uploaded first (None for architectures without
        data). `pool="public"` lets strangers' workers see the shards. A `request_id` of one's own makes a repeat
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
            epochs=epochs,
            hyperparameters=hyperparameters or {},
            pool=pool,
            seed=seed,
            holdout=holdout,
            name=name,
            max_update_norm=max_update_norm,
        )
        self._check(architecture, hyperparameters or {}, has_data=dataset_or_path is not None)
        found = self.find_dataset(dataset_or_path, label=label, progress=progress, watch=watch)
        if found is not None:
            spec.dataset = found.name
            spec.display_name = name or Path(found.display_name).stem
        return self.jobs.create(spec, request_id=request_id or f"train-{secrets.token_hex(16)}")


def _no_label(label: str | None) -> None:
    """A data set was understood with its label when it was uploaded: another one must not be ignored silently."""
    if label is not None:
        message = "a data set keeps the label it was uploaded with"
        raise InvalidArgument(
            f"label: {message}",
            violations=(FieldViolation("label_column", message),),
            hint="upload the file again with the other label",
        )
