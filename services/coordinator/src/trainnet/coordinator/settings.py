"""Settings of the coordinator, from TRAINNET_* variables."""

from pathlib import Path

from pydantic import Field, SecretStr

from trainnet.runtime.settings import LogSettings, NatsSettings, StoreSettings


class CoordinatorSettings(StoreSettings, NatsSettings, LogSettings):
    """Everything the coordinator is told from outside. Durations are seconds."""

    listen: str = "127.0.0.1:7080"
    database_url: str = "sqlite:///coordinator.db"
    admin_token: SecretStr
    aggregator_token: SecretStr
    join_token: SecretStr | None = None
    """Lets workers join the trusted pool; more tokens come from OperatorService."""

    nats_public_url: str = ""
    """Where workers reach NATS; the coordinator's own address when empty."""
    nats_callout_user: str = "callout"
    nats_callout_password: SecretStr
    nats_callout_seed: SecretStr
    """Account seed that signs what a connecting worker may do."""

    heartbeat_interval: float = Field(default=5.0, gt=0)
    lease_ttl: float = Field(default=20.0, gt=0)
    accept_ttl: float = Field(default=10.0, gt=0)
    """How long an assignment waits for its worker's accept."""
    claim_ttl: float = Field(default=20.0, gt=0)
    """How long an aggregator's claim lasts without renewal."""
    session_rate: float = Field(default=500.0, gt=0)
    """Messages per second that one session may send in the long run. A worker of 12 small rounds a second sends 100."""
    session_burst: float = Field(default=5000.0, ge=1)
    hello_rate: float = Field(default=0.5, gt=0)
    """Sessions per second that one worker may open in the long run."""
    hello_burst: float = Field(default=30.0, ge=1)
    register_rate: float = Field(default=50.0, gt=0)
    """Registrations per second from one address in the long run; behind one address there may be many machines."""
    register_burst: float = Field(default=20_000.0, ge=1)
    trusted_patience: float = Field(default=86400.0, gt=0)
    """How long a task that strangers gave up waits for a trusted worker, from when one was last seen."""
    url_ttl: float = Field(default=3600.0, ge=60, le=604800)
    upload_patience: float = Field(default=30 * 86400.0, gt=0)
    """How long a data set or a model may take to be uploaded; what is not whole by then is deleted."""
    keep_rounds: int = Field(default=2, ge=1)
    drain_grace: float = Field(default=2.0, ge=0)
    ready_file: Path | None = None
