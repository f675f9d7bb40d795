"""Settings of a service: one frozen object, read from `TRAINNET_*` and checked before anything starts."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict
from pydantic_settings import SettingsError as SourceError

ENV_PREFIX = "TRAINNET_"


class SettingsError(Exception):
    """The settings are wrong: one line per problem, each naming the environment variable and the remedy."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("\n".join(problems))


class Settings(BaseSettings):
    """Base of every service's settings.

    A field `s3_endpoint` is read from `TRAINNET_S3_ENDPOINT`. Its description is the remedy that people read when it
    is missing, so write it as what to set. Empty variables count as unset: charts render optional values as "".
    """

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX,
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
    )

    @classmethod
    def load(cls, **overrides: Any) -> Self:
        """Reads the environment; keyword arguments win over it. Raises SettingsError."""
        try:
            return cls(**overrides)
        except ValidationError as error:
            raise SettingsError(
                [_problem(cls, detail["loc"], detail["type"], detail["msg"]) for detail in error.errors()]
            ) from None
        except SourceError as error:
            raise SettingsError([f"{error}; give valid JSON"]) from None


def _problem(cls: type[BaseSettings], loc: tuple[int | str, ...], kind: str, message: str) -> str:
    message = message.removeprefix("Value error, ")
    if not loc:
        return message
    field = cls.model_fields.get(str(loc[0]))
    variable = f"{ENV_PREFIX}{str(loc[0]).upper()}"
    remedy = f"; set it to {field.description}" if field is not None and field.description else "; set it"
    if kind == "missing":
        return f"{variable} is not set{remedy}"
    return f"{variable} is wrong: {message[:1].lower()}{message[1:]}{remedy}"


def _host_port(value: str) -> str:
    host, separator, port = value.rpartition(":")
    if "://" in value or "/" in value:
        raise ValueError("expected host:port without a scheme or a path")
    if not separator or not host or not port.isascii() or not port.isdigit() or not 0 <= int(port) <= 65535:
        raise ValueError("expected host:port")
    return value


HostPort = Annotated[str, AfterValidator(_host_port)]
"""`host:port`; an IPv6 host stands in brackets."""


class StoreSettings(Settings):
    """Where the S3-compatible object store is."""

    s3_endpoint: HostPort = Field(description="the host:port at which this process reaches the object store")
    s3_public_endpoint: HostPort | None = Field(
        default=None,
        description="the host:port at which workers reach the object store, if it is another one",
    )
    s3_access_key: str = Field(description="the access key of the object store", min_length=1)
    s3_secret_key: SecretStr = Field(description="the secret key of the object store", min_length=1)
    s3_bucket: str = Field(
        default="trainnet", description="a bucket name", pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$"
    )
    s3_region: str = Field(default="us-east-1", description="the region that requests are signed for")
    s3_secure: bool = Field(default=False, description="true to speak HTTPS to the store")


class NatsSettings(Settings):
    """Where NATS is and who we are there."""

    nats_url: str = Field(
        description="the URL of the NATS server, like nats://127.0.0.1:4222", pattern=r"^(nats|tls|wss?)://"
    )
    nats_user: str | None = Field(default=None, description="the NATS user of this service")
    nats_password: SecretStr | None = Field(default=None, description="the password of the NATS user")


class LogSettings(Settings):
    """How much is logged and in what shape."""

    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="debug, info, warning or error"
    )
    log_format: Literal["auto", "console", "json"] = Field(
        default="auto", description="console (for people), json (for machines) or auto (console on a terminal)"
    )
