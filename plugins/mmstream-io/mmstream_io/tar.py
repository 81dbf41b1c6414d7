"""The members of a tar archive, read with a bound on what its headers may take up.

Python's `tarfile` reads the extended header of a member whole, whatever size it has, keeps what a global one says for
good, and calls itself for each of a chain of them. Here one that is too large costs its own member, and no other.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from mmstream.alive import progress

MAX_HEADERS_BYTES = 1024 * 1024
"""What the headers of one member may take up together."""
LARGEST_ARCHIVE = 1 << 43
"""No file is larger, whatever the header of a damaged one says: it cannot even be sought so far."""
_BLOCK = tarfile.BLOCKSIZE
_LENGTH = 10
"""Digits that the length of a line in a pax header has at most, and a blank."""
_PAX = (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE)
_EXTENDED = (*_PAX, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)
_MORE_HOLES, _MORE_HOLES_FOLLOW = 482, 504
"""Places of the byte that says whether a block of more holes follows: in a header, and in such a block."""


class Member(NamedTuple):
    """A member of an archive.

    Attributes:
        name: of it, as it stands there; bytes that are not UTF-8 as surrogates.
        start: byte at which its first header begins.
        data: byte at which its content begins.
        size: bytes of the content.
        end: byte at which the next member begins.
        is_folder: whether it is one.
        is_plain: whether it is a file, and its content stands there as it is.
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
    """What the headers before a member's own say.

    Attributes:
        start: byte at which the first of them begins; -1 if there is none.
        read: bytes of them.
        name: "" if they give none.
        size: None if they give none.
        has_holes: whether the content is not as it stands there.
        problem: why they are not all read; "" if they are.
    """

    start: int = -1
    read: int = 0
    name: str = ""
    size: int | None = None
    has_holes: bool = False
    problem: str = ""


def members_of(file: BinaryIO) -> Iterator[Member]:
    """The members of an archive from the place of a file on.

    After the last one the file may be anywhere.

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
                raise ValueError("no member is so large")
            yield member
            before, after = _Extended(), member.end
        if not place < after < LARGEST_ARCHIVE:
            raise ValueError("no header is so large")
        place = after


def _with(before: _Extended, header: tarfile.TarInfo, file: BinaryIO) -> _Extended:
    """What is known of a member once another header before its own is read, whose content the file stands at."""
    if header.type == tarfile.XGLTYPE:  # of all members behind it: nothing in it is needed to read them
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
    """A member by its own header, that header's place, the place of its content, and the headers before its own."""
    size = header.size if before.size is None else before.size
    follows = header.isreg() or header.type not in tarfile.SUPPORTED_TYPES  # or its size means nothing
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
    """Where the content of an old GNU member with holes begins: behind the blocks from a place on that list more."""
    more = True
    while more:
        block = file.read(_BLOCK)
        if len(block) < _BLOCK:
            raise ValueError("the archive ends within a header")
        progress()
        place, more = place + _BLOCK, bool(block[_MORE_HOLES_FOLLOW])
    return place


def _pax(content: bytes) -> dict[bytes, bytes]:
    """What a pax header says, by key: lines of "<length> <key>=<value>", the length that of the whole line.

    Raises:
        ValueError: a line is no such line.
    """
    said = {}
    place = 0
    while content[place : place + 1].isdigit():
        length, space, _ = content[place : place + _LENGTH].partition(b" ")
        begin, end = place + len(length) + 1, place + int(length)
        key, separator, value = content[begin : end - 1].partition(b"=")
        if not space or end > len(content) or not separator:  # with a separator, the end is behind the beginning
            raise ValueError("a header of the archive is damaged")
        said[key] = value
        place = end
    return said


def _after(place: int, size: int) -> int:
    """Where what begins at a place ends, in whole blocks."""
    return place + -(-size // _BLOCK) * _BLOCK


def _text(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")
