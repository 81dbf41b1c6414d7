"""Find the true size of the pictures in a HEIC, whatever its boxes say: libheif checks it only after decoding.

Source: ITU-T H.265, 7.3.2.2 (sequence parameter set) and 7.3.3 (profile, tier and level); ISO/IEC 23008-12, 6.6.2
(canvases of grids and overlays); ISO/IEC 14496-15, 8.3.3 (configuration record).
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from mmstream_image.av1 import MOST_PLACES, Bits, Item, bases_of, items_in

_MOST_BOXES = 64
_MOST_UNITS = 4096
_CONFIGURATION = re.compile(rb"hvcC")
_ARRAYS = 22
"""Position of the byte that says how many arrays a configuration record has; the byte before says the size of
lengths."""
_SEQUENCE_PARAMETERS = 33
_LENGTH_BYTES = 4
_SET_BYTES = 256
"""What precedes the size in a set of parameters takes fewer bytes."""
_PROFILE_BITS, _LEVEL_BITS = 88, 8
_SEPARATE_PLANES = 3
_LOCATIONS = re.compile(rb"iloc")
_KIND = re.compile(rb"infe(?:\x02...(..)|\x03...(....))..(hvc1|grid|iovl)", re.DOTALL)
_FRAME = b"hvc1"
_BEFORE_CANVAS = {b"grid": 4, b"iovl": 10}
"""Bytes of a canvas's description that precede its size, by kind."""


class Largest(NamedTuple):
    """Width and height of the largest pictures in a file; zeros if none is found.

    Attributes:
        frame: size of the largest frame that is decoded.
        canvas: size of the largest canvas on which frames are put together.
        taken: bytes of all items together, of which several may share the same bytes.
    """

    frame: tuple[int, int] = (0, 0)
    canvas: tuple[int, int] = (0, 0)
    taken: int = 0


def largest(data: bytes) -> Largest:
    """Find the largest frame that a set of parameters announces, and the largest canvas."""
    boxes = _without_media(data)
    items = list(_items(boxes))
    described = list(dict.fromkeys(itertools.islice(_described(boxes, items), MOST_PLACES)))
    in_items = (_sets_at(data, place) for kind, place in described if kind == _FRAME)
    sets = itertools.chain(_sets_in_boxes(boxes), itertools.chain.from_iterable(in_items))
    frames = (_size_in(each) for each in itertools.islice(sets, _MOST_UNITS))
    canvases = (_canvas_at(data, place, _BEFORE_CANVAS[kind]) for kind, place in described if kind != _FRAME)
    return Largest(
        max(frames, key=_area, default=(0, 0)),
        max(canvases, key=_area, default=(0, 0)),
        sum(item.size for item in items),
    )


def _without_media(data: bytes) -> bytes:
    """The file with zeros in place of media data, which may resemble boxes by chance."""
    parts, place = [], 0
    while place + 8 <= len(data):
        size, kind = int.from_bytes(data[place : place + 4], "big"), data[place + 4 : place + 8]
        if size == 1:
            size = int.from_bytes(data[place + 8 : place + 16], "big")
        size = max(size, 8) if size else len(data)
        part = data[place : place + size]
        parts.append(bytes(len(part)) if kind == b"mdat" else part)
        place += size
        if len(parts) > _MOST_BOXES:
            break
    return b"".join((*parts, data[place:]))


def _items(boxes: bytes) -> Iterator[Item]:
    for match in itertools.islice(_LOCATIONS.finditer(boxes), _MOST_BOXES):
        yield from itertools.islice(items_in(boxes, match.end()), MOST_PLACES)


def _described(boxes: bytes, items: Iterable[Item]) -> Iterator[tuple[bytes, int]]:
    """Each declared kind of an item that is a frame or canvas, and the position of its data."""
    kinds: dict[int, set[bytes]] = {}
    for match in itertools.islice(_KIND.finditer(boxes), MOST_PLACES):
        kinds.setdefault(int.from_bytes(match[1] or match[2], "big"), set()).add(match[3])
    bases = bases_of(boxes)
    for item in items:
        for kind in sorted(kinds.get(item.id, ())):
            for base in bases if item.within else (0,):
                yield kind, base + item.place


def _sets_in_boxes(data: bytes) -> Iterator[bytes]:
    """The sequence parameter sets of configuration records."""
    for match in itertools.islice(_CONFIGURATION.finditer(data), _MOST_BOXES):
        place = match.end() + _ARRAYS
        for _ in range(data[place] if place < len(data) else 0):
            count = int.from_bytes(data[place + 2 : place + 4], "big")
            place += 4
            for _ in range(min(count, _MOST_UNITS)):
                length = int.from_bytes(data[place : place + 2], "big")
                unit = data[place + 2 : place + 2 + min(length, _SET_BYTES)]
                if _is_set(unit):
                    yield unit
                place += 2 + length
                if place >= len(data):
                    return
            place -= 1


def _sets_at(data: bytes, place: int) -> Iterator[bytes]:
    """The sequence parameter sets among the units that begin at `place`, each after its length."""
    for _ in range(_MOST_UNITS):
        length = int.from_bytes(data[place : place + _LENGTH_BYTES], "big")
        unit = data[place + _LENGTH_BYTES : place + _LENGTH_BYTES + min(length, _SET_BYTES)]
        if _is_set(unit):
            yield unit
        place += _LENGTH_BYTES + length
        if not length or place >= len(data):
            return


def _is_set(unit: bytes) -> bool:
    return len(unit) > 2 and unit[0] >> 1 & 0x3F == _SEQUENCE_PARAMETERS


def _size_in(unit: bytes) -> tuple[int, int]:
    """Width and height in a sequence parameter set, whose first two bytes are its header."""
    bits = Bits(unit[2:].replace(b"\0\0\3", b"\0\0"))
    bits.take(4)
    layers = bits.take(3)
    bits.take(1 + _PROFILE_BITS + _LEVEL_BITS)
    present = [(bits.take(1), bits.take(1)) for _ in range(layers)]
    bits.take(2 * (8 - layers) if layers else 0)
    for has_profile, has_level in present:
        bits.take(_PROFILE_BITS * has_profile + _LEVEL_BITS * has_level)
    _number(bits)
    if _number(bits) == _SEPARATE_PLANES:
        bits.take(1)
    return _number(bits), _number(bits)


def _number(bits: Bits) -> int:
    """Read an Exp-Golomb code; 0 if there is none."""
    for zeros in range(32):
        if bits.take(1):
            return (1 << zeros) - 1 + bits.take(zeros)
    return 0


def _canvas_at(data: bytes, place: int, before: int) -> tuple[int, int]:
    """Width and height of the canvas that is described at `place`."""
    wide = 4 if data[place + 1 : place + 2] == b"\1" else 2
    start = place + before
    return int.from_bytes(data[start : start + wide], "big"), int.from_bytes(
        data[start + wide : start + 2 * wide], "big"
    )


def _area(size: tuple[int, int]) -> int:
    return size[0] * size[1]
