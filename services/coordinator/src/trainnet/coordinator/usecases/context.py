"""What every use case works with; made once by `app.py`."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from trainnet.coordinator.settings import CoordinatorSettings
from trainnet.coordinator.storage.database import Database
from trainnet.coordinator.usecases.uploads import Uploads
from trainnet.runtime.store import ObjectStore


@dataclass(frozen=True)
class Context:
    database: Database
    store: ObjectStore
    uploads: Uploads
    settings: CoordinatorSettings
    clock: Callable[[], float] = time.time
    """Unix seconds, for what is stored."""
    monotonic: Callable[[], float] = time.monotonic
    """Seconds that never jump, for leases."""
