"""Convert values between formats: bytes, texts, JSON, typed values of tables, and labels."""

from __future__ import annotations

import codecs
import json
from typing import Any

from mmstream.interfaces import LabelType
from mmstream_io import limits

_CONTINUATION = bytes(range(0x80, 0xC0))
_WIDTHS = ((4, bytes(range(0xF0))), (2, bytes(range(0xC4))), (1, b""))
"""Bytes per character of a Python text, and the bytes of UTF-8 that occur only in narrower ones."""
_NARROW = ("ascii", "iso8859-1")
_ATOMS = (str, int, type(None), bool)
_QUOTE, _ESCAPE = '"', "\\"


def text_of(data: bytes, encoding: str = "utf-8") -> str:
    """Decode bytes as text.

    Raises:
        ValueError: they are not valid in the encoding, or the text would take too much memory.
    """
    if 4 * len(data) > limits.MAX_TEXT_BYTES:
        size = _text_bytes(data, codecs.lookup(encoding).name)
        if size > limits.MAX_TEXT_BYTES:
            raise ValueError(
                f"the text of {len(data):,} bytes takes up {size:,} bytes of memory; the limit is "
                f"{limits.MAX_TEXT_BYTES:,}"
            )
    return data.decode(encoding)


def _text_bytes(data: bytes, encoding: str) -> int:
    """The most memory that the decoded text could take, in bytes."""
    if encoding in _NARROW:
        return len(data)
    if not encoding.startswith("utf-8"):
        return 4 * len(data)
    width = next(width for width, narrower in _WIDTHS if width == 1 or data.translate(None, narrower))
    return width * len(data.translate(None, _CONTINUATION))


def text_or_bytes(value: bytes) -> str | bytes:
    """Decode bytes as text if they are valid UTF-8, which media never are; for formats without a type for text.

    Raises:
        ValueError: the text would take too much memory.
    """
    try:
        return text_of(value)
    except UnicodeDecodeError:
        return value


def parse_json(text: str) -> Any:
    """Parse a JSON text.

    Raises:
        ValueError: it is not JSON (NaN is not), is nested too deeply, holds too many values or has a key twice.
    """
    _check_json(text)
    try:
        return _JSON.decode(text)
    except RecursionError as error:
        raise ValueError("the JSON is nested too deeply") from error


def _check_json(text: str) -> None:
    """Check that the values of a JSON text fit in memory, as far as counting characters can tell.

    Raises:
        ValueError: they do not fit.
    """
    if len(text) > limits.MAX_VALUES and _signs(text) > limits.MAX_VALUES:
        count = _signs_outside_texts(text)
        if count > limits.MAX_VALUES:
            raise ValueError(f"the JSON holds {count:,} values or more; the limit is {limits.MAX_VALUES:,}")
    if 4 * len(text) > limits.MAX_TEXT_BYTES and (escapes := text.count("\\u")):
        width = 4 if "\\ud" in text or "\\uD" in text or not text.isascii() else 2
        size = width * (len(text) - 5 * escapes)
        if size > limits.MAX_TEXT_BYTES:
            raise ValueError(
                f"the texts in the JSON take up {size:,} bytes of memory; the limit is {limits.MAX_TEXT_BYTES:,}"
            )


def _signs(text: str) -> int:
    """The number of values and keys that the brackets, commas and colons of a text can account for."""
    return sum(map(text.count, ",:[{"))


def _signs_outside_texts(text: str) -> int:
    """The same as `_signs`, ignoring brackets, commas and colons inside the JSON's strings."""
    if text.count(_QUOTE) > 2 * limits.MAX_VALUES + 2:
        return text.count(_QUOTE) // 2  # as many texts, and each is a value or its name
    bare = text.replace(_ESCAPE * 2, "").replace(_ESCAPE + _QUOTE, "")
    return sum(map(_signs, bare.split(_QUOTE)[::2]))


def plain(value: Any) -> Any:
    """Convert a value of a typed table to what other formats would hold.

    NaN, which many tables use for a missing number, becomes None; dates and decimals become their ISO or decimal text.
    """
    kind = type(value)
    if kind in _ATOMS:  # in most cases
        return value
    if kind is float:
        return None if value != value else value
    if isinstance(value, bytes):
        return text_or_bytes(value)
    if isinstance(value, _ATOMS):  # a subclass from some library
        return value
    if isinstance(value, float):
        return None if value != value else value
    if isinstance(value, dict):
        if value.keys() == {"bytes", "path"}:  # an image or a sound of Hugging Face's `datasets`
            return value["path"] if value["bytes"] is None else value["bytes"]
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def label(value: Any, kind: LabelType) -> Any:
    """Convert a label row's value for text formats, so that equal numbers are written alike, whatever their type."""
    if value is None or kind not in ("number", "numbers"):
        return value
    return float(value) if kind == "number" else [float(item) for item in value]


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(pairs) > limits.MAX_COLUMNS:
        raise ValueError(f"a JSON object has {len(pairs):,} keys; the limit is {limits.MAX_COLUMNS:,}")
    columns = dict(pairs)
    if len(columns) < len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise ValueError(f"the key {key[:80]!r} occurs twice")
            seen.add(key)
    return columns


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


_JSON = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_refuse_constant)
