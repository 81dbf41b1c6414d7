"""What the bytes of a picture say of the work that they make, read before Pillow opens them.

Pillow's openers go through a file piece by piece, and put some pieces together at a cost that grows with their square;
some decode while they open. So what is dear is looked for first, with few steps.
"""

from __future__ import annotations

import re
import struct
from typing import NamedTuple

from mmstream_image import av1, jpeg2000
from mmstream_image.limits import LimitError

MOST_SEGMENTS = 4096
"""Of a JPEG, before its picture begins; comments and metadata have at most 64 KiB each."""
MOST_EXIF_SEGMENTS = 256
MOST_SCANS = 100
"""Of a JPEG; each one goes over the whole picture, however little it says. Usual are ten."""
MOST_PADDING_BYTES = 1 << 20
"""Between the segments of a JPEG, and in the comments of a GIF."""
MOST_CHUNKS = 1 << 17
"""Of a PNG; its pixels alone may come in chunks of a few hundred bytes."""
MOST_BLOCKS = 1 << 20
"""Of a GIF, up to the frame that is wanted; a block has at most 255 bytes."""
MOST_COMMENTS = 10_000
"""In a plain-text PNM; Pillow copies a mebibyte to take one out."""
MOST_ICONS = 1024
"""Pictures within an icon."""
_TEXT_BYTES = 1 << 20
"""Pillow unpacks so much of a text in a PNG."""
_DEFLATE_RATIO = 1032
"""Deflate makes at most so many bytes of one."""
_TEXTS_BYTES = 64 << 20
"""And so much of all texts together."""
_TEXT_COST = 6
"""Bytes that a byte of text may take: four for each of its letters, and a copy."""
_MARKER = re.compile(rb"\xff([^\x00\xd0-\xd7\xff])")
_ALONE = frozenset((0x01, *range(0xD0, 0xDA)))
"""Markers of JPEG without a length."""
_NO_MARKERS = frozenset((0x00, 0xFF, *range(0xD0, 0xD8)))
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_IN_ONE_SCAN = frozenset((0xC0, 0xC1, 0xC3))
_AVIF = frozenset(b"ftyp" + brand for brand in (b"avif", b"avis", b"mif1", b"msf1"))
_FRAME_BYTES = 10
"""Of a pixel of an AV1 frame, with its opacity, of up to 12 bit, and of what its decoder keeps."""
_SIDES = struct.Struct(">HH")
_BLP_HEAD_BYTES = 160
_PNG = b"\x89PNG\r\n\x1a\n"


class Header(NamedTuple):
    """What is known of a picture before it is opened.

    Attributes:
        size: width and height of the largest picture that opening or decoding it makes, (0, 0) if Pillow says it.
        opening: bytes a pixel of `size` that it takes; 0 where opening it takes little, and decoding what Pillow's
            header says.
        more: bytes that it takes besides.
        formats: as Pillow calls them, which alone it may be; empty for all. What opens them reads in large pieces, or
            was counted.
        scans: of a JPEG.
    """

    size: tuple[int, int] = (0, 0)
    opening: int = 0
    more: int = 0
    formats: tuple[str, ...] = ()
    scans: int = 1

    @property
    def held(self) -> int:
        """Bytes that must be held before it is opened."""
        return self.opening * _area(self.size) + self.more if self.opening else 0


