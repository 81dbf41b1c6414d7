r"""Escaping for terminals, which obey some characters as commands: data must not control them."""

from __future__ import annotations

import re

_NAMED = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}
_COMMANDS = (
    "\x00-\x1f\x7f-\x9f"  # C0, DEL and C1: titles, colours, moving the cursor
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # change the order of characters
    "\u2028\u2029"  # other line endings
    "\ud800-\udfff"  # lone surrogates, which occur in file names; no encoding has them
)
_IN_VALUES = re.compile(f"[{_COMMANDS}]")
_IN_LINES = re.compile(f"(?!\n)[{_COMMANDS}]")


def escaped(text: str) -> str:
    r"""Write a value in one line, and escape the characters that a terminal would obey.

    >>> print(escaped("\x1b]0;title\x07 a\tb\nc \u202egnp.exe"))
    \x1b]0;title\x07 a\tb\nc \u202egnp.exe
    """
    return _IN_VALUES.sub(_visible, text)


def escaped_lines(text: str) -> str:
    r"""Escape everything that a terminal would obey, except line breaks, which are mmstream's own.

    >>> escaped_lines("a:\n  \x1b[2J")
    'a:\n  \\x1b[2J'
    """
    return _IN_LINES.sub(_visible, text)


def escaped_json(text: str) -> str:
    r"""Return equivalent JSON without characters that a terminal obeys; the line breaks of its layout stay.

    >>> print(escaped_json('["\u202e"]'))
    ["\u202e"]
    """
    return _IN_LINES.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def _visible(match: re.Match[str]) -> str:
    code = ord(match[0])
    return _NAMED.get(match[0]) or (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}")
