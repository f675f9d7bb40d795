"""OperatorService over its use cases."""

from typing import Any

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
        return pb.DrainWorkerResponse(worker=await self._workers.drain(request.name, undo=request.undo))

    async def BanWorker(self, request: pb.BanWorkerRequest, context: Any) -> pb.BanWorkerResponse:
        return pb.BanWorkerResponse(worker=await self._workers.ban(request.name))
