"""Who lends machines."""

from __future__ import annotations

from collections.abc import Iterator

from trainnet.client._models import Worker
from trainnet.client._names import resource
from trainnet.client._rpc import Connection
from trainnet.v1 import operator_pb2

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
