"""The object store against a real S3 server."""

from __future__ import annotations

import hashlib
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
import urllib3

from trainnet.runtime import digest
from trainnet.runtime.presign import Credentials, SignedRequest
from trainnet.runtime.store import (
    ObjectExists,
    ObjectNotFound,
    ObjectStore,
    ObjectTooLarge,
    ShortRead,
    StoreRefused,
    StoreUnavailable,
    UploadNotFound,
)

if TYPE_CHECKING:
    from services.runtime.tests.conftest import Weed

MIB = 1024 * 1024


def sha(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def send(request: SignedRequest, body: bytes | None = None, **changes: str | None) -> urllib3.BaseHTTPResponse:
    headers = dict(request.headers)
    for name, value in changes.items():
        headers.pop(name.replace("_", "-"), None)
        if value is not None:
            headers[name.replace("_", "-")] = value
    with urllib3.PoolManager() as pool:
        return pool.request(request.method, request.url, body=body, headers=headers, retries=False)


def test_the_store_conforms_and_nothing_is_left_behind(store: ObjectStore) -> None:
    store.check_conformance()
    assert list(store.list(".trainnet-conformance/")) == []
    assert list(store.list_uploads(".trainnet-conformance/")) == []


def test_put_get_stat_list_delete(store: ObjectStore, prefix: str) -> None:
    names = [f"{prefix}a b/ü+&=.bin", f"{prefix}z"]
    for name in names:
        assert store.put(name, b"hello").sha256 == digest.of_bytes(b"hello")
    assert store.get(names[0], 5) == b"hello"
    assert store.stat(names[0]).size == 5
    assert store.stat(names[0]).sha256 == digest.of_bytes(b"hello")
    assert sorted(item.key for item in store.list(prefix)) == sorted(names)
    store.delete([*names, f"{prefix}never was"])
    assert list(store.list(prefix)) == []
    with pytest.raises(ObjectNotFound):
        store.stat(names[0])
    with pytest.raises(ObjectNotFound):
        store.read_into(names[0], 0, memoryview(bytearray(1)))


def test_objects_are_created_once(store: ObjectStore, prefix: str) -> None:
    key = f"{prefix}once"
    store.put(key, b"first")
    with pytest.raises(ObjectExists):
        store.put(key, b"second")
    assert store.get(key, 100) == b"first"
    store.put(key, b"third", create_only=False)
    assert store.get(key, 100) == b"third"


def test_one_of_many_creators_wins(store: ObjectStore, prefix: str) -> None:
    key = f"{prefix}race"

    def create(number: int) -> bool:
        try:
            store.put(key, str(number).encode())
        except ObjectExists:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(create, range(8))) == 1


def test_ranged_reads_fill_the_buffer_or_fail(store: ObjectStore, prefix: str) -> None:
    key, data = f"{prefix}ranges", os.urandom(3 * MIB)
    store.put(key, data)
    buffer = bytearray(MIB)
    store.read_into(key, 12_345, memoryview(buffer))
    assert bytes(buffer) == data[12_345 : 12_345 + MIB]
    store.read_into(key, 0, memoryview(bytearray()))
    for offset in (len(data) - 10, len(data) + 10):
        with pytest.raises(ShortRead):
            store.read_into(key, offset, memoryview(buffer))
    whole = bytearray(len(data))
    store.read_into(key, 0, memoryview(whole))
    assert bytes(whole) == data
    with pytest.raises(ShortRead):
        store.read_into(key, 0, memoryview(bytearray(len(data) + 1)))
    with pytest.raises(ObjectTooLarge):
        store.get(key, MIB)


def test_a_presigned_put_takes_exactly_the_declared_bytes_once(store: ObjectStore, prefix: str) -> None:
    key, data = f"{prefix}update", b"abc" * 1000
    request = store.presign_put(key, size=len(data), sha256=sha(data), expires=timedelta(minutes=5))
    assert set(request.headers) == {"content-length", "x-amz-checksum-sha256", "if-none-match"}
    assert send(request, data + b"x", content_length=str(len(data) + 1)).status == 403
    assert send(request, b"x" * len(data)).status == 400
    assert send(request, data, x_amz_checksum_sha256=None).status == 403
    assert send(request, data, if_none_match=None).status == 403
    with pytest.raises(ObjectNotFound):
        store.stat(key)
    assert send(request, data).status == 200
    assert send(request, data).status == 412
    assert send(store.presign_get(key)).data == data


def test_presigned_urls_are_for_the_public_endpoint(weed: Weed, prefix: str) -> None:
    with weed.store(public_endpoint="files.example.org:443") as store:
        assert store.presign_get(f"{prefix}x").url.startswith("http://files.example.org:443/trainnet/")


