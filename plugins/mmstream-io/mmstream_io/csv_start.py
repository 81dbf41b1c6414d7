"""The beginning of a table of comma-separated values: its encoding, its delimiter, and what precedes its rows."""

from __future__ import annotations

import codecs
import contextlib
import re
import tempfile
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple, cast

from mmstream.errors import MmstreamError, describe
from mmstream.storage.suffixes import has_suffix
from mmstream_io import inputs
from mmstream_io.contents import LONGEST, check_is_csv

_LINE_BYTES = 1024 * 1024
"""The most bytes of a line that are read."""
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_WIDE = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
_DELIMITERS = ",;\t|"
"""Delimiters that are recognised; if several are equally frequent, the first is taken."""
_QUOTED = re.compile('"[^"]*"')
_SEPARATOR = re.compile('"?sep=(.)"?')
"""The first line in which spreadsheets name the delimiter."""
_IN_MEMORY = 8 * 1024 * 1024
_COMMENTS = 1000
"""The most comment lines that are recognised."""


class Start(NamedTuple):
    """How a table begins.

    Attributes:
        place: position after what precedes the rows and the line of names.
        line: number of the line that begins there, from 1.
        delimiter: between cells.
        padded: whether there are blanks around the names; blanks are then removed from names and cells.
    """

    place: int
    line: int
    delimiter: str
    padded: bool


def start_of(path: str, file: BinaryIO, encoding: str, delimiter: str | None, *, named: bool) -> Start:
    """Find how a table begins, past a byte order mark, a line "sep=;" and comment lines.

    Args:
        path: of the file.
        file: opened in binary.
        encoding: of the text.
        delimiter: between cells; None if it is not given.
        named: whether the names of the columns are given, so that the first line is a row.
    """
    file.seek(0)
    marked = file.read(len(_BYTE_ORDER_MARK)) == _BYTE_ORDER_MARK
    place, number = (len(_BYTE_ORDER_MARK) if marked else 0), 1
    if delimiter is None and has_suffix(path, (".tsv", ".tsv.gz")):
        delimiter = "\t"
    if named:
        return Start(place, number, delimiter or ",", padded=False)
    file.seek(place)
    line = file.readline(_LINE_BYTES)
    text = line.decode(encoding, "replace").rstrip("\r\n")
    if separator := _SEPARATOR.fullmatch(text):
        return _start(file, place + len(line), number + 1, encoding, delimiter or separator[1])
    begins = [(place, number, text)]
    while text.startswith("#") and len(begins) < _COMMENTS and line.endswith(b"\n"):
        place, number = place + len(line), number + 1
        line = file.readline(_LINE_BYTES)
        text = line.decode(encoding, "replace").rstrip("\r\n")
        begins.append((place, number, text))
    place, number, text = begins[-1] if _are_comments([text for *_, text in begins], delimiter) else begins[0]
    return _start(file, place, number, encoding, delimiter)


@contextlib.contextmanager
def open_text(path: str, encoding: str) -> Iterator[tuple[BinaryIO, bool]]:
    """Open a table in binary, with UTF-16 converted to UTF-8, and tell whether it can only be read from its start.

    Raises:
        MmstreamError: it cannot be read, or is of another kind.
    """
    with inputs.open_file(path) as file:
        first = file.read(LONGEST)
        check_is_csv(path, first)
        wide = _wide(first[:2]) if codecs.lookup(encoding).name == "utf-8" else ""
        file.seek(0)
        if not wide:
            yield file, False
            return
        with tempfile.SpooledTemporaryFile(_IN_MEMORY) as narrow:
            try:
                for text in codecs.iterdecode(iter(lambda: file.read(1 << 16), b""), wide):
                    narrow.write(text.encode())
            except UnicodeError as error:
                raise MmstreamError(f"{path} begins like UTF-16 but is not valid UTF-16: {describe(error)}") from error
            narrow.seek(0)
            yield cast(BinaryIO, narrow), True


def _wide(first: bytes) -> str:
    """The encoding of a text with two bytes per character, from its first two bytes; "" for any other text."""
    if first in _WIDE or len(first) < 2:
        return _WIDE.get(first, "")
    return "utf-16-le" if not first[1] else "utf-16-be" if not first[0] else ""


def _start(file: BinaryIO, place: int, number: int, encoding: str, delimiter: str | None) -> Start:
    file.seek(place)
    line = _QUOTED.sub("", file.readline(_LINE_BYTES).decode(encoding, "replace").rstrip("\r\n"))
    delimiter = delimiter or max(_DELIMITERS, key=line.count)
    padded = any(name != name.strip(" ") for name in line.split(delimiter))
    return Start(place, number, delimiter, padded)


def _are_comments(lines: list[str], delimiter: str | None) -> bool:
    """Whether the lines before the last, all of which begin with #, are comments: none of them names the columns."""
    *comments, last = (max(map(_QUOTED.sub("", line).count, delimiter or _DELIMITERS)) for line in lines)
    return bool(comments) and (comments[-1] < last or (not comments[-1] and lines[-2].startswith("# ")))
