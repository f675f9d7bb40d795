"""Settings of the aggregator."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, SecretStr

from trainnet.runtime.settings import HostPort, LogSettings, StoreSettings


class AggregatorSettings(StoreSettings, LogSettings):
    """Read from `TRAINNET_*`."""

    coordinator: HostPort = Field(description="the host:port of the coordinator's gRPC")
    aggregator_token: SecretStr = Field(
        description="the token that the coordinator gives its aggregators", min_length=1
    )
    name: str = Field(
        default="aggregator-1",
        pattern=r"^[a-z0-9][a-z0-9-]{0,62}$",
        description="what people call this aggregator: small letters, digits and dashes",
    )
    ready_file: Path | None = Field(
        default=None, description="a file to touch once the coordinator has answered the first claim"
    )
    threads: int = Field(default=2, ge=1, le=256, description="the number of threads that fold a large model")
    slice_bytes: int = Field(
        default=8 * 1024 * 1024,
        ge=64 * 1024,
        le=256 * 1024 * 1024,
        description="the bytes of a model that are folded at a time; a merge holds five of them, of short codecs ten",
    )
    checks: int = Field(
        default=4,
        ge=1,
        le=64,
        description="the number of updates checked side by side; a large merge takes the place of three",
    )
