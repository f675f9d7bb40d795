"""What a claimed task asks for, done in a thread, and the report that answers it."""

from __future__ import annotations

import threading

from trainnet.aggregator.check import Checker
from trainnet.aggregator.engine import Engine
from trainnet.v1.merge_pb2 import (
    CheckWork,
    MergeTask,
    MergeWork,
    ReportCheckRequest,
    ReportFailureRequest,
    ReportMergeRequest,
    ReportSumRequest,
    SumWork,
)

Report = ReportCheckRequest | ReportSumRequest | ReportMergeRequest | ReportFailureRequest


class Worker:
    """Does tasks. Thread-safe."""

    def __init__(self, checker: Checker, engine: Engine) -> None:
        self._checker, self._engine = checker, engine

    def do(self, task: MergeTask, cancel: threading.Event) -> Report:
        """Raises Cancelled, Unmergeable, StoreError, SafetensorsError (of the base)."""
        match task.WhichOneof("work"):
            case "check":
                return self._check(task.fence, task.check, cancel)
            case "sum":
                return self._sum(task.fence, task.sum, cancel)
            case "merge":
                return self._merge(task.fence, task.merge, cancel)
            case unknown:
                return ReportFailureRequest(
                    fence=task.fence, message=f"this aggregator knows no work of kind {unknown}"
                )

    def _check(self, fence: int, work: CheckWork, cancel: threading.Event) -> Report:
        verdict = self._checker.check(work, cancel)
        return ReportCheckRequest(
            fence=fence,
            accepted=verdict.accepted,
            reason=verdict.reason,
            message=verdict.message,
            norm=verdict.norm,
        )

    def _sum(self, fence: int, work: SumWork, cancel: threading.Event) -> Report:
        outcome = self._engine.sum(work, cancel)
        return ReportSumRequest(fence=fence, key=outcome.key, size_bytes=outcome.size_bytes)

    def _merge(self, fence: int, work: MergeWork, cancel: threading.Event) -> Report:
        outcome = self._engine.merge(work, cancel)
        return ReportMergeRequest(
            fence=fence,
            merged=outcome.merged,
            sha256=outcome.sha256,
            timings=outcome.timings,
            optimizer_state=outcome.state,
            optimizer_state_sha256=outcome.state_sha256,
        )
