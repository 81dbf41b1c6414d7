"""Convert Kafka messages to rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mmstream_io import conversion, limits

from mmstream.interfaces import Row
from mmstream.records.record import from_printable

COLUMN_HEADER = "mmstream-column"
"""Header of a message whose value is the bytes of one column: the name of that column."""
Headers = Sequence[tuple[str, bytes | None]]
_MAX_DEPTH = 400
"""Limit on the depth of nested lists and objects; Python's own limit depends on its version."""


def row(origin: str, key: bytes | None, value: bytes | None, headers: Headers, key_column: str) -> Row:
    """Convert a message to a row; if it cannot be read, to a row with an error.

    Args:
        origin: "<topic>/<partition>:<offset>".
        key: of the message; None if it has none.
        value: None for a tombstone.
        headers: pairs of name and value.
        key_column: the column that the key becomes, unless the message has it already.
    """
    try:
        if value is None:
            raise ValueError("the message has no value: it is a tombstone")
        columns = _columns(value, headers)
        if key is not None and key_column not in columns:
            columns[key_column] = _text(key, "the key")
    except ValueError as error:  # malformed JSON is a ValueError, too
        return Row(origin, None, conversion.text_or_bytes((value or b"")[: limits.RAW_BYTES]), error)
    return Row(origin, columns)


def _columns(value: bytes, headers: Headers) -> dict[str, Any]:
    if any(name == COLUMN_HEADER for name, _ in headers):
        return _of_bytes(value, headers)
    values = conversion.parse_json(_text(value, "the value"))
    if not isinstance(values, dict):
        raise ValueError(f"expected a JSON object; found {type(values).__name__}")
    return {name: _media_too(name, item) for name, item in values.items()}


def _of_bytes(value: bytes, headers: Headers) -> dict[str, Any]:
    """The columns of a message whose value is one column, and whose headers are the others."""
    texts: dict[str, str | None] = {}
    for name, data in headers:
        if name in texts:
            raise ValueError(f"the header {name!r} occurs twice")
        texts[name] = None if data is None else _text(data, f"the header {name!r}")
    column = texts.pop(COLUMN_HEADER)
    if not column:
        raise ValueError(f"the header {COLUMN_HEADER!r} is empty; it must name a column")
    if column in texts:
        raise ValueError(
            f"the column {column!r} occurs twice: as a header, and in {COLUMN_HEADER!r}, which names the value's column"
        )
    return {**texts, column: value}


def _media_too(name: str, value: Any) -> Any:
    """Decode {"base64": …} in a value of a JSON object to bytes."""
    if not isinstance(value, Mapping | list):
        return value
    _check_depth(name, value)
    try:
        return from_printable(value)
    except (ValueError, TypeError, AttributeError) as error:  # something other than a text in base64
        raise ValueError(f"the column {name!r} is not valid base64") from error


def _check_depth(name: str, value: Any) -> None:
    """Check that a value is not nested more deeply than every supported Python can follow.

    Raises:
        ValueError: it is.
    """
    level = [value]
    for _ in range(_MAX_DEPTH):
        level = [
            item
            for each in level
            if isinstance(each, Mapping | list)
            for item in (each.values() if isinstance(each, Mapping) else each)
        ]
        if not level:
            return
    raise ValueError(f"the column {name!r} is nested too deeply")


def _text(data: bytes, what: str) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{what} is not UTF-8: {error}") from error
