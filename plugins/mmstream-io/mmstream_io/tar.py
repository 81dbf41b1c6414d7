"""The members of a tar archive, read with a bound on the size of headers.

Python's `tarfile` reads all of an extended header, whatever its size, keeps global ones for good, and recurses for each
header of a chain. Here a header that is too large makes its own member unreadable, and no other.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from mmstream.runtime.alive import progress

MAX_HEADERS_BYTES = 1024 * 1024
"""Limit on the headers of one member together."""
LARGEST_ARCHIVE = 1 << 43
"""No archive is larger, whatever a damaged header says; it is not even possible to seek that far."""
_BLOCK = tarfile.BLOCKSIZE
_LENGTH = 10
"""The most digits in the length of a line of a pax header, plus the blank after them."""
_PAX = (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE)
_EXTENDED = (*_PAX, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)
_MORE_HOLES, _MORE_HOLES_FOLLOW = 482, 504
"""Position of the byte that says whether a block of further holes follows: in a header, and in such a block."""


class Member(NamedTuple):
    """A member of an archive.

    Attributes:
        name: as in the archive, with bytes that are not UTF-8 as surrogates.
        start: byte at which its first header begins.
        data: byte at which its content begins.
        size: bytes of the content.
        end: byte at which the next member begins.
        is_folder: whether it is a folder.
        is_plain: whether it is a file whose content is stored as it is.
        problem: why its headers could not be read; "" if they could.
    """

    name: str
    start: int
    data: int
    size: int
    end: int
    is_folder: bool
    is_plain: bool
    problem: str


class _Extended(NamedTuple):
    """The content of the headers that precede a member's own header.

    Attributes:
        start: byte at which the first of them begins; -1 if there is none.
        read: how many bytes they have.
        name: of the member; "" if they give none.
        size: of the content; None if they give none.
        has_holes: whether the content is stored without its holes.
        problem: why not all of them were read; "" if all were.
    """

    start: int = -1
    read: int = 0
    name: str = ""
    size: int | None = None
    has_holes: bool = False
    problem: str = ""


def members_of(file: BinaryIO) -> Iterator[Member]:
    """The members of an archive, from the file's current position on; the position afterwards is arbitrary.

    Raises:
        TarError, ValueError: no member begins where one should: at the archive's end, or where it is damaged.
    """
    place = file.tell()
    before = _Extended()
    while True:
        progress()
        file.seek(place)
        block = file.read(_BLOCK)
        header = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        after = _after(place + _BLOCK, header.size)
        if header.type in _EXTENDED:
            start = place if before.start < 0 and header.type != tarfile.XGLTYPE else before.start
            before = _with(before._replace(start=start), header, file)
        else:
            data = place + _BLOCK
            if header.type == tarfile.GNUTYPE_SPARSE and block[_MORE_HOLES]:
                data = _after_holes(file, data)
            member = _member(header, place, data, before)
            if not member.start < member.end < LARGEST_ARCHIVE:
                raise ValueError("a member cannot be that large")
            yield member
            before, after = _Extended(), member.end
        if not place < after < LARGEST_ARCHIVE:
            raise ValueError("a header cannot be that large")
        place = after


def _with(before: _Extended, header: tarfile.TarInfo, file: BinaryIO) -> _Extended:
    """Read one of the headers before a member's own, from its content on, and add what it says to `before`."""
    if header.type == tarfile.XGLTYPE:  # applies to all later members; nothing in it is needed to read them
        return before
    read = before.read + header.size
    if read > MAX_HEADERS_BYTES or header.size < 0:
        return before._replace(read=read, name="", problem=f"has headers of more than {MAX_HEADERS_BYTES:,} bytes")
    content = file.read(header.size)
    if len(content) < header.size:
        raise ValueError("the archive ends within a header")
    if header.type == tarfile.GNUTYPE_LONGNAME:
        return before._replace(read=read, name=_text(content.partition(b"\0")[0]))
    if header.type == tarfile.GNUTYPE_LONGLINK:
        return before._replace(read=read)
    said = _pax(content)
    size = said.get(b"size", b"")
    holes = any(key.startswith(b"GNU.sparse.") for key in said)
    name = said.get(b"GNU.sparse.name", said.get(b"path", b""))
    return before._replace(
        read=read,
        name=_text(name).rstrip("/") or before.name,
        size=int(size) if size.isdigit() and len(size) < 20 else before.size,
        has_holes=before.has_holes or holes,
    )


def _member(header: tarfile.TarInfo, place: int, data: int, before: _Extended) -> Member:
    """Make a member from its own header, the positions of that header and its content, and the headers before it."""
    size = header.size if before.size is None else before.size
    follows = header.isreg() or header.type not in tarfile.SUPPORTED_TYPES  # otherwise its size means nothing
    name = before.name or header.name
    return Member(
        name=name.rstrip("/") if header.isdir() else name,
        start=place if before.start < 0 else before.start,
        data=data,
        size=size,
        end=_after(data, size) if follows else data,
        is_folder=header.isdir(),
        is_plain=header.isreg() and header.type != tarfile.GNUTYPE_SPARSE and not before.has_holes,
        problem=before.problem,
    )


def _after_holes(file: BinaryIO, place: int) -> int:
    """Where the content of an old GNU member with holes begins: after the blocks that list further holes."""
    more = True
    while more:
        block = file.read(_BLOCK)
        if len(block) < _BLOCK:
            raise ValueError("the archive ends within a header")
        progress()
        place, more = place + _BLOCK, bool(block[_MORE_HOLES_FOLLOW])
    return place


def _pax(content: bytes) -> dict[bytes, bytes]:
    """The values of a pax header, by key: lines of "<length> <key>=<value>", with the length of the whole line.

    Raises:
        ValueError: a line has another form.
    """
    values = {}
    place = 0
    while content[place : place + 1].isdigit():
        length, space, _ = content[place : place + _LENGTH].partition(b" ")
        begin, end = place + len(length) + 1, place + int(length)
        key, separator, value = content[begin : end - 1].partition(b"=")
        if not space or end > len(content) or not separator:  # with a separator, the end is after the beginning
            raise ValueError("a header of the archive is damaged")
        values[key] = value
        place = end
    return values


def _after(place: int, size: int) -> int:
    """The position at which content of this size ends, in whole blocks."""
    return place + -(-size // _BLOCK) * _BLOCK


def _text(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")
