"""Values of a column as numbers, as text or as images: one reading for inspection and for preparation."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

_MISSING = pa.array(["", "?", "NA", "N/A", "NaN", "nan", "NULL", "null", "None", "none", "#N/A", "<NA>"], pa.string())


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
    return pc.if_else(pc.is_finite(numbers), numbers, None)


def as_image_bytes(values: pa.Array) -> pa.Array:
    """The encoded images of a column of bytes or of structs with `bytes`."""
    if pa.types.is_struct(values.type):
        values = pc.struct_field(values, "bytes")
    return pc.cast(values, pa.large_binary())


def is_text(kind: pa.DataType) -> bool:
    """Strings, plain or dictionary-encoded."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def is_number(kind: pa.DataType) -> bool:
    """Integers, floats and decimals."""
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))
