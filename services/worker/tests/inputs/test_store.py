"""Prepared inputs on disk: made once, shared by processes, bounded, and never half."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from trainnet.worker.errors import TaskError
from trainnet.worker.trainer.inputs import store as stores
from trainnet.worker.trainer.inputs.encoding import TRUNCATED, Arrays, Batch, Field
from trainnet.worker.trainer.inputs.examples import Feed
from trainnet.worker.trainer.inputs.store import InputStore


class Numbers:
    """`count` examples of `width` numbers; every third is said to be cut. Counts how often it was asked."""

    def __init__(self, count: int, width: int = 4, block: int = 8) -> None:
        self.count, self.width, self.block = count, width, block
        self.made = 0

    @property
    def fields(self) -> tuple[Field, ...]:
        return Field("x", "<f4", (self.width,)), Field("y", "<i8", ())

    @property
    def identity(self) -> str:
        return f"numbers {self.count} {self.width}"

    def examples(self, path: Path) -> Iterator[Arrays]:
        self.made += 1
        for start in range(0, self.count, self.block):
            y = np.arange(start, min(start + self.block, self.count))
            yield {"x": np.repeat(y[:, None], self.width, 1).astype("<f4"), "y": y, TRUNCATED: y % 3 == 0}

    def batch(self, examples: Batch) -> Batch:
        return examples


PATH = Path("unused")


def entries(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir() if entry.is_dir())


def used(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


@pytest.mark.parametrize("small", [0, 1 << 20])
def test_examples_are_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small: int) -> None:
    monkeypatch.setattr(stores, "SMALL", small)
    encoding = Numbers(20)
    for store in (InputStore(tmp_path, 10**9), InputStore(tmp_path, 10**9)):
        for _ in range(2):
            found = store.open("sha256:a", PATH, encoding)
            assert (len(found), found.truncated) == (20, 7)
            assert found.fields["y"].tolist() == list(range(20))
    assert encoding.made == 1
    batch = Feed(found, torch.device("cpu")).batch(torch.tensor([3, 19, 0]))
    assert (batch["x"][:, 0].tolist(), batch["y"].tolist()) == ([3, 19, 0], [3, 19, 0])
    store.open("sha256:b", PATH, encoding)
    store.open("sha256:a", PATH, Numbers(20, 5))
    assert len(entries(tmp_path)) == 3


def test_a_shard_without_examples(tmp_path: Path) -> None:
    assert len(InputStore(tmp_path, 10**9).open("sha256:a", PATH, Numbers(0))) == 0


def test_what_was_used_longest_ago_goes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stores, "SMALL", 0)
    size = 1000 * (4 * 4 + 8)
    store, encoding = InputStore(tmp_path, 3 * size + 2000), Numbers(1000)
    for digest in "abacd":
        store.open(digest, PATH, encoding)
        assert used(tmp_path) <= 3 * size + 2000, "entries, and their small descriptions"
    assert encoding.made == 4
    store.open("a", PATH, encoding)
    assert encoding.made == 4
    store.open("b", PATH, encoding)
    assert encoding.made == 5


def test_what_somebody_maps_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stores, "SMALL", 0)
    size = 1000 * (4 * 4 + 8)
    one, other, encoding = InputStore(tmp_path, 2 * size), InputStore(tmp_path, 2 * size), Numbers(1000)
    mapped = one.open("a", PATH, encoding)
    with pytest.raises(TaskError, match=r"take more than the .* half of --max-disk"):
        other.open("b", PATH, Numbers(1900))
    assert len(entries(tmp_path)) == 1
    del mapped
    other.open("b", PATH, Numbers(1900))
    assert len(entries(tmp_path)) == 1


def test_damage_is_found_at_the_first_use(tmp_path: Path) -> None:
    encoding = Numbers(20)
    InputStore(tmp_path, 10**9).open("a", PATH, encoding)
    (file,) = tmp_path.rglob("x.bin")
    for damage in (file.read_bytes()[:-1], bytes(len(file.read_bytes()))):
        file.write_bytes(damage)
        found = InputStore(tmp_path, 10**9).open("a", PATH, encoding)
        assert found.fields["x"][:, 0].tolist() == list(range(20))
    assert encoding.made == 3


def test_an_error_in_the_middle_leaves_nothing(tmp_path: Path) -> None:
    def stop() -> None:
        raise KeyboardInterrupt

    store, encoding = InputStore(tmp_path, 10**9), Numbers(20)
    with pytest.raises(KeyboardInterrupt):
        store.open("a", PATH, encoding, on_block=stop)
    assert entries(tmp_path) == []
    assert len(store.open("a", PATH, encoding)) == 20


def test_a_killed_process_leaves_nothing_half(tmp_path: Path) -> None:
    script = textwrap.dedent("""
        import sys
        from pathlib import Path
        from services.worker.tests.inputs.test_store import Numbers
        from trainnet.worker.trainer.inputs.store import InputStore

        def told():
            print("block", flush=True)

        InputStore(Path(sys.argv[1]), 10**9).open("a", Path(), Numbers(10**9), on_block=told)
    """)
    environment = {**os.environ, "PYTHONPATH": "."}
    with subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        try:
            assert process.stdout is not None
            # The second is told of when the first has its place.
            assert [process.stdout.readline() for _ in range(2)] == ["block\n"] * 2
            # What grows is nobody's to remove, and counts.
            store = InputStore(tmp_path, 17 << 20)
            with pytest.raises(TaskError, match="half of --max-disk"):
                store.open("b", PATH, Numbers(100_000))
        finally:
            process.kill()
    assert [name[:5] for name in entries(tmp_path)] == [".new-"]
    assert len(store.open("b", PATH, Numbers(100_000))) == 100_000
    assert len(entries(tmp_path)) == 1


def test_two_that_make_the_same_agree(tmp_path: Path) -> None:
    inner, outer = InputStore(tmp_path, 10**9), InputStore(tmp_path, 10**9)
    encoding = Numbers(20)

    def be_faster() -> None:
        inner.open("a", PATH, encoding)

    found = outer.open("a", PATH, encoding, on_block=be_faster)
    assert found.fields["y"].tolist() == list(range(20))
    assert len(entries(tmp_path)) == 1
