"""ModelService over its use cases."""

from typing import Any

from trainnet.coordinator.usecases.models import Models
from trainnet.v1 import model_pb2 as pb
from trainnet.v1 import model_pb2_grpc


class ModelServicer(model_pb2_grpc.ModelServiceServicer):
    def __init__(self, models: Models) -> None:
        self._models = models

    async def CreateModel(self, request: pb.CreateModelRequest, context: Any) -> pb.CreateModelResponse:
        model, grant = await self._models.create(request)
        return pb.CreateModelResponse(model=model, grant=grant)

    async def GrantModelUpload(self, request: pb.GrantModelUploadRequest, context: Any) -> pb.GrantModelUploadResponse:
        return pb.GrantModelUploadResponse(grant=await self._models.grant(request.name))

    async def CompleteModel(self, request: pb.CompleteModelRequest, context: Any) -> pb.CompleteModelResponse:
        return pb.CompleteModelResponse(model=await self._models.complete(request.name))

    async def GetUploadedModel(self, request: pb.GetUploadedModelRequest, context: Any) -> pb.GetUploadedModelResponse:
        return pb.GetUploadedModelResponse(model=await self._models.get(request.name))

    async def ListModels(self, request: pb.ListModelsRequest, context: Any) -> pb.ListModelsResponse:
        rows, token = await self._models.page(request.page_size, request.page_token)
        return pb.ListModelsResponse(models=rows, next_page_token=token)

    async def DeleteModel(self, request: pb.DeleteModelRequest, context: Any) -> pb.DeleteModelResponse:
        await self._models.delete(request.name)
        return pb.DeleteModelResponse()
