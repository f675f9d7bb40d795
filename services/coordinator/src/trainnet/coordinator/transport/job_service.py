"""JobService over its use cases."""

from collections.abc import AsyncIterator
from functools import partial
from typing import Any

from trainnet.coordinator.usecases.jobs import Jobs
from trainnet.coordinator.usecases.model_files import ModelFiles
from trainnet.coordinator.watching import Watching
from trainnet.v1 import job_pb2 as pb
from trainnet.v1 import job_pb2_grpc


class JobServicer(job_pb2_grpc.JobServiceServicer):
    def __init__(self, jobs: Jobs, files: ModelFiles, watching: Watching) -> None:
        self._jobs = jobs
        self._files = files
        self._watching = watching

    async def CreateJob(self, request: pb.CreateJobRequest, context: Any) -> pb.CreateJobResponse:
        return pb.CreateJobResponse(job=await self._jobs.create(request.request_id, request.spec))

    async def GetJob(self, request: pb.GetJobRequest, context: Any) -> pb.GetJobResponse:
        return pb.GetJobResponse(job=await self._jobs.get(request.name))

    async def ListJobs(self, request: pb.ListJobsRequest, context: Any) -> pb.ListJobsResponse:
        rows, token = await self._jobs.page(request.page_size, request.page_token)
        return pb.ListJobsResponse(jobs=rows, next_page_token=token)

    async def CancelJob(self, request: pb.CancelJobRequest, context: Any) -> pb.CancelJobResponse:
        return pb.CancelJobResponse(job=await self._jobs.cancel(request.name))

    async def WatchJob(self, request: pb.WatchJobRequest, context: Any) -> AsyncIterator[pb.WatchJobResponse]:
        async for message in self._watching.watch(request.name):
            yield message

    async def DeleteJob(self, request: pb.DeleteJobRequest, context: Any) -> pb.DeleteJobResponse:
        await self._jobs.delete(request.name)
        return pb.DeleteJobResponse()

    async def GetModel(self, request: pb.GetModelRequest, context: Any) -> pb.GetModelResponse:
        look = partial(self._files.get, request.name, request.round)
        return await self._watching.settled(request.name, look, request.wait_seconds)

    async def GetRound(self, request: pb.GetRoundRequest, context: Any) -> pb.GetRoundResponse:
        return pb.GetRoundResponse(round=await self._jobs.round(request.name))
