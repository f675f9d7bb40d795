"""MergeService over its use cases."""

from typing import Any

from trainnet.coordinator.usecases.merging import Merging
from trainnet.v1 import merge_pb2 as pb
from trainnet.v1 import merge_pb2_grpc


class MergeServicer(merge_pb2_grpc.MergeServiceServicer):
    def __init__(self, merging: Merging) -> None:
        self._merging = merging

    async def Claim(self, request: pb.ClaimRequest, context: Any) -> pb.ClaimResponse:
        return pb.ClaimResponse(tasks=await self._merging.claim(request))

    async def RenewClaims(self, request: pb.RenewClaimsRequest, context: Any) -> pb.RenewClaimsResponse:
        return pb.RenewClaimsResponse(live=await self._merging.renew(request.fences))

    async def ReportCheck(self, request: pb.ReportCheckRequest, context: Any) -> pb.ReportCheckResponse:
        await self._merging.report_check(request)
        return pb.ReportCheckResponse()

    async def ReportSum(self, request: pb.ReportSumRequest, context: Any) -> pb.ReportSumResponse:
        await self._merging.report_sum(request.fence)
        return pb.ReportSumResponse()

    async def ReportMerge(self, request: pb.ReportMergeRequest, context: Any) -> pb.ReportMergeResponse:
        await self._merging.report_merge(request)
        return pb.ReportMergeResponse()

    async def ReportWeighings(self, request: pb.ReportWeighingsRequest, context: Any) -> pb.ReportWeighingsResponse:
        return pb.ReportWeighingsResponse(weighings=await self._merging.report_weighings(request))

    async def ReportFailure(self, request: pb.ReportFailureRequest, context: Any) -> pb.ReportFailureResponse:
        await self._merging.report_failure(request.fence, request.message)
        return pb.ReportFailureResponse()
