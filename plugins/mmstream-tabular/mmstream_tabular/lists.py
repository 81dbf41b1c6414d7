"""Lists and sets that tables hold as texts, as written by Python, NumPy, JSON or people."""

from __future__ import annotations

import ast
import json
import re
import warnings

# An escape that Python does not have stays as it is. (A filter for the time of one call would not work:
# `warnings.catch_warnings` is not thread-safe.)
warnings.filterwarnings("ignore", "invalid escape sequence", DeprecationWarning)

_BRACKETS = {"[": "]", "(": ")", "{": "}"}
_QUOTED = r'"(?:[^"\\]|\\.)*"|\'(?:[^\'\\]|\\.)*\''
_ITEM = re.compile(rf"(?:\s*({_QUOTED})\s*|([^,'\"\[\](){{}}:]*))(,|(?=['\"])|\Z)", re.DOTALL)
_CALL = re.compile(r"(?:set|frozenset|list|tuple)\((.*)\)", re.DOTALL)
"""How Python writes an empty set and a frozen set; the names of other types are accepted, too."""
_NOTHING = ("", "none", "null", "nan")


def list_in(text: str) -> list[str] | None:
    """The items of a list that a text in brackets represents; None for any other text.

    Quotes may be missing, and commas between items in quotes, as NumPy prints them. A bare `None`, `null` or `nan` is
    not an item. An empty set is `set()`, as Python writes it.

    >>> list_in("['a', 'b c']"), list_in('["a"]'), list_in("[a, b c]"), list_in("['a' 'b']"), list_in("a, b")
    (['a', 'b c'], ['a'], ['a', 'b c'], ['a', 'b'], None)
    >>> list_in("{'a', 'b'}"), list_in("set()"), list_in("frozenset({'a'})")
    (['a', 'b'], [], ['a'])
    """
    text = text.strip()
    if call := _CALL.fullmatch(text):
        text = call[1].strip() or "[]"
    if len(text) < 2 or _BRACKETS.get(text[0]) != text[-1]:
        return None
    inner, place, items = text[1:-1], 0, []
    while place < len(inner):
        match = _ITEM.match(inner, place)
        if not match:
            return None
        if match[1]:
            items.append(_unquoted(match[1]))
        elif (bare := match[2].strip()).lower() not in _NOTHING:
            items.append(bare)
        if match.end() == place:
            return None
        place = match.end()
    return items


def _unquoted(text: str) -> str:
    if "\\" not in text:
        return text[1:-1]
    try:
        if text[0] == '"':
            return str(json.loads(text))
    except ValueError:
        pass  # an escape that only Python has
    try:
        return str(ast.literal_eval(text))
    except (SyntaxError, ValueError):
        return text[1:-1]
