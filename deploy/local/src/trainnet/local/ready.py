"""Ways to tell that a child serves. Each check is quick and says no, rather than fail, while the child is not there."""

import io
import socket
from pathlib import Path
from typing import Protocol

import grpc
import urllib3
from grpc_health.v1 import health_pb2, health_pb2_grpc
from minio import Minio
from minio.error import MinioException

ANSWER_WITHIN = 1.0


class Readiness(Protocol):
    def reset(self) -> None:
        """Forgets the last run of the child; called before each start."""

    def check(self) -> bool:
        """Whether the child serves now."""


class PortOpen:
    """Somebody accepts connections there."""

    def __init__(self, host: str, port: int) -> None:
        self._address = (host, port)

    def reset(self) -> None:
        pass

    def check(self) -> bool:
        try:
            socket.create_connection(self._address, ANSWER_WITHIN).close()
        except OSError:
            return False
        return True


class FileWritten:
    """The child has written the file, as our own services do once they are connected (TRAINNET_READY_FILE)."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def reset(self) -> None:
        self._path.unlink(missing_ok=True)

    def check(self) -> bool:
        return self._path.exists()


class GrpcServing:
    """The gRPC server's health service says SERVING."""

    def __init__(self, host: str, port: int) -> None:
        self._address = f"{host}:{port}"
        self._open = PortOpen(host, port)

    def reset(self) -> None:
        pass

    def check(self) -> bool:
        if not self._open.check():
            return False
        # A pool of its own: a shared one would remember failures to connect and back off.
        with grpc.insecure_channel(self._address, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
            try:
                stub = health_pb2_grpc.HealthStub(channel)
                answer = stub.Check(health_pb2.HealthCheckRequest(), timeout=ANSWER_WITHIN)  # type: ignore[attr-defined]
            except grpc.RpcError:
                return False
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


class ObjectWritable:
    """An authenticated PUT works: the store answers earlier, while its volumes cannot be written yet."""

    KEY = ".ready"

    def __init__(self, host: str, port: int, access_key: str, secret_key: str, bucket: str) -> None:
        self._open = PortOpen(host, port)
        self._bucket = bucket
        self._client = Minio(
            f"{host}:{port}",
            access_key=access_key,
            secret_key=secret_key,
            secure=False,
            region="us-east-1",
            # One quick try: the supervisor asks again.
            http_client=urllib3.PoolManager(timeout=urllib3.Timeout(5 * ANSWER_WITHIN), retries=urllib3.Retry(0)),
        )

    def reset(self) -> None:
        pass

    def check(self) -> bool:
        if not self._open.check():
            return False
        try:
            # The coordinator makes sure of its bucket itself; a PUT needs one, and this one is the only one there is.
            if not self._client.bucket_exists(self._bucket):
                self._client.make_bucket(self._bucket)
            self._client.put_object(self._bucket, self.KEY, io.BytesIO(b"ready"), 5)
            self._client.remove_object(self._bucket, self.KEY)
        except (MinioException, urllib3.exceptions.HTTPError):
            return False
        return True
