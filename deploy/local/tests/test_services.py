"""What our services are told by their environment."""

import dataclasses
from pathlib import Path

import pytest

from trainnet.local.ports import choose
from trainnet.local.secrets import load_or_create
from trainnet.local.services import Services


@pytest.fixture
def services(tmp_path: Path) -> Services:
    return Services(
        data_dir=tmp_path,
        ports=choose(tmp_path),
        secrets=load_or_create(tmp_path),
        keep_rounds=3,
        threads=2,
        log_level="debug",
        log_format="json",
        settings={"TRAINNET_LEASE_TTL": "2"},
    )


def test_all_know_how_to_log_and_the_settings_of_a_test(services: Services) -> None:
    for program in (services.coordinator(), services.aggregator(1), services.worker(1)):
        assert program.env["TRAINNET_LOG_LEVEL"] == "debug"
        assert program.env["TRAINNET_LOG_FORMAT"] == "json"
        assert program.env["TRAINNET_LEASE_TTL"] == "2"


def test_the_coordinator_listens_on_loopback_and_keeps_its_state_in_the_data_folder(services: Services) -> None:
    env = services.coordinator().env
    assert env["TRAINNET_LISTEN"] == f"127.0.0.1:{services.ports.grpc}"
    assert env["TRAINNET_DATABASE_URL"] == f"sqlite:///{services.data_dir}/coordinator.db"
    assert env["TRAINNET_KEEP_ROUNDS"] == "3"


def test_an_aggregator_gets_neither_the_administrators_nor_the_workers_token(services: Services) -> None:
    values = services.aggregator(1).env.values()
    assert services.secrets.aggregator_token in values
    assert services.secrets.admin_token not in values
    assert services.secrets.join_token not in values
    assert services.secrets.nats_coordinator_password not in values
    assert not [name for name in services.aggregator(1).env if "NATS" in name], "it has no use for messages"


def test_the_coordinator_takes_another_database(services: Services) -> None:
    url = "postgresql://trainnet:secret@db/trainnet"
    env = dataclasses.replace(services, database=url).coordinator().env
    assert env["TRAINNET_DATABASE_URL"] == url


def test_a_worker_gets_its_join_token_and_no_other_secret(services: Services) -> None:
    env = services.worker(2).env
    others = {value for name, value in vars(services.secrets).items() if name != "join_token"}
    assert env["TRAINNET_JOIN_TOKEN"] == services.secrets.join_token
    assert not others & set(env.values())
    assert env["TRAINNET_NAME"] == "local-2"
    assert env["TRAINNET_DATA_DIR"] == str(services.data_dir / "workers" / "2")
    assert (env["TRAINNET_THREADS"], env["OMP_NUM_THREADS"], env["MKL_NUM_THREADS"]) == ("2", "2", "2")


def test_each_follower_has_a_file_of_its_own_to_say_that_it_is_ready(services: Services) -> None:
    programs = [services.aggregator(1), services.aggregator(2), services.worker(1), services.worker(2)]
    assert len({program.env["TRAINNET_READY_FILE"] for program in programs}) == len(programs)
    assert len({program.name for program in programs}) == len(programs)


def test_secrets_show_neither_in_a_command_line_nor_in_a_repr(services: Services) -> None:
    for program in (services.coordinator(), services.aggregator(1), services.worker(1)):
        for secret in vars(services.secrets).values():
            assert secret not in " ".join(program.command)
            assert secret not in repr(program)


def test_all_stop_within_ten_seconds_one_after_the_other(services: Services) -> None:
    longest_infrastructure = 2.5
    followers = max(services.aggregator(1).stop_within, services.worker(1).stop_within)
    assert followers + services.coordinator().stop_within + longest_infrastructure < 10