def test_multipart_upload_by_presigned_parts(store: ObjectStore, prefix: str) -> None:
    key, parts = f"{prefix}big", [os.urandom(5 * MIB), os.urandom(1000)]
    upload_id = store.create_multipart(key)
    for number, part in enumerate(parts, 1):
        request = store.presign_part(key, upload_id, number, size=len(part), sha256=sha(part))
        assert send(request, bytes(len(part))).status == 400
        assert send(request, part).status == 200
    assert [upload.upload_id for upload in store.list_uploads(prefix)] == [upload_id]
    listed = store.list_parts(key, upload_id)
    assert [(part.number, part.size) for part in listed] == [(1, len(parts[0])), (2, len(parts[1]))]
    with pytest.raises(StoreRefused):
        store.complete_multipart(key, upload_id, [replace(part, sha256=bytes(32)) for part in listed])
    granted = [replace(part, sha256=sha(data)) for part, data in zip(listed, parts, strict=True)]
    store.complete_multipart(key, upload_id, granted)
    info = store.stat(key)
    assert info.sha256 == digest.composite([sha(part) for part in parts])
    assert info.size == sum(map(len, parts))
    assert store.get(key, info.size) == b"".join(parts)
    assert list(store.list_uploads(prefix)) == []


def test_completing_is_create_only_and_aborting_is_idempotent(store: ObjectStore, prefix: str) -> None:
    key, data = f"{prefix}contested", b"x" * 100
    first, second = store.create_multipart(key), store.create_multipart(key)
    parts = [store.put_part(key, upload_id, 1, data, sha256=sha(data)) for upload_id in (first, second)]
    store.complete_multipart(key, first, parts[:1])
    with pytest.raises(ObjectExists):
        store.complete_multipart(key, second, parts[1:])
    store.abort_multipart(key, second)
    store.abort_multipart(key, second)
    with pytest.raises(UploadNotFound):
        store.list_parts(key, second)
    third = store.create_multipart(key)
    with pytest.raises(StoreRefused):
        store.put_part(key, third, 1, data, sha256=bytes(32))
    store.delete_prefix(prefix)
    assert list(store.list_uploads(prefix)) == []
    with pytest.raises(ValueError, match="whole bucket"):
        store.delete_prefix("")


@pytest.mark.parametrize("uploads", [1, 3])
@pytest.mark.parametrize("size", [0, 1000, 5 * MIB, 5 * MIB + 1, 17 * MIB])
def test_writer_streams_and_tells_the_digest(store: ObjectStore, prefix: str, size: int, uploads: int) -> None:
    key, data = f"{prefix}stream", os.urandom(size)
    with store.open_writer(key, part_size=5 * MIB, uploads=uploads) as writer:
        for start in range(0, size, 777_777):
            writer.write(memoryview(data)[start : start + 777_777])
        info = writer.close()
    parts = [sha(data[start : start + 5 * MIB]) for start in range(0, size, 5 * MIB)]
    assert info.sha256 == (digest.composite(parts) if len(parts) > 1 else digest.of_bytes(data))
    assert store.stat(key).sha256 == info.sha256
    assert store.get(key, size) == data
    with pytest.raises(ValueError, match="closed"):
        writer.write(b"more")


def test_writer_leaves_nothing_when_aborted_or_too_late(store: ObjectStore, prefix: str) -> None:
    key = f"{prefix}stream"

    def interrupted() -> None:
        with store.open_writer(key, part_size=5 * MIB) as writer:
            writer.write(bytes(12 * MIB))
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        interrupted()
    with pytest.raises(ObjectNotFound):
        store.stat(key)
    store.put(key, b"taken")
    late = store.open_writer(key, part_size=5 * MIB)
    late.write(bytes(12 * MIB))
    with pytest.raises(ObjectExists):
        late.close()
    assert list(store.list_uploads(prefix)) == []


def test_wrong_credentials_are_refused_at_once(weed: Weed) -> None:
    with ObjectStore(Credentials("admin", "wrong"), endpoint=weed.endpoint) as store, pytest.raises(StoreRefused):
        store.stat("x")


def test_an_absent_store_is_unavailable_in_bounded_time(free_port: int) -> None:
    with (
        ObjectStore(Credentials("a", "b"), endpoint=f"127.0.0.1:{free_port}", patience=0.5) as store,
        pytest.raises(StoreUnavailable),
    ):
        store.stat("x")


def test_operations_survive_a_killed_store(weed: Weed, store: ObjectStore, prefix: str) -> None:
    data = os.urandom(MIB)
    store.put(f"{prefix}before", data)
    weed.kill()
    restart = threading.Thread(target=weed.start)
    restart.start()
    try:
        buffer = bytearray(MIB)
        store.read_into(f"{prefix}before", 0, memoryview(buffer))
        assert bytes(buffer) == data
        store.put(f"{prefix}after", data)
        assert store.get(f"{prefix}after", MIB) == data
    finally:
        restart.join()
