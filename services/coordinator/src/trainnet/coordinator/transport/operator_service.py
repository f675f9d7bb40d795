"""OperatorService over its use cases."""

from typing import Any

from trainnet.coordinator.domain import names
from trainnet.coordinator.sessions import Sessions
from trainnet.coordinator.usecases.workers import Workers
from trainnet.v1 import operator_pb2 as pb
from trainnet.v1 import operator_pb2_grpc


class OperatorServicer(operator_pb2_grpc.OperatorServiceServicer):
    def __init__(self, workers: Workers, sessions: Sessions) -> None:
        self._workers = workers
        self._sessions = sessions

    async def ListWorkers(self, request: pb.ListWorkersRequest, context: Any) -> pb.ListWorkersResponse:
        rows, token = await self._workers.page(request.page_size, request.page_token)
        return pb.ListWorkersResponse(workers=rows, next_page_token=token)

    async def GetWorker(self, request: pb.GetWorkerRequest, context: Any) -> pb.GetWorkerResponse:
        return pb.GetWorkerResponse(worker=await self._workers.get(request.name))

    async def GetQueues(self, request: pb.GetQueuesRequest, context: Any) -> pb.GetQueuesResponse:
        connected = [session for session in self._sessions if session.connected]
        return pb.GetQueuesResponse(
            queues=await self._workers.queues(),
            sessions=len(connected),
            free_slots=sum(session.free_slots for session in connected),
        )

    async def CreateJoinToken(self, request: pb.CreateJoinTokenRequest, context: Any) -> pb.CreateJoinTokenResponse:
        return pb.CreateJoinTokenResponse(token=await self._workers.create_join_token(request))

    async def DrainWorker(self, request: pb.DrainWorkerRequest, context: Any) -> pb.DrainWorkerResponse:
        worker = await self._workers.drain(request.name, undo=request.undo)
        session = self._sessions.get(names.id_of(request.name))
        if session is not None:
            session.drained = not request.undo
        return pb.DrainWorkerResponse(worker=worker)

    async def BanWorker(self, request: pb.BanWorkerRequest, context: Any) -> pb.BanWorkerResponse:
        session = self._sessions.get(names.id_of(request.name))
        if session is not None:
            session.drained = True  # first: what is taken back must not go out to it again
        worker = await self._workers.ban(request.name)
        if session is not None:
            session.send(drain={"reconnect": False, "reason": "banned by the operator"})
            session.outgoing.put_nowait(None)
        return pb.BanWorkerResponse(worker=worker)
