"""Find the pages of a Parquet column from their headers alone, before Arrow reads them.

Source: https://parquet.apache.org/docs/file-format/data-pages/ and, for the headers' encoding, Thrift's compact
protocol, https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md
"""

from __future__ import annotations

from typing import Any, BinaryIO, NamedTuple

from mmstream.runtime.alive import progress

DATA, DICTIONARY, DATA_V2 = 0, 2, 3
"""Kinds of pages."""
PLAIN, PLAIN_DICTIONARY, DELTA_LENGTHS, DELTA_TEXTS, RLE_DICTIONARY = 0, 2, 6, 7, 8
"""Encodings of values."""
_HEADER_BYTES = 4096
_MOST_HEADER_BYTES = 16 * 1024 * 1024
"""Arrow accepts no larger header."""
_ABOUT = {DATA: 5, DICTIONARY: 7, DATA_V2: 8}
"""Number of the header's field with details, by kind of page."""
_MOST_DEPTH = 32
_TRUE, _FALSE, _BYTE, _I32, _I64, _DOUBLE, _TEXT, _LIST, _SET, _MAP, _STRUCT = 1, 2, 3, 5, 6, 7, 8, 9, 10, 11, 12
_INTEGERS = (4, _I32, _I64)


class Page(NamedTuple):
    """A page of a column.

    Attributes:
        kind: `DATA`, `DATA_V2` or `DICTIONARY`.
        encoding: of its values.
        values: how many it holds, including nulls.
        packed: bytes that it takes up in the file.
        unpacked: bytes that it takes up in memory.
        place: byte of the file at which its content begins.
        levels: numbers of uncompressed bytes at its start: of repetition levels, and of definition levels.
    """

    kind: int
    encoding: int
    values: int
    packed: int
    unpacked: int
    place: int
    levels: tuple[int, int] = (0, 0)


class Pages(NamedTuple):
    """The pages of a column of a row group.

    Attributes:
        dictionary: its page; None if the column has no dictionary.
        data: the other pages, in order.
        whole: whether these are all pages; otherwise a header could not be read.
    """

    dictionary: Page | None
    data: list[Page]
    whole: bool


def pages_of(file: BinaryIO, place: int, values: int) -> Pages:
    """The pages of a column of a row group.

    Args:
        file: opened in binary.
        place: byte at which the first page begins.
        values: how many the pages hold together, according to the file.
    """
    dictionary: Page | None = None
    data: list[Page] = []
    while values > 0:
        progress()
        try:
            page = _page(file, place)
        except ValueError:
            return Pages(dictionary, data, whole=False)
        if page.kind == DICTIONARY:
            dictionary = page if not dictionary or page.unpacked > dictionary.unpacked else dictionary
        elif page.kind in (DATA, DATA_V2):
            data.append(page)
            values -= page.values
        place = page.place + page.packed
    return Pages(dictionary, data, whole=True)


def _page(file: BinaryIO, place: int) -> Page:
    """The page that begins at a position.

    Raises:
        ValueError: no page begins there.
    """
    size = _HEADER_BYTES
    while True:
        file.seek(place)
        data = file.read(size)
        reader = _Compact(data)
        try:
            fields = reader.struct()
            break
        except IndexError as error:
            if len(data) < size or size >= _MOST_HEADER_BYTES:
                raise ValueError("there is no page header here") from error
            size *= 16
    kind, unpacked, packed = (_number(fields, number) for number in (1, 2, 3))
    about = fields.get(_ABOUT.get(kind, 0))
    if not isinstance(about, dict):
        about = {1: 0} if kind not in _ABOUT else {}
    values, encoding = _number(about, 1), _number(about, 4 if kind == DATA_V2 else 2)
    levels = (_number(about, 6), _number(about, 5)) if kind == DATA_V2 else (0, 0)
    if min(kind, unpacked, packed, values, *levels) < 0:
        raise ValueError("there is no page header here")
    return Page(kind, encoding, values, packed, unpacked, place + reader.place, levels)


def _number(fields: dict[int, Any], number: int) -> int:
    """The whole number in a field; -1 if the field is missing."""
    value = fields.get(number)
    return value if isinstance(value, int) else -1


class _Compact:
    """Reads whole numbers and structs of Thrift's compact protocol, and skips the rest.

    Args:
        data: bytes that begin with a struct.

    Attributes:
        place: position of the next byte.

    Raises:
        IndexError: the data ends before the struct does.
        ValueError: it is not a struct.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.place = 0

    def struct(self, depth: int = 0) -> dict[int, Any]:
        """The whole numbers and structs inside a struct, by field number."""
        if depth > _MOST_DEPTH:
            raise ValueError("it is nested too deeply")
        fields: dict[int, Any] = {}
        number = 0
        while (head := self._byte()) & 0x0F:
            number = number + (head >> 4) if head >> 4 else _signed(self._varint())
            value = self._value(head & 0x0F, depth, of_field=True)
            if value is not None:
                fields[number] = value
        return fields

    def _value(self, kind: int, depth: int, *, of_field: bool) -> Any:
        if kind in _INTEGERS:
            return _signed(self._varint())
        if kind == _STRUCT:
            return self.struct(depth + 1)
        if kind in (_TRUE, _FALSE):
            self._skip(0 if of_field else 1)  # a field's type says it already
        elif kind in (_BYTE, _DOUBLE):
            self._skip(1 if kind == _BYTE else 8)
        elif kind == _TEXT:
            self._skip(self._varint())
        elif kind in (_LIST, _SET):
            head = self._byte()
            count = head >> 4 if head >> 4 < 15 else self._varint()
            self._items([head & 0x0F], count, depth)
        elif kind == _MAP:
            count = self._varint()
            kinds = self._byte() if count else 0
            self._items([kinds >> 4, kinds & 0x0F], count, depth)
        else:
            raise ValueError("it holds a value of an unknown type")
        return None

    def _items(self, kinds: list[int], count: int, depth: int) -> None:
        if count > len(self._data):
            raise ValueError("it holds more items than bytes")
        for _ in range(count):
            for kind in kinds:
                self._value(kind, depth + 1, of_field=False)

    def _byte(self) -> int:
        self.place += 1
        return self._data[self.place - 1]

    def _skip(self, count: int) -> None:
        self.place += count
        if self.place > len(self._data):
            raise IndexError

    def _varint(self) -> int:
        value = 0
        for shift in range(0, 70, 7):
            byte = self._byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
        raise ValueError("a number is too long")


def _signed(number: int) -> int:
    """Decode a zigzag-encoded 32-bit number; all numbers that matter here have 32 bits."""
    number &= 0xFFFFFFFF
    return number >> 1 ^ -(number & 1)
