from __future__ import annotations

from pathlib import Path

import pytest
import torch

from services.worker.tests.models.scene import Scene, Shard, shards


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Shard]:
    return shards(tmp_path_factory.mktemp("shards"))


@pytest.fixture
def scene(tmp_path: Path, made: dict[str, Shard]) -> Scene:
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    return Scene(tmp_path / "runs", made)
