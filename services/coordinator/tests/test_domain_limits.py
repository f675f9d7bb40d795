"""Token buckets: as much as the rate allows, no more, and no memory without end."""

from hypothesis import given
from hypothesis import strategies as st

from trainnet.coordinator.domain.limits import Bucket, Buckets, Rate


@given(st.lists(st.floats(0, 2), max_size=200), st.floats(0.1, 50), st.integers(1, 20))
def test_no_more_than_the_burst_and_the_rate(pauses: list[float], per_second: float, burst: int) -> None:
    bucket, now, taken = Bucket(Rate(per_second, burst), 0.0), 0.0, 0
    for pause in pauses:
        now += pause
        taken += bucket.take(now)
    assert taken <= burst + per_second * now + 1e-6


@given(st.floats(0.1, 100), st.integers(1, 20), st.integers(1, 100))
def test_whoever_keeps_to_the_rate_is_never_stopped(per_second: float, burst: int, times: int) -> None:
    bucket = Bucket(Rate(per_second, burst), 0.0)
    assert all(bucket.take(number * 1.001 / per_second) for number in range(times))


def test_a_clock_that_stands_or_turns_back_gives_nothing() -> None:
    bucket = Bucket(Rate(1.0, 2), 10.0)
    assert [bucket.take(now) for now in (10.0, 10.0, 10.0, 5.0, 10.5)] == [True, True, False, False, False]
    assert bucket.take(11.5)


def test_names_do_not_share_and_the_quiet_ones_are_forgotten() -> None:
    buckets = Buckets(Rate(1.0, 2), most=3)
    assert [buckets.take("eve", 0.0) for _ in range(3)] == [True, True, False]
    assert buckets.take("ada", 0.0)
    assert len(buckets) == 2
    assert buckets.take("bob", 100.0)  # by now eve and ada would have full buckets again
    assert len(buckets) == 1
    for number in range(50):
        buckets.take(f"sybil-{number}", 100.0)
    assert len(buckets) == 3
