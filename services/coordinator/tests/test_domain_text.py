"""What strangers say is made fit to be shown."""

import json
import math

from trainnet.coordinator.domain.text import MAX_METRICS, plain_metrics, printable


def test_control_characters_do_not_reach_a_terminal() -> None:
    assert printable("out of memory\x1b]0;gotcha\x07\nnext") == "out of memory ]0;gotcha  next"
    assert printable("größer als 2 GB") == "größer als 2 GB"


def test_metrics_are_finite_short_and_few() -> None:
    given = {f"m{index:04}": 1.0 for index in range(5000)} | {
        "a": math.nan,
        "b": math.inf,
        "c": -0.5,
        "x" * 64: 1.0,
        "a\x1b": 1.0,
    }
    kept = plain_metrics(given)
    assert len(kept) == MAX_METRICS
    assert kept["c"] == -0.5
    assert not {"a", "b", "x" * 64, "a\x1b"} & kept.keys()
    json.dumps(kept, allow_nan=False)
