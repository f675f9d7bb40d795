"""What one worker may ask of a coordinator in a time. Kept by replica, in memory: a limit is no state of anything."""

from collections.abc import Callable
from typing import Any

from trainnet.coordinator.domain.limits import Bucket, Buckets, Rate
from trainnet.coordinator.settings import CoordinatorSettings
from trainnet.runtime.errors import ResourceExhausted


class TooManyMessages(ResourceExhausted):
    """This session sent more messages than it may; connect again in a few seconds."""

    reason = "TOO_MANY_MESSAGES"


class TooManyHellos(ResourceExhausted):
    """This worker opens sessions too often; connect again in a few seconds."""

    reason = "TOO_MANY_HELLOS"


class TooManyRegistrations(ResourceExhausted):
    """Too many workers register from this address; try again in a few seconds."""

    reason = "TOO_MANY_REGISTRATIONS"


class Limits:
    def __init__(self, settings: CoordinatorSettings, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._messages = Rate(settings.session_rate, settings.session_burst)
        self._hellos = Buckets(Rate(settings.hello_rate, settings.hello_burst))
        self._registrations = Buckets(Rate(settings.register_rate, settings.register_burst))

    def registration(self, peer: str) -> None:
        """`peer` as gRPC names it. Raises TooManyRegistrations."""
        address = peer.rpartition(":")[0] or peer  # without the port, which each connection has of its own
        if not self._registrations.take(address, self._clock()):
            raise TooManyRegistrations(metadata={"address": address})

    def hello(self, worker: str) -> None:
        """Raises TooManyHellos."""
        if not self._hellos.take(worker, self._clock()):
            raise TooManyHellos

    def session(self) -> Callable[[], None]:
        """Counts the messages of one session: raises TooManyMessages with the first too many."""
        bucket = Bucket(self._messages, self._clock())

        def count() -> None:
            if not bucket.take(self._clock()):
                raise TooManyMessages(metadata=_shown(self._messages))

        return count


def _shown(rate: Rate) -> dict[str, Any]:
    return {"per_second": f"{rate.per_second:g}", "burst": f"{rate.burst:g}"}
