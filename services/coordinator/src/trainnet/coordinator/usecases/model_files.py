"""What GetModel answers: the exported folder once it is there, plain files before and of other rounds."""

import hashlib

from sqlalchemy import select

from trainnet.coordinator.domain import names
from trainnet.coordinator.storage.schema import jobs, model_files, rounds
from trainnet.coordinator.storage.statements import fetch
from trainnet.coordinator.usecases import exports, views
from trainnet.coordinator.usecases.context import Context
from trainnet.coordinator.usecases.errors import Collected, NoModel, NoSuchResource
from trainnet.coordinator.usecases.model_card import model_card, model_config
from trainnet.v1 import artifact_pb2, job_pb2


class ModelFiles:
    def __init__(self, context: Context) -> None:
        self._context = context

    async def get(self, name: str, number: int) -> tuple[job_pb2.GetModelResponse, bool]:
        """(the files of a round's model with downloads, whether a whole folder of it is being made). Number 0 means the
        last merged round. Raises NoSuchResource, NoModel, Collected."""
        uploads = self._context.uploads
        async with self._context.database.read() as tx:
            row = await fetch(tx, jobs, id=names.id_of(name))
            if row is None:
                raise NoSuchResource(name)
            if row.merged_rounds == 0:
                raise NoModel(f"no round of {name} is merged yet")
            wanted = number or row.merged_rounds
            answer = job_pb2.GetModelResponse(round=wanted, exported=wanted == row.exported)
            round_row = await fetch(tx, rounds, job=row.id, number=wanted)
            if round_row is None or round_row.merged_key is None:
                raise NoSuchResource(names.round_of(row.id, wanted))
            if round_row.collected and wanted != row.merged_rounds:
                raise Collected(
                    f"the weights of round {wanted} were collected, those of round {row.merged_rounds} are there"
                )
            if answer.exported:
                query = select(model_files).where(model_files.c.job == row.id).order_by(model_files.c.path)
                for item in await tx.all(query):
                    artifact = uploads.artifact(item, "object", download=True)
                    answer.files.add(path=item.path, artifact=artifact, sha256=_sha256(artifact))
                return answer, False
            job = await views.job_view(tx, uploads, row, self._context.clock())
            coming = wanted == row.merged_rounds and await exports.under_way(tx, row.id)
        weights = uploads.artifact(round_row, "merged", download=True)
        frozen, bundle = (uploads.artifact(row, part, download=True) for part in ("frozen", "bundle"))
        if frozen is not None:
            answer.files.add(path="model.safetensors", artifact=frozen, sha256=_sha256(frozen))
        path = "model.safetensors" if frozen is None else "adapter.safetensors"
        answer.files.add(path=path, artifact=weights, sha256=round_row.merged_sha256)
        if bundle is not None:
            answer.files.add(path="bundle.zip", artifact=bundle, sha256=_sha256(bundle))
        for path, text in (("config.json", model_config(job, wanted)), ("README.md", model_card(job, wanted))):
            if path != "config.json" or bundle is None:  # the bundle has the real one
                answer.files.add(path=path, inline=text.encode(), sha256=hashlib.sha256(text.encode()).hexdigest())
        return answer, coming


def _sha256(artifact: artifact_pb2.Artifact | None) -> str:
    """SHA-256 of the whole file; empty where it was uploaded in parts and only its digest in parts is known."""
    digest = "" if artifact is None else artifact.digest
    return digest.removeprefix("sha256:") if digest.startswith("sha256:") else ""
