"""Digests as text, from bytes, parts and files."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainnet.runtime import digest

EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def test_known_values() -> None:
    assert digest.of_bytes(b"") == f"sha256:{EMPTY}"
    parts = [hashlib.sha256(b"a").digest(), hashlib.sha256(b"b").digest()]
    assert digest.composite(parts) == f"sha256-parts:{hashlib.sha256(parts[0] + parts[1]).hexdigest()}/2"


@given(st.binary(max_size=64), st.integers(1, digest.MAX_PARTS) | st.none())
def test_text_survives_parsing(data: bytes, parts: int | None) -> None:
    value = digest.Digest(hashlib.sha256(data).digest(), parts)
    assert digest.parse(str(value)) == value


@pytest.mark.parametrize(
    "text",
    [
        "",
        EMPTY,
        f"sha256:{EMPTY.upper()}",
        f"sha256:{EMPTY}\n",
        f"sha256:{EMPTY}/1",
        f"sha256-parts:{EMPTY}",
        f"sha256-parts:{EMPTY}/0",
        f"sha256-parts:{EMPTY}/01",
        f"sha256-parts:{EMPTY}/10001",
        f"sha512:{EMPTY}",
    ],
)
def test_other_text_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"expected|more than"):
        digest.parse(text)


@pytest.mark.parametrize("parts", [[], [b"short"]])
def test_composite_wants_whole_digests(parts: list[bytes]) -> None:
    with pytest.raises(ValueError, match="part"):
        digest.composite(parts)


@pytest.mark.parametrize("size", [0, 1, 9, 10, 11, 20, 25])
def test_files_are_cut_like_uploads(tmp_path: Path, size: int) -> None:
    data = bytes(range(size))
    path = tmp_path / "file"
    path.write_bytes(data)
    found = digest.file_digests(path, 10)
    pieces = [data[start : start + 10] for start in range(0, size, 10)] or [b""]
    assert found.size == size
    assert found.parts == tuple(hashlib.sha256(piece).digest() for piece in pieces)
    assert found.digest == (digest.of_bytes(data) if len(pieces) == 1 else digest.composite(found.parts))


def test_the_store_spells_it_in_base64() -> None:
    raw = bytes.fromhex(EMPTY)
    assert digest.from_s3(digest.to_s3(raw)) == f"sha256:{EMPTY}"
    assert digest.from_s3(f"{digest.to_s3(raw)}-3") == f"sha256-parts:{EMPTY}/3"
    assert digest.from_s3(None) is None
    assert digest.from_s3("") is None
