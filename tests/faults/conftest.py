"""What faults happen to: each module brings a `running_stack` of its own."""

import pytest

from tests.support.data import breast_cancer_csv
from tests.support.stacks import Stack
from trainnet.client import Dataset


@pytest.fixture
def stack(running_stack: Stack) -> Stack:
    """With everything up, whatever the test before did to it."""
    running_stack.wait_healthy()
    return running_stack


@pytest.fixture(scope="module")
def dataset(running_stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    path = breast_cancer_csv(tmp_path_factory.mktemp("data") / "cells.csv")
    return running_stack.client.datasets.upload(path).wait(timeout=60)
