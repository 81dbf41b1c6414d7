"""Convert Arrow batches to rows of Python values: large rows one by one, too large ones to errors."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pyarrow
import pyarrow.compute
import pyarrow.types

from mmstream.errors import describe
from mmstream_io import conversion, limits

_TOGETHER_BYTES = 16 * 1024 * 1024
_TOGETHER_VALUES = 1 << 18
"""Rows that hold no more values than this are converted together."""
_FEW_BYTES = 1 << 18
"""Rows of no more bytes hold few enough values to be converted together, if each value takes at least a byte."""
_NULL = 8
"""Bytes of a value's entry in a Python list; a null takes no others."""
Outcome = dict[str, Any] | ValueError
"""A row, or why Python cannot hold it."""


class Maker:
    """Converts batches of a table to rows.

    Args:
        schema: of the table.
    """

    def __init__(self, schema: pyarrow.Schema) -> None:
        self._plain = not any(_may_be_small(kind) for kind in schema.types)
        self._singles = [place for place, kind in enumerate(schema.types) if pyarrow.types.is_float32(kind)]

    def rows_of(self, batch: pyarrow.RecordBatch) -> Iterable[Outcome]:
        """The rows of a batch, with an error in place of each that is too large or that Python cannot hold."""
        for place in self._singles:
            batch = batch.set_column(place, batch.schema.names[place], _shortest(batch.column(place)))
        if self._are_few(batch):
            try:
                return batch.to_pylist()
            except (pyarrow.ArrowException, ValueError, ArithmeticError):
                pass  # one by one, the row at fault is found below
        return (_row(batch.slice(index, 1)) for index in range(batch.num_rows))

    def _are_few(self, batch: pyarrow.RecordBatch) -> bool:
        """Whether the rows may be converted together."""
        if self._plain and batch.get_total_buffer_size() <= _FEW_BYTES:
            return True
        values, size = _size(batch)
        return values <= _TOGETHER_VALUES and size <= _TOGETHER_BYTES


def _shortest(numbers: Any) -> Any:
    """Convert 32-bit floats to the 64-bit floats with the same shortest decimal: 0.1, not 0.10000000149011612."""
    return numbers.cast(pyarrow.string()).cast(pyarrow.float64())


def _may_be_small(kind: pyarrow.DataType) -> bool:
    """Whether values of a type, or of one nested in it, may take up less than a byte each."""
    if isinstance(kind, pyarrow.ExtensionType):
        return _may_be_small(kind.storage_type)
    if pyarrow.types.is_dictionary(kind) or pyarrow.types.is_null(kind) or pyarrow.types.is_boolean(kind):
        return True
    return any(_may_be_small(kind.field(number).type) for number in range(kind.num_fields))


def _row(batch: pyarrow.RecordBatch) -> Outcome:
    """The only row of a batch."""
    values, size = _size(batch)
    if size > limits.MAX_ROW_BYTES:
        return ValueError(f"the row takes up {size:,} bytes; the limit is {limits.MAX_ROW_BYTES:,}")
    if values > limits.MAX_VALUES:
        return ValueError(f"the row holds {values:,} values; the limit is {limits.MAX_VALUES:,}")
    try:
        if 4 * size > limits.MAX_TEXT_BYTES:
            for column in batch.columns:
                _check_texts(column)
        (row,) = batch.to_pylist()
    except (pyarrow.ArrowException, ValueError, ArithmeticError) as error:
        return ValueError(f"a value cannot be read: {describe(error)}")
    return row


def _size(batch: pyarrow.RecordBatch) -> tuple[int, int]:
    """An upper bound on the number of values in a batch, and on their bytes."""
    sizes = [_size_of(column) for column in batch.columns]
    return sum(values for values, _ in sizes), sum(size for _, size in sizes)


def _size_of(array: Any) -> tuple[int, int]:
    """The number of values in an array, including nested ones, and their bytes."""
    kind = array.type
    if not kind.num_fields and not pyarrow.types.is_dictionary(kind):
        return len(array), array.nbytes + (_NULL * len(array) if pyarrow.types.is_null(kind) else 0)
    if isinstance(array, pyarrow.ExtensionArray):
        return _size_of(array.storage)
    if pyarrow.types.is_dictionary(kind):
        return len(array), _named(array)
    inner = array.flatten() if not pyarrow.types.is_map(kind) else [_entries(array)]
    sizes = [_size_of(each) for each in (inner if isinstance(inner, list) else [inner])]
    return len(array) + sum(values for values, _ in sizes), _NULL * len(array) + sum(size for _, size in sizes)


def _named(array: Any) -> int:
    """Bytes of the values that a dictionary's indices refer to, counting a value once per reference."""
    kind = array.type.value_type
    if not (pyarrow.types.is_binary(kind) or pyarrow.types.is_string(kind)) and not (
        pyarrow.types.is_large_binary(kind) or pyarrow.types.is_large_string(kind)
    ):
        return len(array) * max(_NULL, array.dictionary.nbytes // max(1, len(array.dictionary)))
    lengths = pyarrow.compute.binary_length(array.dictionary).take(array.indices)
    return _NULL * len(array) + (pyarrow.compute.sum(lengths.cast(pyarrow.int64())).as_py() or 0)


def _entries(array: Any) -> Any:
    """The keys and values of a map, as structs."""
    entries = pyarrow.StructArray.from_arrays([array.keys, array.items], ["key", "value"])
    return pyarrow.ListArray.from_arrays(array.offsets, entries).flatten()


def _check_texts(array: Any) -> None:
    """Check that no text would take too much memory.

    Raises:
        ValueError: one would.
    """
    kind = array.type
    if pyarrow.types.is_dictionary(kind):
        _check_texts(array.dictionary_decode())
    elif pyarrow.types.is_string(kind) or pyarrow.types.is_large_string(kind):
        binary = pyarrow.large_binary() if pyarrow.types.is_large_string(kind) else pyarrow.binary()
        for value in array.cast(binary):
            if value.is_valid and 4 * len(value.as_buffer()) > limits.MAX_TEXT_BYTES:
                conversion.text_of(value.as_py())
    elif kind.num_fields and not pyarrow.types.is_map(kind):
        inner = array.flatten()
        for each in inner if isinstance(inner, list) else [inner]:
            _check_texts(each)
