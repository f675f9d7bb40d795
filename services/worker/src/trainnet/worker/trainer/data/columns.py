"""Values of a column as numbers, as text or as bytes: one reading for inspection and for preparation."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

MISSING = ["", "?", "NA", "N/A", "NaN", "nan", "NULL", "null", "None", "none", "#N/A", "<NA>"]
TRAINING = {"train", "training"}
HELD_OUT = {"test", "validation", "valid", "val", "dev", "eval", "holdout"}

_MISSING = pa.array(MISSING, pa.string())
_HELD_OUT = pa.array(sorted(HELD_OUT), pa.string())
_KNOWN_SPLITS = pa.array(sorted(HELD_OUT | TRAINING), pa.string())


def as_text(values: pa.Array) -> pa.Array:
    """Text without blanks around it; whole floats like 3.0 read `3`, so that a label keeps one name."""
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    if pa.types.is_floating(values.type) or pa.types.is_decimal(values.type):
        values = pc.cast(values, pa.float64())
        values = pc.if_else(pc.is_finite(values), values, None)
        whole = pc.equal(values, pc.floor(values))
        small = pc.less(pc.abs(values), 2.0**53)
        rounded = pc.cast(pc.if_else(pc.and_(whole, small), values, 0.0), pa.int64())
        return pc.if_else(pc.and_(whole, small), pc.cast(rounded, pa.string()), pc.cast(values, pa.string()))
    text = pc.utf8_trim_whitespace(pc.cast(values, pa.string()))
    return pc.if_else(pc.equal(text, ""), None, text)


def as_category(values: pa.Array) -> pa.Array:
    """Text, with the usual words for `no value` as missing."""
    text = as_text(values)
    return pc.if_else(pc.is_in(text, value_set=_MISSING), None, text)


def as_numbers(values: pa.Array) -> pa.Array | None:
    """float64 with missing and non-finite values as nulls, or None when something in it is no number."""
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    if is_text(values.type):
        values = as_category(values)
    try:
        numbers = pc.cast(values, pa.float64(), safe=False)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return None
    finite = pc.is_finite(numbers)
    return numbers if pc.all(finite).as_py() else pc.if_else(finite, numbers, None)


def as_free_text(values: pa.Array) -> pa.Array:
    """Text as it stands, blanks and all; the empty text is a missing one."""
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    text = pc.cast(values, pa.string())
    return pc.if_else(pc.equal(text, ""), None, text)


def as_bytes(values: pa.Array) -> pa.Array:
    """The encoded images or sounds of a column of bytes or of structs with `bytes`."""
    if pa.types.is_struct(values.type):
        values = pc.struct_field(values, "bytes")
    return pc.cast(values, pa.large_binary())


def as_codes(values: pa.Array, names: pa.Array, read: Callable[[pa.Array], pa.Array]) -> pa.Array:
    """The index in `names` of what `read` makes of each value; null where it is missing or not among them.

    Only the different values are read, so a column of few ones costs as much as its codes.
    """
    if not pa.types.is_dictionary(values.type):
        values = values.dictionary_encode()
    return pc.take(pc.index_in(read(values.dictionary), value_set=names), values.indices, boundscheck=False)


def held_out(values: pa.Array) -> tuple[NDArray[np.bool_], pa.Array]:
    """Which rows a split column holds out, and the values that are no usual name of a split."""
    text = pc.utf8_lower(as_text(values))
    unknown = pc.and_(pc.is_valid(text), pc.invert(pc.is_in(text, value_set=_KNOWN_SPLITS)))
    held = pc.is_in(text, value_set=_HELD_OUT).to_numpy(zero_copy_only=False)
    return held, text.filter(unknown)


def is_text(kind: pa.DataType) -> bool:
    """Strings, plain or dictionary-encoded."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def is_number(kind: pa.DataType) -> bool:
    """Integers, floats and decimals."""
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def is_bytes(kind: pa.DataType) -> bool:
    """Bytes of any length."""
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind))


def is_media(kind: pa.DataType) -> bool:
    """Bytes, or a struct with a field `bytes` as Hugging Face data sets have it."""
    if pa.types.is_struct(kind):
        index = kind.get_field_index("bytes")
        return index >= 0 and is_bytes(kind.field(index).type)
    return is_bytes(kind)
