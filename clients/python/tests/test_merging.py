"""How updates are merged, as people say it."""

from __future__ import annotations

from typing import Any

import pytest

from clients.python.tests.peer import TOKEN, Peer
from trainnet.cli.main import main
from trainnet.client import Client, InvalidArgument, parse_merge_settings
from trainnet.v1 import job_pb2


def test_a_strategy_and_its_numbers_reach_the_coordinator(client: Client, peer: Peer) -> None:
    job = client.train(None, "noop", merge="diloco", merge_settings={"server_momentum": 0}, max_update_norm=3)
    (sent,) = (job.spec.merge for job in peer.jobs.values())
    want = job_pb2.MergePolicy(strategy=job_pb2.MERGE_STRATEGY_NESTEROV, server_momentum=0, max_update_norm=3)
    assert sent == want
    assert (job.merge, job.merge_settings) == ("diloco", {"server_momentum": 0})


def test_a_job_is_averaged_unless_said_otherwise(client: Client) -> None:
    job = client.train(None, "noop")
    assert (job.merge, job.merge_settings) == ("fedavg", {})


@pytest.mark.parametrize(
    ("arguments", "field", "hint"),
    [
        ({"merge": "fedadm"}, "spec.merge.strategy", "did you mean fedadam?"),
        ({"merge_settings": {"server_lr": 1}}, "spec.merge.server_lr", "server_learning_rate"),
        ({"merge_settings": {"beta1": "high"}}, "spec.merge.beta1", "beta1=0.5"),
        ({"merge_settings": {"server_momentum": 1.0}}, "spec.merge.server_momentum", ""),
        ({"merge_settings": {"server_learning_rate": float("nan")}}, "spec.merge.server_learning_rate", ""),
    ],
)
def test_what_makes_no_sense_is_told_at_once(
    client: Client, peer: Peer, arguments: dict[str, Any], field: str, hint: str
) -> None:
    with pytest.raises(InvalidArgument) as raised:
        client.train(None, "noop", **arguments)
    assert raised.value.violations[0].field == field
    assert hint in (raised.value.hint or "")
    assert not peer.jobs


def test_numbers_as_typed() -> None:
    assert parse_merge_settings(["server_learning_rate=0.5", " beta2 = .9 "]) == {
        "server_learning_rate": 0.5,
        "beta2": 0.9,
    }
    for bad in ("0.5", "=0.5", "beta1=", "beta1=high"):
        with pytest.raises(InvalidArgument, match=r"is no number|needs a name"):
            parse_merge_settings([bad])


def test_the_command(peer: Peer, capsys: pytest.CaptureFixture[str]) -> None:
    def run(*arguments: str) -> tuple[int, str, str]:
        code = main(["--address", peer.address, "--token", TOKEN, *arguments])
        return code, *capsys.readouterr()

    given = ("--merge", "fedavgm", "--merge-set", "server_learning_rate=0.5", "--merge-set", "server_momentum=0.8")
    assert run("train", "-a", "noop", *given)[0] == 0
    name = next(iter(peer.jobs))
    _, out, _ = run("jobs", "show", name)
    assert "fedavgm (server_learning_rate=0.5, server_momentum=0.8)" in out
    code, _, err = run("train", "-a", "noop", "--merge", "median")
    assert (code, "the strategies are: fedavg" in err) == (2, True), err
