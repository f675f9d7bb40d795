"""Hyperparameters: defaults filled in, bad values refused by name."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainnet.coordinator.domain.catalog import ARCHITECTURES, Architecture, BadHyperparameter

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=4,
)


@pytest.mark.parametrize("architecture", ARCHITECTURES.values(), ids=ARCHITECTURES)
def test_defaults_pass_their_own_checks(architecture: Architecture) -> None:
    defaults = architecture.complete({})
    assert architecture.complete(defaults) == defaults


@given(st.sampled_from(sorted(ARCHITECTURES)), st.integers(0, 20), ANYTHING)
def test_any_value_is_taken_or_refused_by_name(architecture: str, index: int, value: object) -> None:
    knobs = ARCHITECTURES[architecture].hyperparameters
    knob = knobs[index % len(knobs)]
    refusal = None
    try:
        taken = ARCHITECTURES[architecture].complete({knob.name: value})[knob.name]
    except BadHyperparameter as error:
        refusal = error
    else:
        assert type(taken) is type(knob.default)
    if refusal is not None:
        assert refusal.field == knob.name
        assert knob.expected() in str(refusal)


@pytest.mark.parametrize(
    ("architecture", "name", "value", "message"),
    [
        ("mlp", "learning_rate", "fast", "learning_rate must be a number from 1e-07 to 10, not 'fast'"),
        ("mlp", "learning_rate", 11.0, "learning_rate must be a number from 1e-07 to 10, not 11.0"),
        ("mlp", "learning_rate", math.nan, "learning_rate must be a number from 1e-07 to 10, not nan"),
        ("mlp", "batch_size", 1.5, "batch_size must be a whole number from 1 to 65536, not 1.5"),
        ("mlp", "batch_size", True, "batch_size must be a whole number from 1 to 65536, not True"),
        ("mlp", "optimizer", "adam", "optimizer must be one of sgd, adamw, not 'adam'"),
        ("mlp", "hidden", [], "hidden must be a list of 1 to 16 whole numbers from 1 to 65536, not []"),
        ("mlp", "hidden", [64, 0], "hidden must be a list of 1 to 16 whole numbers from 1 to 65536, not 0"),
        ("cnn", "widht", 3.0, "cnn has no hyperparameter widht: did you mean width?"),
        ("noop", "x", 3.0, "noop has no hyperparameter x: it takes params"),
    ],
)
def test_a_bad_value_says_what_may_stand_there(architecture: str, name: str, value: object, message: str) -> None:
    with pytest.raises(BadHyperparameter) as raised:
        ARCHITECTURES[architecture].complete({name: value})
    assert str(raised.value) == message
    assert raised.value.field == name
