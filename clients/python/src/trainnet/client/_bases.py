"""What a job starts from: an earlier job, an uploaded model, a name on the hub; and the models that owners upload."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from datetime import datetime
from functools import partial
from os import PathLike
from pathlib import Path

from trainnet.client import _folders
from trainnet.client._datasets import TransferProgress
from trainnet.client._digest import file_digests
from trainnet.client._errors import FieldViolation, InvalidArgument, InvalidFile
from trainnet.client._models import ModelState, moment, short
from trainnet.client._names import looks_like, resource
from trainnet.client._rpc import Connection
from trainnet.client._upload import COMPLETE_DEADLINE_S, send
from trainnet.v1 import artifact_pb2, model_pb2, task_pb2

HUB = "hub:"

_HUB_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)?(@[A-Za-z0-9._/-]+)?")
_PAGE = 200
_MAX_HEADER = 100_000_000


class Model:
    """An uploaded model, which jobs can start from. Its properties say what the coordinator said last."""

    def __init__(self, connection: Connection, message: model_pb2.Model) -> None:
        self._connection = connection
        self._message = message

    def __repr__(self) -> str:
        return f"<Model {self.name} {self.state}>"

    @property
    def name(self) -> str:
        """Resource name, `models/{model}`."""
        return self._message.name

    @property
    def display_name(self) -> str:
        """What its owner calls it."""
        return self._message.display_name

    @property
    def format(self) -> str:
        """`safetensors` or `folder`."""
        return short(model_pb2.ModelFormat, self._message.format, "MODEL_FORMAT_").lower()

    @property
    def state(self) -> ModelState:
        """Where it is in its life."""
        return ModelState(short(model_pb2.ModelState, self._message.state, "MODEL_STATE_"))

    @property
    def size_bytes(self) -> int:
        """Length of what was uploaded."""
        return self._message.source.size_bytes

    @property
    def digest(self) -> str:
        """Digest of what was uploaded, as the contract writes it."""
        return self._message.source.digest

    @property
    def create_time(self) -> datetime | None:
        """When it was declared."""
        return moment(self._message, "create_time")

    def delete(self) -> None:
        """Deletes it for good. Raises NotFound, FailedPrecondition (IN_USE)."""
        self._connection.call(self._connection.models.DeleteModel, model_pb2.DeleteModelRequest(name=self.name))


class Models:
    """The uploaded models of a coordinator."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def get(self, name: str) -> Model:
        """One by its name, with or without `models/`. Raises NotFound."""
        request = model_pb2.GetUploadedModelRequest(name=resource("models", name))
        return Model(self._connection, self._connection.call(self._connection.models.GetUploadedModel, request).model)

    def list(self) -> Iterator[Model]:
        """All of them, newest first, a page at a time."""
        token = ""
        while True:
            request = model_pb2.ListModelsRequest(page_size=_PAGE, page_token=token)
            page = self._connection.call(self._connection.models.ListModels, request)
            yield from (Model(self._connection, message) for message in page.models)
            token = page.next_page_token
            if not token:
                return

    def delete(self, name: str) -> None:
        """Deletes one for good. Raises NotFound, FailedPrecondition (IN_USE)."""
        request = model_pb2.DeleteModelRequest(name=resource("models", name))
        self._connection.call(self._connection.models.DeleteModel, request)

    def upload(
        self, path: str | PathLike[str], name: str | None = None, progress: TransferProgress | None = None
    ) -> Model:
        """Uploads a `.safetensors` file of an architecture's tensors, or a folder as transformers saves it.

        Of a folder only configuration, safetensors, tokenizer and preprocessing are taken, and of one that TrainNet
        made of an `mlp` or a `cnn` the weights.

        The same bytes with the same name are the same model: a second upload resumes an interrupted one and answers a
        complete one at once. Raises InvalidFile, UploadFailed, ConnectionFailed.
        """
        source = Path(path)
        shown = name or source.resolve().name
        source = (_folders.plain_weights(source) or source) if source.is_dir() else source
        if not source.is_dir():
            check_weights(source)
            return self._upload(source, shown, model_pb2.MODEL_FORMAT_SAFETENSORS, progress)
        files = _folders.model_files(source)
        with _folders.zipped(source, files, partial(progress, "zip") if progress else None) as archive:
            return self._upload(archive, shown, model_pb2.MODEL_FORMAT_FOLDER, progress)

    def _upload(self, file: Path, shown: str, kind: model_pb2.ModelFormat, progress: TransferProgress | None) -> Model:
        size = file.stat().st_size
        digests = file_digests(file, (lambda done: progress("hash", done, size)) if progress else None)
        facts = f"{shown}\0{kind}".encode()
        stubs = self._connection.models
        answer = self._connection.call(
            stubs.CreateModel,
            model_pb2.CreateModelRequest(
                request_id=f"upload-{hashlib.sha256(b''.join(digests.parts) + facts).hexdigest()}",
                display_name=shown,
                format=kind,
                declaration=artifact_pb2.UploadDeclaration(size_bytes=digests.size, part_sha256=digests.parts),
            ),
        )
        model = answer.model
        if model.state == model_pb2.MODEL_STATE_UPLOADING:
            again = model_pb2.GrantModelUploadRequest(name=model.name)
            complete = model_pb2.CompleteModelRequest(name=model.name)
            model = send(
                file,
                digests.size,
                answer.grant,
                lambda: self._connection.call(stubs.GrantModelUpload, again).grant,
                lambda: self._connection.call(stubs.CompleteModel, complete, deadline=COMPLETE_DEADLINE_S).model,
                retry=self._connection.retry,
                advance=(lambda done: progress("upload", done, size)) if progress else None,
            )
        return Model(self._connection, model)


