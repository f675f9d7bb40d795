"""Questions on the session that outlive its connections.

Every message about a task is idempotent, so what has no answer yet is sent again: on the same stream after a while, on
a new stream at once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from trainnet.v1.worker_pb2 import (
    OUTCOME_ACCEPTED,
    OUTCOME_RECEIVED,
    OUTCOME_REJECTED,
    OUTCOME_RETURNED,
    ConnectRequest,
    ConnectResponse,
    Result,
)

FIRST_PATIENCE = 3.0
MOST_PATIENCE = 12.0

Key = tuple[str, int, str]
"""(kind of message, fence, output)"""


@dataclass(eq=False)
class _Question:
    message: ConnectRequest
    answer: asyncio.Future[ConnectResponse]
    sent_at: float
    sent: int = field(default=0)


class Exchange:
    """Matches answers to questions by kind, fence and output."""

    def __init__(self, send: Callable[[ConnectRequest], None], now: Callable[[], float] = time.monotonic) -> None:
        self._send, self._now = send, now
        self._questions: dict[Key, _Question] = {}

    async def ask(self, message: ConnectRequest) -> ConnectResponse:
        """The answer to a message about a task, over any number of connections."""
        key = key_of(message)
        question = self._questions.get(key)
        if question is None:
            question = _Question(message, asyncio.get_running_loop().create_future(), self._now(), sent=1)
            self._questions[key] = question
            self._send(message)
        try:
            return await asyncio.shield(question.answer)
        finally:
            if self._questions.get(key) is question:
                del self._questions[key]

    def resend_all(self) -> None:
        """A new stream stands: everything unanswered goes again, in the order it was asked."""
        for question in self._questions.values():
            question.sent, question.sent_at = 1, self._now()
            self._send(question.message)

    def resend_overdue(self) -> None:
        """Sends again what waits for long; the wait doubles each time. The coordinator leaves a question without an
        answer while it cannot reach the store."""
        for question in self._questions.values():
            if self._now() - question.sent_at > min(FIRST_PATIENCE * 2 ** (question.sent - 1), MOST_PATIENCE):
                question.sent += 1
                question.sent_at = self._now()
                self._send(question.message)

    def take(self, response: ConnectResponse) -> bool:
        """Gives an answer to who asked; False when nobody did."""
        taken = False
        for key in _answered(response):
            for asked, question in list(self._questions.items()):
                if _covers(key, asked):
                    taken = True
                    if not question.answer.done():
                        question.answer.set_result(response)
        return taken


def key_of(message: ConnectRequest) -> Key:
    """What identifies a question."""
    match message.WhichOneof("message"):
        case "accept":
            return "accept", message.accept.fence, ""
        case "artifact_request":
            return "artifact_request", message.artifact_request.fence, ""
        case "upload_request":
            return "upload_request", message.upload_request.fence, message.upload_request.output
        case "complete":
            return "complete", message.complete.fence, ""
        case "fail":
            return "fail", message.fail.fence, ""
        case kind:
            raise ValueError(f"{kind} has no answer")


def _answered(response: ConnectResponse) -> Iterator[Key]:
    match response.WhichOneof("message"):
        case "lease":
            yield "accept", response.lease.fence, ""
        case "artifacts":
            yield "artifact_request", response.artifacts.fence, ""
        case "upload_grant":
            yield "upload_request", response.upload_grant.fence, response.upload_grant.output
        case "result":
            yield _result_kind(response.result), response.result.fence, "*"
        case _:
            return


def _result_kind(result: Result) -> str:
    """Which message a result answers; `*` for those that end every question about the fence."""
    if result.outcome in {OUTCOME_RECEIVED, OUTCOME_ACCEPTED, OUTCOME_REJECTED}:
        return "complete"
    return "fail" if result.outcome == OUTCOME_RETURNED else "*"


def _covers(answer: Key, asked: Key) -> bool:
    return answer[1] == asked[1] and answer[0] in {"*", asked[0]} and answer[2] in {"*", asked[2]}
