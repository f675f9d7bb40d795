"""What the use cases refuse, with the reason that programs read."""

from trainnet.runtime.errors import AlreadyExists, FailedPrecondition, NotFound


class NoSuchResource(NotFound):
    """There is no such resource."""

    def __init__(self, name: str) -> None:
        super().__init__(f"{name} does not exist", metadata={"name": name})


class RequestIdReused(AlreadyExists):
    """The request id was used for something else before."""

    reason = "REQUEST_ID_REUSED"


class StaleFence(FailedPrecondition):
    """The attempt is not live any more; stop and forget it."""

    reason = "STALE_FENCE"

    def __init__(self, fence: int) -> None:
        super().__init__(f"fence {fence} is stale", metadata={"fence": str(fence)})


class UploadIncomplete(FailedPrecondition):
    """Not every part is stored yet; ask for a grant and upload what is left."""

    reason = "UPLOAD_INCOMPLETE"


class NotUploading(FailedPrecondition):
    """The data set or model does not wait for an upload."""

    reason = "NOT_UPLOADING"


class InUse(FailedPrecondition):
    """Something that has not ended still needs it."""

    reason = "IN_USE"


class DatasetNotReady(FailedPrecondition):
    """The data set cannot be trained on."""

    reason = "DATASET_NOT_READY"


class ModelNotReady(FailedPrecondition):
    """No job can start from the uploaded model."""

    reason = "MODEL_NOT_READY"


class NotEnded(FailedPrecondition):
    """The job has not ended; cancel it first."""

    reason = "NOT_ENDED"


class NoModel(FailedPrecondition):
    """No round of the job was merged yet."""

    reason = "NO_MODEL"


class Collected(FailedPrecondition):
    """The round's weights were collected; only the last rounds are kept."""

    reason = "COLLECTED"