def read(data: bytes, frame: int) -> Header:
    """Look at the bytes of a picture.

    Args:
        data: of the whole file.
        frame: that is wanted, from 0.

    Raises:
        LimitError: opening them would be too much work.
    """
    if data.startswith(b"\xff\xd8\xff"):
        return Header(formats=("JPEG",), scans=check_jpeg(data, 0).scans)
    if data.startswith(_PNG):
        return _of_png(data, frame)
    if data.startswith((b"GIF87a", b"GIF89a")):
        return Header(formats=("GIF",), size=_size_of_gif(data, frame))
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return Header(_size_of_webp(data), 20, 0, ("WEBP",))
    if data[4:12] in _AVIF:
        return _of_avif(data)
    if data.startswith(b"icns"):
        return _of_apple_icon(data)
    if data.startswith(b"\0\0\1\0"):
        return _of_icon(data)
    if data.startswith((b"P1", b"P2", b"P3")) and data.count(b"#") > MOST_COMMENTS:
        raise LimitError(f"the plain-text PNM has more than {MOST_COMMENTS:,} comments")
    if data.startswith(b"BLP1\0\0\0\0"):
        return Header(check_jpeg(_jpeg_within(data), 0).size, 24)
    if data.startswith((b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP  ")):
        return Header(*jpeg2000.needs(data))
    return Header()


class Jpeg(NamedTuple):
    """What the segments of a JPEG say.

    Attributes:
        scans: how many it has; 1 where it is decoded as it comes.
        size: width and height.
    """

    scans: int = 1
    size: tuple[int, int] = (0, 0)


def check_jpeg(data: bytes, start: int) -> Jpeg:
    """The picture that begins here is a JPEG of not too many segments and scans.

    Raises:
        LimitError: it has too many.
    """
    place, segments, exif, padding, in_one, components, size = start + 2, 0, 0, 0, False, 0, (0, 0)
    while place + 4 <= len(data):
        marker = data[place + 1]
        if data[place] != 0xFF or marker in _NO_MARKERS:
            found = _MARKER.search(data, place)
            if not found:
                break
            padding += found.start() - place
            place, marker = found.start(), found[1][0]
        if marker in _ALONE:
            place += 2
            padding += 2
            continue
        length = data[place + 2] << 8 | data[place + 3] or 2
        segments += 1
        if segments > MOST_SEGMENTS or padding > MOST_PADDING_BYTES:
            raise LimitError(
                f"the JPEG has more than {MOST_SEGMENTS:,} segments, or {MOST_PADDING_BYTES:,} bytes between them"
            )
        if marker == 0xE1 and data.startswith(b"Exif\0\0", place + 4):
            exif += 1
            if exif > MOST_EXIF_SEGMENTS:
                raise LimitError(f"the JPEG has more than {MOST_EXIF_SEGMENTS:,} segments of EXIF")
        elif marker in _FRAMES:
            if place + 10 > len(data):
                break
            in_one, components = marker in _IN_ONE_SCAN, data[place + 9]
            height, width = _SIDES.unpack_from(data, place + 5)
            size = max(size, (width, height), key=_area)
        elif marker == 0xDA:
            if in_one and data[place + 4 : place + 5] == bytes((components,)):
                return Jpeg(1, size)
            return Jpeg(_scans(data, place + 2 + length, segments), size)
        place += 2 + length
    return Jpeg(1, size)


def _scans(data: bytes, place: int, segments: int) -> int:
    """How many scans a JPEG has, from the data of the first on."""
    scans = 1
    while found := _MARKER.search(data, place):
        marker, place = found[1][0], found.end()
        if marker == 0xD9:
            break
        if marker in _ALONE:
            continue
        scans += marker == 0xDA
        segments += 1
        if scans > MOST_SCANS or segments > MOST_SEGMENTS:
            raise LimitError(f"the JPEG has more than {MOST_SCANS} scans, or {MOST_SEGMENTS:,} segments")
        place += max(int.from_bytes(data[place : place + 2], "big"), 2)
    return scans


def _jpeg_within(data: bytes) -> bytes:
    """The JPEG in a BLP: its head lies apart from the rest."""
    numbers = struct.unpack_from("<16I16II", data.ljust(_BLP_HEAD_BYTES, b"\0"), 28)
    start, length, head = numbers[0], numbers[16], numbers[32]
    end = _BLP_HEAD_BYTES + head
    start = max(start, end)  # Pillow goes on where it is
    return data[_BLP_HEAD_BYTES:end] + data[start : start + length]


def _of_png(data: bytes, frame: int) -> Header:
    """A PNG; one of several frames is copied while it is opened, and again for each frame."""
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
    """Width and height of a GIF once the wanted frame is drawn; a frame may reach beyond what it says itself."""
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
                raise LimitError(f"the GIF has more than {MOST_BLOCKS:,} blocks before the frame that is wanted")
            continue
        while place < len(data) and (length := data[place]):
            place += 1 + length
            blocks += 1
            comments += length if comment else 0
            if blocks > MOST_BLOCKS or comments > MOST_PADDING_BYTES:
                raise LimitError(
                    f"the GIF has more than {MOST_BLOCKS:,} blocks before the frame that is wanted, or more than "
                    f"{MOST_PADDING_BYTES:,} bytes of comments"
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


def _of_avif(data: bytes) -> Header:
    """An AVIF, by the largest of the frames within; they are made its size once they are decoded."""
    size = av1.largest(data)
    return Header(size, more=_area(size) * _FRAME_BYTES, formats=("AVIF",))


def _of_icon(data: bytes) -> Header:
    """An ICO, by the largest of the pictures within."""
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
    """Bytes that the texts in pictures within an icon may take."""
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
    """An ICNS, by the largest of the pictures within; JPEG 2000 takes the most."""
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
