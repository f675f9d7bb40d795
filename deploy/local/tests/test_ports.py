import dataclasses
import socket
from pathlib import Path

import pytest

from trainnet.local.errors import PortInUse
from trainnet.local.ports import FIRST, HOST, choose, is_free, last_listening_port


def listen(port: int) -> socket.socket:
    server = socket.create_server((HOST, port))
    server.listen()
    return server


def test_they_are_distinct_and_free_and_no_client_can_be_given_one(tmp_path: Path) -> None:
    ports = dataclasses.asdict(choose(tmp_path)).values()
    assert len(set(ports)) == len(ports)
    assert all(is_free(port) and FIRST <= port <= last_listening_port() for port in ports)


def test_a_restarted_stack_gets_the_same(tmp_path: Path) -> None:
    assert choose(tmp_path) == choose(tmp_path)


def test_a_remembered_port_that_is_taken_is_replaced_alone(tmp_path: Path) -> None:
    first = choose(tmp_path)
    with listen(first.nats):
        second = choose(tmp_path)
    assert second.nats != first.nats
    assert dataclasses.replace(second, nats=first.nats) == first


def test_a_fixed_port_is_used_or_refused(tmp_path: Path) -> None:
    wanted = choose(tmp_path).admin
    assert choose(tmp_path, {"grpc": wanted, "s3": None}).grpc == wanted
    with listen(wanted), pytest.raises(PortInUse, match=rf"port {wanted} \(--grpc-port\) is in use"):
        choose(tmp_path, {"grpc": wanted})


def test_two_wishes_for_one_port_are_refused(tmp_path: Path) -> None:
    wanted = choose(tmp_path).admin
    with pytest.raises(PortInUse, match="--nats-port"):
        choose(tmp_path, {"grpc": wanted, "nats": wanted})


@pytest.mark.parametrize("text", ["", "[1]", '{"grpc": "x"}', '{"grpc": 99999}'])
def test_a_file_that_makes_no_sense_counts_as_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "ports.json").write_text(text)
    assert is_free(choose(tmp_path).grpc)
