"""Settings come from the environment, and a wrong one says what to do."""

from __future__ import annotations

import os

import pytest
from pydantic import ValidationError

from trainnet.runtime.settings import LogSettings, NatsSettings, SettingsError, StoreSettings


class Everything(StoreSettings, NatsSettings, LogSettings):
    """What a service combines."""


GOOD = {
    "TRAINNET_S3_ENDPOINT": "127.0.0.1:8333",
    "TRAINNET_S3_ACCESS_KEY": "admin",
    "TRAINNET_S3_SECRET_KEY": "hush-hush",
    "TRAINNET_NATS_URL": "nats://127.0.0.1:4222",
}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("TRAINNET_")]:
        monkeypatch.delenv(name)
    for name, value in GOOD.items():
        monkeypatch.setenv(name, value)


def test_defaults_and_secrets() -> None:
    settings = Everything.load()
    assert settings.s3_bucket == "trainnet"
    assert settings.s3_secure is False
    assert settings.s3_secret_key.get_secret_value() == "hush-hush"
    assert "hush-hush" not in repr(settings)
    with pytest.raises(ValidationError):
        settings.s3_bucket = "other"


def test_an_empty_variable_is_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRAINNET_S3_PUBLIC_ENDPOINT", "")
    monkeypatch.setenv("TRAINNET_LOG_LEVEL", "")
    settings = Everything.load()
    assert settings.s3_public_endpoint is None
    assert settings.log_level == "info"


def test_each_problem_is_a_line_with_the_variable_and_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRAINNET_S3_ACCESS_KEY")
    monkeypatch.setenv("TRAINNET_S3_ENDPOINT", "http://store:9000")
    monkeypatch.setenv("TRAINNET_LOG_FORMAT", "xml")
    with pytest.raises(SettingsError) as caught:
        Everything.load()
    assert sorted(str(caught.value).splitlines()) == [
        (
            "TRAINNET_LOG_FORMAT is wrong: input should be 'auto', 'console' or 'json'; "
            "set it to console (for people), json (for machines) or auto (console on a terminal)"
        ),
        "TRAINNET_S3_ACCESS_KEY is not set; set it to the access key of the object store",
        (
            "TRAINNET_S3_ENDPOINT is wrong: expected host:port without a scheme or a path; set it to the host:port at "
            "which this process reaches the object store"
        ),
    ]


@pytest.mark.parametrize("endpoint", ["store", ":9000", "store:", "store:99999", "store:x", "store:9000/path"])
def test_endpoints_are_host_and_port(monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    monkeypatch.setenv("TRAINNET_S3_ENDPOINT", endpoint)
    with pytest.raises(SettingsError, match="TRAINNET_S3_ENDPOINT"):
        Everything.load()


def test_a_problem_never_shows_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRAINNET_NATS_URL", "nots://user:hush-hush@nats")
    with pytest.raises(SettingsError) as caught:
        Everything.load()
    assert "hush-hush" not in str(caught.value)
