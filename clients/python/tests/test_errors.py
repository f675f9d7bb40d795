"""Failed calls become errors that carry what the server said; the tree is the one in its docstring."""

from __future__ import annotations

import inspect
import re

import grpc
import pytest

from clients.python.tests.conftest import FAST
from clients.python.tests.peer import TOKEN, Peer, Refusal
from trainnet import client as package
from trainnet.client import (
    AlreadyExists,
    Client,
    ConfigurationError,
    ConnectionFailed,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ServerError,
    TrainNetError,
    Unauthenticated,
    _errors,
)

Code = grpc.StatusCode


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (Code.NOT_FOUND, NotFound),
        (Code.ALREADY_EXISTS, AlreadyExists),
        (Code.FAILED_PRECONDITION, FailedPrecondition),
        (Code.PERMISSION_DENIED, PermissionDenied),
        (Code.INTERNAL, ServerError),
        (Code.UNIMPLEMENTED, ServerError),
        (Code.RESOURCE_EXHAUSTED, ServerError),
    ],
)
def test_a_code_becomes_its_error_with_reason_and_facts(
    peer: Peer, client: Client, code: grpc.StatusCode, kind: type[TrainNetError]
) -> None:
    peer.order("GetJob", Refusal(code, "what is wrong", reason="WHY", metadata={"job": "j"}))
    with pytest.raises(kind) as caught:
        client.jobs.get("j")
    error = caught.value
    assert isinstance(error, package.RequestError)
    assert (error.message, error.code, error.reason, error.metadata) == (
        "what is wrong",
        code.name,
        "WHY",
        {"job": "j"},
    )
    assert peer.calls["GetJob"] == 1, "only what a retry may heal is retried"


def test_an_invalid_argument_names_its_field_once(peer: Peer, client: Client) -> None:
    peer.order("GetJob", Refusal(Code.INVALID_ARGUMENT, "must be at least 1", field="spec.rounds"))
    with pytest.raises(InvalidArgument) as caught:
        client.jobs.get("j")
    assert caught.value.field == "spec.rounds"
    assert str(caught.value) == "spec.rounds: must be at least 1"
    peer.order("GetJob", Refusal(Code.INVALID_ARGUMENT, "rounds must be at least 1", field="spec.rounds"))
    with pytest.raises(InvalidArgument, match=r"^rounds must be at least 1$"):
        client.jobs.get("j")


def test_details_that_do_not_parse_leave_code_and_message(peer: Peer, client: Client) -> None:
    refusal = Refusal(Code.NOT_FOUND, "no such job")
    refusal.trailer = b"\xff\xff\xff"
    peer.order("GetJob", refusal)
    with pytest.raises(NotFound, match=r"^no such job$"):
        client.jobs.get("j")


def test_a_wrong_token_is_told_at_once(peer: Peer) -> None:
    with Client(peer.address, "wrong", retry=FAST) as client, pytest.raises(Unauthenticated) as caught:
        list(client.jobs.list())
    assert "--token" in caught.value.hint
    assert peer.calls["ListJobs"] == 1


def test_a_name_that_can_be_none_is_refused_without_a_call(peer: Peer, client: Client) -> None:
    with pytest.raises(InvalidArgument, match="'No Such' is no name of a job"):
        client.jobs.get("No Such")
    assert not peer.calls


def test_a_short_absence_is_waited_for(peer: Peer, client: Client) -> None:
    client.architectures.list()
    peer.order("ListJobs", Refusal(Code.UNAVAILABLE, "restarting"), times=3)
    assert list(client.jobs.list()) == []
    assert peer.calls["ListJobs"] == 4


def test_a_create_is_repeated_with_the_same_request_id(peer: Peer, client: Client) -> None:
    peer.order("CreateJob", Refusal(Code.UNAVAILABLE, "restarting"), times=2)
    job = client.train(None, "noop")
    assert (peer.calls["CreateJob"], list(peer.jobs)) == (3, [job.name])


def test_a_restarted_coordinator_is_found_again(peer: Peer, client: Client) -> None:
    client.architectures.list()
    peer.stop()
    peer.start()
    assert list(client.jobs.list()) == []


def test_a_coordinator_that_never_answers_is_given_up_soon(peer: Peer) -> None:
    peer.stop()
    with Client(peer.address, TOKEN, retry=FAST) as client, pytest.raises(ConnectionFailed) as caught:
        list(client.jobs.list())
    assert str(caught.value) == f"cannot reach the coordinator at {peer.address}"
    peer.start()


@pytest.mark.parametrize("address", ["nonsense", "host", "host:", ":80", "ftp://host:80", "host:99999", "host:http"])
def test_what_is_no_address_is_told_without_a_call(address: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(repr(address))):
        Client(address, TOKEN)


def test_the_drawn_tree_is_the_tree() -> None:
    drawn = set(re.findall(r"[│├└─\s]+(\w+)(?=\s|$)", "\n".join(_tree_lines())))
    real = {
        name for name, found in vars(_errors).items() if inspect.isclass(found) and issubclass(found, TrainNetError)
    }
    assert real - {"TrainNetError"} == drawn
    assert real <= set(package.__all__)


def _tree_lines() -> list[str]:
    return [
        match[0]
        for line in (inspect.getdoc(_errors) or "").splitlines()
        if (match := re.match(r"\s*[│\s]*[├└]── \w+", line))
    ]


def test_every_public_name_is_there() -> None:
    assert sorted(package.__all__) == list(package.__all__)
    assert {name for name in package.__all__ if getattr(package, name) is None} == set()
    assert set(package._HOME_OF) == set(package.__all__)
