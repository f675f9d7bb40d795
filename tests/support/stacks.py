"""The whole of TrainNet on this machine, with times so short that what heals by time heals within a test."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.support.rows import Rows
from tests.support.until import until_equal
from trainnet.client import Client, Retry
from trainnet.local.program import RestartPolicy
from trainnet.local.stack import LocalStack
from trainnet.runtime.presign import Credentials
from trainnet.runtime.store import ObjectStore

SHORT = {
    "TRAINNET_LEASE_TTL": "3",
    "TRAINNET_HEARTBEAT_INTERVAL": "0.5",
    "TRAINNET_CLAIM_TTL": "3",
    "TRAINNET_ACCEPT_TTL": "3",
}
KEEP_ROUNDS = 50
"""Nothing is collected while a test still wants to verify it."""


class Stack:
    """A running stack and what a test wants to have at hand."""

    def __init__(self, local: LocalStack, database: str = "") -> None:
        self.local = local
        self.rows = Rows(local.data_dir, database)
        self.client = Client(local.endpoints.grpc, local.endpoints.token, retry=Retry(budget=60.0))
        assert local.secrets is not None
        secrets = local.secrets
        self.store = ObjectStore(
            Credentials(secrets.s3_access_key, secrets.s3_secret_key),
            endpoint=local.endpoints.s3.removeprefix("http://"),
        )

    def children(self, prefix: str) -> list[str]:
        return [name for name in self.local.names if name.startswith(prefix)]

    def worker_of(self, holder: str) -> str:
        """Name of the child that is the worker `holder`."""
        found = self.rows.one("SELECT display_name FROM workers WHERE id = ?", holder)
        assert found is not None, f"nobody is registered as {holder}"
        return f"worker-{str(found['display_name']).removeprefix('local-')}"

    def wait_healthy(self) -> None:
        """Every child runs and is ready, and every worker has a session."""
        for name in self.local.names:
            self.local.wait_ready(name)
        workers = len(self.children("worker-"))
        until_equal(
            lambda: sum(worker.online for worker in self.client.workers.list()), workers, "the number of workers online"
        )

    def log(self, child: str) -> str:
        return self.local.log(child).read_text(encoding="utf-8", errors="replace")

    def close(self) -> None:
        self.client.close()
        self.store.close()


@contextmanager
def running(
    folder: Path,
    *,
    workers: int = 3,
    aggregators: int = 1,
    keep_rounds: int = KEEP_ROUNDS,
    settings: Mapping[str, str] | None = None,
    database: str = "",
    kind: type[LocalStack] = LocalStack,
    graceful: bool = False,
) -> Iterator[Stack]:
    """A stack until the block ends; its end is `graceful`, or else a kill of all, which takes no time."""
    local = kind(
        folder,
        workers=workers,
        aggregators=aggregators,
        keep_rounds=keep_rounds,
        database=database,
        settings={**SHORT, **(settings or {})},
        log_level="debug",
    )
    # Tests kill the same child more often than a sound one dies.
    local.restart_policy = RestartPolicy(first=0.05, longest=0.5)
    with local:
        stack = Stack(local, database)
        try:
            yield stack
        finally:
            stack.close()
            if not graceful:
                local.kill_all()
