"""Estimate how much work a picture takes, from a quick look at its bytes before Pillow opens them.

Pillow's openers read a file piece by piece, and join some pieces in quadratic time; some decode while they open. So
anything expensive is looked for first, in few steps.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from mmstream_image import heif, jpeg, jpeg2000
from mmstream_image.limits import LimitError

SMALL_JPEG_BYTES, SMALL_JPEG_PIXELS = 1 << 14, 1 << 16
"""A JPEG below both limits takes little work, whatever its segments and scans: counting those would take longer."""
MOST_CHUNKS = 1 << 17
"""The most chunks of a PNG; its pixels alone may come in chunks of a few hundred bytes."""
MOST_BLOCKS = 1 << 20
"""The most blocks of a GIF, up to the frame that is read; a block has at most 255 bytes."""
MOST_COMMENT_BYTES = 1 << 20
"""The most bytes in the comments of a GIF."""
MOST_COMMENTS = 10_000
"""The most comments in a plain-text PNM: for each one that it removes, Pillow copies a mebibyte."""
MOST_ICONS = 1024
"""The most pictures in an icon."""
_TEXT_BYTES = 1 << 20
"""The most that Pillow unpacks of each text in a PNG."""
_DEFLATE_RATIO = 1032
"""The most bytes that deflate expands one byte to."""
_TEXTS_BYTES = 64 << 20
"""The most that Pillow unpacks of all texts in a PNG together."""
_TEXT_COST = 6
"""Bytes in memory per byte of text: four for each letter, and a copy."""
_BLP_HEAD_BYTES = 160
_PNG = b"\x89PNG\r\n\x1a\n"


class Header(NamedTuple):
    """What is known of a picture before it is opened.

    Attributes:
        size: width and height of the largest picture that opening or decoding it creates; (0, 0) if the header that
            Pillow reads says it.
        opening: bytes per pixel of `size` that opening takes; 0 if it takes little.
        more: further bytes that opening takes.
        formats: the only ones that it may have, by Pillow's names; empty for any. Openers of these formats read in
            large pieces, or the pieces were counted.
        whole: whether all of a JPEG is held while it is decoded, because it comes in several scans.
    """

    size: tuple[int, int] = (0, 0)
    opening: int = 0
    more: int = 0
    formats: tuple[str, ...] = ()
    whole: bool = False

    @property
    def held(self) -> int:
        """Bytes to reserve before the picture is opened."""
        return self.opening * _area(self.size) + self.more if self.opening else 0


def read(data: bytes, frame: int) -> Header:
    """Inspect the bytes of a picture.

    Args:
        data: of the whole file.
        frame: to be read, from 0.

    Raises:
        LimitError: opening the picture would be too much work.
    """
    if data.startswith(b"\xff\xd8\xff"):
        return SMALL_JPEG if len(data) <= SMALL_JPEG_BYTES else of_jpeg(data)
    if data.startswith(_PNG):
        return _of_png(data, frame)
    if data.startswith((b"GIF87a", b"GIF89a")):
        return Header(formats=("GIF",), size=_size_of_gif(data, frame))
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return Header(_size_of_webp(data), 20, 0, ("WEBP",))
    if heif.is_heif(data):
        return Header(*heif.needs(data))
    if data.startswith(b"icns"):
        return _of_apple_icon(data)
    if data.startswith(b"\0\0\1\0"):
        return _of_icon(data)
    if data.startswith((b"P1", b"P2", b"P3")) and data.count(b"#") > MOST_COMMENTS:
        raise LimitError(f"the plain-text PNM has more than {MOST_COMMENTS:,} comments")
    if data.startswith(b"BLP1\0\0\0\0"):
        return Header(jpeg.check(_jpeg_within(data), 0).size, 24)
    if data.startswith((b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP  ")):
        return Header(*jpeg2000.needs(data))
    return Header()


SMALL_JPEG = Header(formats=("JPEG",), whole=True)
"""The header of a JPEG of few bytes, which is inspected again with `of_jpeg` if it turns out to have many pixels."""


def of_jpeg(data: bytes, start: int = 0) -> Header:
    """Inspect a JPEG, even a small one, that begins at the byte `start`.

    Raises:
        LimitError: decoding it would be too much work.
    """
    return Header(formats=("JPEG",), whole=jpeg.check(data, start).whole)


def _jpeg_within(data: bytes) -> bytes:
    """The JPEG in a BLP: its head lies apart from the rest."""
    numbers = struct.unpack_from("<16I16II", data.ljust(_BLP_HEAD_BYTES, b"\0"), 28)
    start, length, head = numbers[0], numbers[16], numbers[32]
    end = _BLP_HEAD_BYTES + head
    start = max(start, end)  # Pillow goes on from its position
    return data[_BLP_HEAD_BYTES:end] + data[start : start + length]


def _of_png(data: bytes, frame: int) -> Header:
    """Inspect a PNG; a PNG of several frames is copied while it is opened, and again for each frame."""
    place, chunks, texts, moves, head = len(_PNG), 0, 0, False, struct.Struct(">I4s")
    while place + 8 <= len(data):
        length, kind = head.unpack_from(data, place)
        if kind == b"IEND":
            break
        chunks += 1
        if chunks > MOST_CHUNKS:
            raise LimitError(f"the PNG has more than {MOST_CHUNKS:,} chunks")
        if kind in (b"zTXt", b"iTXt"):
            texts += max(min(_TEXT_BYTES, length * _DEFLATE_RATIO), length)
        elif kind == b"tEXt":
            texts += length
        moves = moves or kind == b"acTL"
        place += 12 + length
    more = min(texts, _TEXTS_BYTES) * _TEXT_COST
    if not moves:
        return Header(more=more, formats=("PNG",))
    return Header(_size_of_inner(data[:24]), 28 if frame else 16, more, ("PNG",))


def _size_of_gif(data: bytes, frame: int) -> tuple[int, int]:
    """Width and height of a GIF once a frame is drawn; frames may reach beyond the declared size."""
    if len(data) < 13:
        return 0, 0
    width, height = struct.unpack_from("<HH", data, 6)
    place, blocks, comments = 13 + _palette_bytes(data[10]), 0, 0
    while place < len(data):
        kind = data[place]
        place += 1
        comment = kind == 0x21 and data[place : place + 1] == b"\xfe"
        if kind == 0x21:
            place += 1
        elif kind == 0x2C:
            if place + 9 > len(data):
                break
            left, top, across, down, flags = struct.unpack_from("<HHHHB", data, place)
            width, height = max(width, left + across), max(height, top + down)
            place += 9 + _palette_bytes(flags) + 1
            frame -= 1
            if frame < 0:
                break
        elif kind == 0x3B:
            break
        else:
            blocks += 1
            if blocks > MOST_BLOCKS:
                raise LimitError(f"the GIF has more than {MOST_BLOCKS:,} blocks before the requested frame")
            continue
        while place < len(data) and (length := data[place]):
            place += 1 + length
            blocks += 1
            comments += length if comment else 0
            if blocks > MOST_BLOCKS or comments > MOST_COMMENT_BYTES:
                raise LimitError(
                    f"the GIF has more than {MOST_BLOCKS:,} blocks before the requested frame, or more than "
                    f"{MOST_COMMENT_BYTES:,} bytes of comments"
                )
        place += 1
    return width, height


def _palette_bytes(flags: int) -> int:
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def _size_of_webp(data: bytes) -> tuple[int, int]:
    """Width and height of a WebP."""
    kind, body = data[12:16], data[20:30]
    if len(body) < 10:
        return 0, 0
    if kind == b"VP8X":
        return int.from_bytes(body[4:7], "little") + 1, int.from_bytes(body[7:10], "little") + 1
    if kind == b"VP8L":
        bits = int.from_bytes(body[1:5], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    return int.from_bytes(body[6:8], "little") & 0x3FFF, int.from_bytes(body[8:10], "little") & 0x3FFF


def _of_icon(data: bytes) -> Header:
    """Inspect an ICO: its largest picture counts."""
    count = int.from_bytes(data[4:6], "little")
    if count > MOST_ICONS:
        raise LimitError(f"the icon holds {count:,} pictures, more than the limit of {MOST_ICONS:,}")
    sizes = [(0, 0)]
    for number in range(count):
        entry = data[6 + 16 * number : 22 + 16 * number]
        if len(entry) < 16:
            break
        start = int.from_bytes(entry[12:16], "little")
        sizes.append(_size_of_inner(data[start : start + 24]))
    return Header(max(sizes, key=_area), 20, _texts_of_inner(data))


def _texts_of_inner(data: bytes) -> int:
    """Memory that the texts in the pictures of an icon may take, in bytes."""
    return _TEXTS_BYTES * _TEXT_COST if any(kind in data for kind in (b"zTXt", b"iTXt", b"tEXt")) else 0


def _size_of_inner(head: bytes) -> tuple[int, int]:
    """Width and height of a PNG, or of a bitmap and its mask."""
    head = head.ljust(24, b"\0")
    if head.startswith(_PNG):
        return tuple(struct.unpack_from(">II", head, 16))
    if int.from_bytes(head[:4], "little") == 12:
        width, height = struct.unpack_from("<HH", head, 4)
    else:
        width, height = struct.unpack_from("<ii", head, 4)
    return abs(width), (abs(height) + 1) // 2


def _of_apple_icon(data: bytes) -> Header:
    """Inspect an ICNS: its largest picture counts, and JPEG 2000 takes the most."""
    place, count, largest, opening, more = 8, 0, (1024, 1024), 20, _texts_of_inner(data)
    while place + 8 <= len(data):
        length = int.from_bytes(data[place + 4 : place + 8], "big")
        count += 1
        if length < 8 or count > MOST_ICONS:
            raise LimitError(f"the icon is broken, or holds more than {MOST_ICONS:,} pictures")
        inner = data[place + 8 : place + length]
        size = (0, 0)
        if inner.startswith(_PNG):
            size = _size_of_inner(inner[:24])
        elif inner.startswith((b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP  ", b"\x0d\x0a\x87\x0a")):
            size, each, besides = jpeg2000.needs(inner)
            opening, more = max(opening, each), max(more, besides)
        largest = max(largest, size, key=_area)
        place += length
    return Header(largest, opening, more)


def _area(size: tuple[int, int]) -> int:
    return size[0] * size[1]
