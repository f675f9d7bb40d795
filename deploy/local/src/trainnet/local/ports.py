"""The ports of a local stack: fixed by option, else those of its last start, else free ones."""

import dataclasses
import json
import random
import socket
from pathlib import Path

from trainnet.local.errors import LocalError, PortInUse
from trainnet.local.files import write_private

HOST = "127.0.0.1"
FIRST = 10_000


@dataclasses.dataclass(frozen=True)
class Ports:
    grpc: int
    nats: int
    s3: int
    # The object store's inner parts; each speaks HTTP and gRPC.
    s3_grpc: int
    master: int
    master_grpc: int
    volume: int
    volume_grpc: int
    filer: int
    filer_grpc: int
    admin: int
    admin_grpc: int


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        # As servers do: a port in TIME_WAIT after a restart is free, one that somebody listens on is not.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def last_listening_port() -> int:
    """The last port below those that the kernel gives to outgoing connections.

    A server there keeps its port while it restarts: no client's outgoing connection can take it, and no client that
    tries to reconnect can be connected to itself, as happens on loopback inside the ephemeral range.
    """
    try:
        first_ephemeral = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text(encoding="ascii").split()[0])
    except (OSError, ValueError, IndexError):
        first_ephemeral = 32_768
    return first_ephemeral - 1 if first_ephemeral > FIRST + 1_000 else 65_535


def choose(data_dir: Path, fixed: dict[str, int | None] | None = None) -> Ports:
    """Ports for a stack on this data folder.

    `fixed` maps names of Ports to numbers that somebody insists on; None means no wish.
    Raises PortInUse when such a port is taken.
    """
    path = data_dir / "ports.json"  # so that a stack that is started again listens where it did
    wishes = {name: port for name, port in (fixed or {}).items() if port is not None}
    remembered = recall(path)
    last = last_listening_port()
    chosen: dict[str, int] = {}
    for name, port in wishes.items():
        if not is_free(port) or port in chosen.values():
            raise PortInUse(f"--{name}-port", port)
        chosen[name] = port
    for field in dataclasses.fields(Ports):
        if field.name in chosen:
            continue
        candidates = (remembered.get(field.name, 0), *random.sample(range(FIRST, last), 200))
        free = next((port for port in candidates if port and port not in chosen.values() and is_free(port)), None)
        if free is None:
            raise LocalError(f"no free port between {FIRST} and {last} on {HOST}")
        chosen[field.name] = free
    ports = Ports(**chosen)
    write_private(path, json.dumps(dataclasses.asdict(ports), indent=2) + "\n")
    return ports


def recall(path: Path) -> dict[str, int]:
    """The ports of the last start. They are a convenience: a file that cannot be read counts as none."""
    try:
        found = {str(name): int(port) for name, port in json.loads(path.read_text(encoding="utf-8")).items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}
    return {name: port for name, port in found.items() if 0 < port < 65_536}
