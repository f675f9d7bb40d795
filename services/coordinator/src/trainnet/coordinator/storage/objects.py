"""Objects of the store as columns of rows."""

from typing import Any

from trainnet.v1 import artifact_pb2


def artifact_values(prefix: str, artifact: artifact_pb2.Artifact) -> dict[str, Any]:
    """Column values of an object."""
    return {
        f"{prefix}_key": artifact.key,
        f"{prefix}_digest": artifact.digest,
        f"{prefix}_size": artifact.size_bytes,
        f"{prefix}_part_size": artifact.part_size_bytes,
    }
