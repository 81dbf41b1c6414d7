"""One spelling for each value, whichever file or library it comes from.

A boolean is `True` in a CSV and a bool in Parquet, the number 2 may be `2.0`, and a day may come with the time
00:00. The rules are defined once, as patterns that mean the same to Python's `re` and TensorFlow's RE2.
"""

from __future__ import annotations

import datetime
import decimal
import functools
import re
from typing import Any

import numpy as np

from mmstream.errors import brief

_DAY = "[0-9]{4}-[0-9]{2}-[0-9]{2}"
_TIME = "[0-9]{2}:[0-9]{2}"
_ZONE = "(|Z|[+-][0-9]{2}:?[0-9]{2})"
_TRUE, _FALSE = "True|TRUE", "False|FALSE"
RULES = (
    (f"^(?:{_TRUE})$", "true"),
    (f"^(?:{_FALSE})$", "false"),
    (r"^(?:-?0\.0+|-0)$", "0"),
    (r"^(-?[1-9][0-9]*)\.0+$", r"\1"),
    (rf"^({_DAY})[ T]00:00(?::00(?:\.0+)?)?$", r"\1"),
    (rf"^({_DAY}) ({_TIME}(?::[0-9]{{2}}(?:\.[0-9]+)?)?){_ZONE}$", r"\1T\2\3"),
    (rf"^({_DAY}T{_TIME}){_ZONE}$", r"\1:00\2"),
    (rf"^({_DAY}T{_TIME}:[0-9]{{2}})\.0+{_ZONE}$", r"\1\2"),
    (rf"^({_DAY}T{_TIME}:[0-9]{{2}}\.[0-9]*[1-9])0+{_ZONE}$", r"\1\2"),
    (rf"^({_DAY}T{_TIME}:[0-9]{{2}}(?:\.[0-9]+)?)\+00:?00$", r"\1Z"),
)
"""Patterns and their replacements, applied in order; for texts with single blanks for white space."""
TRUTHS = (
    {"true": True, "false": False} | dict.fromkeys(_TRUE.split("|"), True) | dict.fromkeys(_FALSE.split("|"), False)
)
"""Every text that is a boolean."""

_BEGIN = frozenset("TF-0123456789")
"""First characters of texts that a rule may match."""
_PLAIN = (str, int, float)
_COMPILED = [(re.compile(pattern), rewrite) for pattern, rewrite in RULES]
_CONCERNED = re.compile("|".join(pattern for pattern, _ in RULES))


def canonical(text: str) -> str:
    """The canonical spelling of a text; texts that no rule matches stay as they are.

    >>> [canonical(text) for text in ("True", "2.0", "-0.00", "007", "1.10", "1e5", "2.50")]
    ['true', '2', '0', '007', '1.10', '1e5', '2.50']
    >>> [canonical(text) for text in ("2024-05-01 00:00:00", "2024-05-01 12:30", "2024-05-01T12:30:00.500+00:00")]
    ['2024-05-01', '2024-05-01T12:30:00', '2024-05-01T12:30:00.5Z']
    """
    return _rewritten(text) if text[:1] in _BEGIN and _CONCERNED.match(text) else text


@functools.lru_cache(maxsize=1024)  # categories are repeated
def _rewritten(text: str) -> str:
    for pattern, rewrite in _COMPILED:
        text = pattern.sub(rewrite, text)
    return text


def held(value: Any) -> Any:
    """Convert a scalar of NumPy or Arrow to its Python value; any other value stays as it is.

    A float with fewer bits than Python's becomes the float of its shortest text, and a NumPy time its text in ISO 8601.
    """
    if isinstance(value, _PLAIN):  # in most cases
        return value
    if isinstance(value, np.generic):
        if isinstance(value, np.datetime64):
            return None if np.isnat(value) else str(value)
        return float(str(value)) if isinstance(value, np.floating) else value.item()
    return value.as_py() if hasattr(value, "as_py") else value  # Arrow need not be imported for this


def written(value: Any) -> str:
    """Write a boolean, a number, a decimal, a date or a time as text; "" for NaN and NaT; a text stays as it is.

    Raises:
        TypeError: it is of another type.
        ValueError: a number has more digits than Python writes.
    """
    plain = held(value)
    if isinstance(plain, str):
        return plain
    if isinstance(plain, int | float | decimal.Decimal):
        return str(plain) if plain == plain else ""
    if isinstance(plain, datetime.date | datetime.time):  # a date with a time is a date, too
        return plain.isoformat() if plain == plain else ""
    if plain is None and value is not None:  # Arrow's null and NumPy's NaT
        return ""
    raise TypeError(f"expected text, a number, a boolean or a date; found {type(plain).__name__}: {brief(plain)}")
