"""Where a running stack listens: DATA/endpoints.json, which the CLI and scripts read."""

import dataclasses
import json
from pathlib import Path

from trainnet.local.files import write_private

FILE = "endpoints.json"


@dataclasses.dataclass(frozen=True)
class Endpoints:
    grpc: str  # host:port
    nats: str  # nats://host:port
    s3: str  # http://host:port
    token: str = dataclasses.field(repr=False)  # the administrator's: lets the CLI do everything
    data_dir: str
    pids: dict[str, int] = dataclasses.field(default_factory=dict)

    def with_pids(self, pids: dict[str, int]) -> "Endpoints":
        return dataclasses.replace(self, pids=pids)

    def write(self) -> None:
        """Replaces the file; it names a token, so only its owner may read it."""
        write_private(Path(self.data_dir, FILE), json.dumps(dataclasses.asdict(self), indent=2) + "\n")

    def remove(self) -> None:
        Path(self.data_dir, FILE).unlink(missing_ok=True)


def read(data_dir: Path) -> Endpoints:
    """The endpoints of the stack that runs on this folder; FileNotFoundError when none does."""
    found = json.loads((data_dir / FILE).read_text(encoding="utf-8"))
    return Endpoints(**{field.name: found[field.name] for field in dataclasses.fields(Endpoints)})
