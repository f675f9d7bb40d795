"""CatalogService over the catalogue."""

import json
from typing import Any

from google.protobuf import json_format

from trainnet.coordinator.domain.catalog import ARCHITECTURES, Architecture, Hyperparameter
from trainnet.coordinator.domain.text import nearest
from trainnet.runtime.errors import NotFound
from trainnet.v1 import catalog_pb2 as pb
from trainnet.v1 import catalog_pb2_grpc


class CatalogServicer(catalog_pb2_grpc.CatalogServiceServicer):
    async def ListArchitectures(
        self, request: pb.ListArchitecturesRequest, context: Any
    ) -> pb.ListArchitecturesResponse:
        return pb.ListArchitecturesResponse(architectures=[_view(item) for item in ARCHITECTURES.values()])

    async def GetArchitecture(self, request: pb.GetArchitectureRequest, context: Any) -> pb.GetArchitectureResponse:
        architecture = ARCHITECTURES.get(request.architecture)
        if architecture is None:
            near = nearest(request.architecture, ARCHITECTURES)
            hint = f"did you mean {' or '.join(near)}?" if near else f"use one of {', '.join(ARCHITECTURES)}"
            raise NotFound(f"there is no architecture {request.architecture}: {hint}")
        return pb.GetArchitectureResponse(architecture=_view(architecture))


def _view(item: Architecture) -> pb.Architecture:
    return pb.Architecture(
        architecture=item.name,
        description=item.description,
        data=f"DATA_KIND_{item.data}",
        hyperparameters=[_knob(knob) for knob in item.hyperparameters],
        task=f"LEARNING_TASK_{item.task}",
        sizes=[
            pb.ArchitectureSize(name=size.name, parameters=size.parameters, description=size.description)
            for size in item.sizes
        ],
        takes_base=item.takes_base,
    )


def _knob(item: Hyperparameter) -> pb.Hyperparameter:
    view = pb.Hyperparameter(
        name=item.name,
        type=f"HYPERPARAMETER_TYPE_{item.type}",
        minimum=item.minimum,
        maximum=item.maximum,
        choices=item.choices,
        description=item.description,
    )
    json_format.Parse(json.dumps(item.default), view.default_value)
    return view