def check_weights(path: Path) -> None:
    """Looks at a file of weights before it is uploaded. Raises InvalidFile for what is plainly none."""
    name = str(path)
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(9)
    except FileNotFoundError:
        raise InvalidFile(name, "no such file", hint="check the path") from None
    except OSError as error:
        raise InvalidFile(name, f"cannot be read: {error.strerror}", hint="check the file") from None
    if path.suffix != ".safetensors":
        raise InvalidFile(
            name,
            "is no .safetensors file; pickles can run code when they are read",
            hint=_folders.TO_SAFETENSORS,
        )
    length = int.from_bytes(head[:8], "little")
    if size < 10 or head[8:] != b"{" or length > min(size - 8, _MAX_HEADER):
        raise InvalidFile(name, "is no safetensors file, or ends too early", hint="write or download it again")


def named_base(base: str) -> task_pb2.BaseModel | None:
    """What a name stands for: `jobs/…`, `models/…`, `hub:owner/name[@revision]`; None where it can only be a path.

    Raises InvalidArgument for a name that is none.
    """
    for collection in ("jobs", "models"):
        if base.startswith(f"{collection}/") and looks_like(collection, base):
            return task_pb2.BaseModel(job=base) if collection == "jobs" else task_pb2.BaseModel(model=base)
    if base.startswith(HUB):
        name = base.removeprefix(HUB)
        if not _HUB_NAME.fullmatch(name) or len(name) > 200:
            raise bad_base(f"{name!r} is no name on the hub", "write hub:owner/name or hub:owner/name@revision")
        return task_pb2.BaseModel(hub=name)
    return None


def bad_base(message: str, hint: str) -> InvalidArgument:
    """The error for a base that cannot be one."""
    return InvalidArgument(f"base: {message}", violations=(FieldViolation("spec.base", message),), hint=hint)


def describe_base(base: task_pb2.BaseModel) -> str:
    """As a person names it; empty for scratch."""
    kind = base.WhichOneof("source")
    if kind is None:
        return ""
    return f"{HUB}{base.hub}" if kind == "hub" else str(getattr(base, kind))
