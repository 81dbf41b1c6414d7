r"""Texts of strangers made harmless for a terminal, which takes some of their characters for commands."""

from __future__ import annotations

import re

_NAMED = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}
_COMMANDS = (
    "\x00-\x1f\x7f-\x9f"  # C0, DEL and C1: titles, colours, where to write next
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # what turns the order of characters around
    "\u2028\u2029"  # other ends of lines
    "\ud800-\udfff"  # half surrogate pairs, as in names of files, which no encoding has
)
_IN_VALUES = re.compile(f"[{_COMMANDS}]")
_IN_LINES = re.compile(f"(?!\n)[{_COMMANDS}]")


def escaped(text: str) -> str:
    r"""A value in one line, with the characters visible that a terminal would obey.

    >>> print(escaped("\x1b]0;title\x07 a\tb\nc \u202egnp.exe"))
    \x1b]0;title\x07 a\tb\nc \u202egnp.exe
    """
    return _IN_VALUES.sub(_visible, text)


def escaped_lines(text: str) -> str:
    r"""A message of several lines, which mmstream itself has cut, with all else visible that a terminal would obey.

    >>> escaped_lines("a:\n  \x1b[2J")
    'a:\n  \\x1b[2J'
    """
    return _IN_LINES.sub(_visible, text)


def escaped_json(text: str) -> str:
    r"""JSON that says the same in characters that a terminal does not obey; line ends of its own layout stay.

    >>> print(escaped_json('["\u202e"]'))
    ["\u202e"]
    """
    return _IN_LINES.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _visible(found: re.Match[str]) -> str:
    code = ord(found[0])
    return _NAMED.get(found[0]) or (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}")
