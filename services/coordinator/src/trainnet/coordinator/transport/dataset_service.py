"""DatasetService over its use cases."""

from typing import Any

from trainnet.coordinator.usecases.datasets import Datasets
from trainnet.v1 import dataset_pb2 as pb
from trainnet.v1 import dataset_pb2_grpc


class DatasetServicer(dataset_pb2_grpc.DatasetServiceServicer):
    def __init__(self, datasets: Datasets) -> None:
        self._datasets = datasets

    async def CreateDataset(self, request: pb.CreateDatasetRequest, context: Any) -> pb.CreateDatasetResponse:
        dataset, grant = await self._datasets.create(request)
        return pb.CreateDatasetResponse(dataset=dataset, grant=grant)

    async def GrantDatasetUpload(
        self, request: pb.GrantDatasetUploadRequest, context: Any
    ) -> pb.GrantDatasetUploadResponse:
        return pb.GrantDatasetUploadResponse(grant=await self._datasets.grant(request.name))

    async def CompleteDataset(self, request: pb.CompleteDatasetRequest, context: Any) -> pb.CompleteDatasetResponse:
        return pb.CompleteDatasetResponse(dataset=await self._datasets.complete(request.name))

    async def GetDataset(self, request: pb.GetDatasetRequest, context: Any) -> pb.GetDatasetResponse:
        return pb.GetDatasetResponse(dataset=await self._datasets.get(request.name))

    async def UpdateDataset(self, request: pb.UpdateDatasetRequest, context: Any) -> pb.UpdateDatasetResponse:
        return pb.UpdateDatasetResponse(dataset=await self._datasets.update(request.name, request.reading))

    async def ListDatasets(self, request: pb.ListDatasetsRequest, context: Any) -> pb.ListDatasetsResponse:
        rows, token = await self._datasets.page(request.page_size, request.page_token)
        return pb.ListDatasetsResponse(datasets=rows, next_page_token=token)

    async def DeleteDataset(self, request: pb.DeleteDatasetRequest, context: Any) -> pb.DeleteDatasetResponse:
        await self._datasets.delete(request.name)
        return pb.DeleteDatasetResponse()
