"""Hyperparameters: defaults filled in, bad values refused by name."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainnet.coordinator.domain.catalog import ARCHITECTURES, Architecture, BadHyperparameter, Type

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=4,
)

KINDS = {
    Type.INTEGER: int,
    Type.FLOAT: float,
    Type.CHOICE: str,
    Type.BOOLEAN: bool,
    Type.INTEGER_LIST: list,
    Type.STRING: str,
}


@pytest.mark.parametrize("architecture", ARCHITECTURES.values(), ids=ARCHITECTURES)
def test_defaults_pass_their_own_checks(architecture: Architecture) -> None:
    defaults = architecture.complete({})
    assert architecture.complete(defaults) == defaults


@given(st.sampled_from(sorted(ARCHITECTURES)), st.integers(0, 100), ANYTHING)
def test_any_value_is_taken_or_refused_by_name(architecture: str, index: int, value: object) -> None:
    knobs = ARCHITECTURES[architecture].hyperparameters
    knob = knobs[index % len(knobs)]
    refusal = None
    try:
        taken = ARCHITECTURES[architecture].complete({knob.name: value})[knob.name]
    except BadHyperparameter as error:
        refusal = error
    else:
        assert type(taken) is KINDS[knob.type] or (taken is None and knob.default is None)
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
        ("gpt2", "n_layer", 3.0, "gpt2 has no hyperparameter n_layer: did you mean config.n_layer?"),
        ("gpt2", "lora.ranks", 3.0, "gpt2 has no hyperparameter lora.ranks: did you mean lora.rank?"),
        ("gpt2", "size", "huge", "size must be one of tiny, small, base, not 'huge'"),
        ("gpt2", "config.n_layer", 0.0, "config.n_layer must be a whole number from 1 to 1024, not 0"),
        ("gpt2", "batch_size", None, "batch_size must be a whole number from 1 to 65536, not None"),
        ("vit", "config.hidden_act", True, "config.hidden_act must be a text of up to 1000 characters, not True"),
    ],
)
def test_a_bad_value_says_what_may_stand_there(architecture: str, name: str, value: object, message: str) -> None:
    with pytest.raises(BadHyperparameter) as raised:
        ARCHITECTURES[architecture].complete({name: value})
    assert str(raised.value) == message
    assert raised.value.field == name


def test_a_name_unlike_any_is_told_what_there_is() -> None:
    with pytest.raises(
        BadHyperparameter, match=r"it takes size, max_length, .* fields of its configuration as config\.NAME"
    ):
        ARCHITECTURES["gpt2"].complete({"zzz": 1.0})


def test_null_is_the_default_where_size_or_base_decides() -> None:
    completed = ARCHITECTURES["gpt2"].complete({"config.n_layer": 3.0, "config.n_head": None})
    assert completed["config.n_layer"] == 3
    assert completed["config.n_head"] is None
    assert completed["config.n_embd"] is None


@pytest.mark.parametrize("architecture", ARCHITECTURES.values(), ids=ARCHITECTURES)
def test_every_knob_is_explained_and_named_once(architecture: Architecture) -> None:
    names = [knob.name for knob in architecture.hyperparameters]
    assert len(names) == len(set(names))
    for knob in architecture.hyperparameters:
        assert knob.description.endswith("."), knob.name
        assert (knob.type is Type.CHOICE) == bool(knob.choices), knob.name
        assert (knob.minimum is None) == (knob.maximum is None), knob.name


@pytest.mark.parametrize(
    "architecture", [item for item in ARCHITECTURES.values() if item.sizes], ids=lambda item: item.name
)
def test_sizes_are_choices_from_small_to_large(architecture: Architecture) -> None:
    knob = next(knob for knob in architecture.hyperparameters if knob.name == "size")
    assert knob.choices == tuple(size.name for size in architecture.sizes)
    parameters = [size.parameters for size in architecture.sizes]
    assert parameters == sorted(parameters)
