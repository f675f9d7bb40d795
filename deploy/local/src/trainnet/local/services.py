"""Our own services as programs: what each is told by its environment."""

import dataclasses
import sys
from collections.abc import Mapping
from pathlib import Path

from trainnet.local import nats_server, weed
from trainnet.local.files import private_folder
from trainnet.local.ports import HOST, Ports
from trainnet.local.program import Program
from trainnet.local.ready import FileWritten, GrpcServing
from trainnet.local.secrets import Secrets

COORDINATOR = "coordinator"


@dataclasses.dataclass(frozen=True)
class Services:
    """Makes the programs of one stack."""

    data_dir: Path
    ports: Ports
    secrets: Secrets
    keep_rounds: int
    threads: int
    log_level: str
    log_format: str
    # Further TRAINNET_* settings, for all services; they win.
    settings: Mapping[str, str]
    # URL of the coordinator's database; a SQLite file in the data folder when empty.
    database: str = ""

    @property
    def address(self) -> str:
        return f"{HOST}:{self.ports.grpc}"

    def coordinator(self) -> Program:
        secrets, nats = self.secrets, nats_server.url(self.ports.nats)
        return self._program(
            COORDINATOR,
            COORDINATOR,
            GrpcServing(HOST, self.ports.grpc),
            after=(nats_server.NAME, weed.NAME),
            stop_within=2.5,
            env={
                "TRAINNET_LISTEN": self.address,
                "TRAINNET_DATABASE_URL": self.database or f"sqlite:///{self.data_dir / 'coordinator.db'}",
                "TRAINNET_NATS_URL": nats,
                "TRAINNET_NATS_USER": "coordinator",
                "TRAINNET_NATS_PASSWORD": secrets.nats_coordinator_password,
                "TRAINNET_NATS_PUBLIC_URL": nats,
                "TRAINNET_NATS_CALLOUT_USER": "callout",
                "TRAINNET_NATS_CALLOUT_PASSWORD": secrets.nats_callout_password,
                "TRAINNET_NATS_CALLOUT_SEED": secrets.nats_callout_seed,
                **self._object_store(),
                "TRAINNET_ADMIN_TOKEN": secrets.admin_token,
                "TRAINNET_AGGREGATOR_TOKEN": secrets.aggregator_token,
                "TRAINNET_JOIN_TOKEN": secrets.join_token,
                "TRAINNET_KEEP_ROUNDS": str(self.keep_rounds),
            },
        )

    def aggregator(self, number: int) -> Program:
        name = f"aggregator-{number}"
        return self._follower(
            name,
            "aggregator",
            {
                "TRAINNET_NAME": name,
                "TRAINNET_AGGREGATOR_TOKEN": self.secrets.aggregator_token,
                **self._object_store(),
            },
        )

    def worker(self, number: int) -> Program:
        return self._follower(
            f"worker-{number}",
            "worker",
            {
                "TRAINNET_NAME": f"local-{number}",
                "TRAINNET_JOIN_TOKEN": self.secrets.join_token,
                "TRAINNET_DATA_DIR": str(private_folder(self.data_dir / "workers" / str(number))),
                "TRAINNET_SLOTS": "1",
                "TRAINNET_THREADS": str(self.threads),
                # Read by OpenMP and MKL when torch is loaded: without them every worker takes all cores.
                "OMP_NUM_THREADS": str(self.threads),
                "MKL_NUM_THREADS": str(self.threads),
            },
        )

    def _object_store(self) -> dict[str, str]:
        return {
            "TRAINNET_S3_ENDPOINT": f"{HOST}:{self.ports.s3}",
            "TRAINNET_S3_ACCESS_KEY": self.secrets.s3_access_key,
            "TRAINNET_S3_SECRET_KEY": self.secrets.s3_secret_key,
            "TRAINNET_S3_BUCKET": weed.BUCKET,
        }

    def _follower(self, name: str, service: str, env: Mapping[str, str]) -> Program:
        """A service that connects to the coordinator and says by a file that it has."""
        ready = private_folder(self.data_dir / "run") / f"{name}.ready"
        env = {"TRAINNET_COORDINATOR": self.address, "TRAINNET_READY_FILE": str(ready), **env}
        return self._program(name, service, FileWritten(ready), after=(COORDINATOR,), stop_within=4.0, env=env)

    def _program(
        self,
        name: str,
        service: str,
        readiness: FileWritten | GrpcServing,
        after: tuple[str, ...],
        stop_within: float,
        env: Mapping[str, str],
    ) -> Program:
        logging = {"TRAINNET_LOG_LEVEL": self.log_level, "TRAINNET_LOG_FORMAT": self.log_format}
        return Program(
            name=name,
            command=(sys.executable, "-m", f"trainnet.{service}"),
            readiness=readiness,
            cwd=self.data_dir,
            env={**logging, **env, **self.settings},
            after=after,
            stop_within=stop_within,
        )
