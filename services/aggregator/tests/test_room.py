"""What shares the memory of large models: in turn, never more than there is."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from trainnet.aggregator.errors import Cancelled
from trainnet.aggregator.room import Room


class Guest:
    """Holds its places until told to leave."""

    def __init__(self, pool: ThreadPoolExecutor, room: Room, places: int) -> None:
        self.inside, self.leave, self.cancel = threading.Event(), threading.Event(), threading.Event()
        self.done = pool.submit(self._stay, room, places)

    def _stay(self, room: Room, places: int) -> None:
        with room.take(places, self.cancel):
            self.inside.set()
            assert self.leave.wait(20)

    def go(self) -> None:
        self.leave.set()
        self.done.result(20)


def test_who_waits_for_much_is_not_overtaken() -> None:
    room = Room(4)
    with ThreadPoolExecutor(4) as pool:
        first = Guest(pool, room, 2)
        assert first.inside.wait(20)
        merge = Guest(pool, room, 3)
        while not room._waiting:  # it has begun to wait
            assert not merge.inside.is_set()
        check = Guest(pool, room, 1)
        assert not check.inside.wait(0.3)
        first.go()
        assert merge.inside.wait(20)
        assert check.inside.wait(20)
        merge.go()
        check.go()
    assert room._free == 4


def test_a_claim_that_is_lost_stops_waiting_and_holds_up_nobody() -> None:
    room = Room(2)
    with ThreadPoolExecutor(3) as pool:
        first = Guest(pool, room, 2)
        assert first.inside.wait(20)
        lost, after = Guest(pool, room, 2), Guest(pool, room, 1)
        lost.cancel.set()
        with pytest.raises(Cancelled):
            lost.done.result(20)
        first.go()
        assert after.inside.wait(20)
        after.go()
    assert room._free == 2


def test_more_than_there_is_means_all_and_nothing_means_at_once() -> None:
    room = Room(1)
    with room.take(3, threading.Event()), room.take(0, threading.Event()):
        assert room._free == 0
    assert room._free == 1


def test_places_come_back_after_an_error() -> None:
    room = Room(1)
    with pytest.raises(ZeroDivisionError), room.take(1, threading.Event()):
        raise ZeroDivisionError
    assert room._free == 1
