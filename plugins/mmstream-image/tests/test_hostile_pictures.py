"""Pictures that strangers made to cost much: each is refused with the limit, or decoded within the budget.

`python test_hostile_pictures.py` decodes the large ones in two threads and prints the memory that it took, in MiB.
"""

from __future__ import annotations

import contextlib
import io
import struct
import subprocess
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from mmstream_image import directories, jpeg, limits
from mmstream_image.field import Image
from PIL import Image as Pillow
from PIL import TiffImagePlugin

from mmstream.runtime.budget import DECODING

pytestmark = pytest.mark.filterwarnings(r"ignore:::PIL\.")

MIB = 1 << 20
MARGIN = 128
"""MiB of memory that two threads may take besides the budget."""
FIELD = Image(size=(8, 8))
PNG = b"\x89PNG\r\n\x1a\n"


def encoded(picture: Pillow.Image, file_format: str, **options) -> bytes:
    file = io.BytesIO()
    picture.save(file, file_format, **options)
    return file.getvalue()


SMALL = Pillow.new("RGB", (8, 8), (10, 200, 30))
JPEG = encoded(SMALL, "JPEG")
GIF = encoded(SMALL, "GIF")
GIF_HEAD = 13 + (3 << (GIF[10] & 7) + 1)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_of(width: int, height: int, depth: int, colours: int, before: bytes = b"", after: bytes = b"") -> bytes:
    """A PNG of zeros, of any size, with chunks before and after its pixels."""
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colours]
    packer = zlib.compressobj(1)
    line = bytes(1 + (width * channels * depth + 7) // 8)
    pixels = b"".join(packer.compress(line) for _ in range(height)) + packer.flush()
    head = struct.pack(">IIBBBBB", width, height, depth, colours, 0, 0, 0)
    return PNG + chunk(b"IHDR", head) + before + chunk(b"IDAT", pixels) + after + chunk(b"IEND", b"")


def tiff_of(
    tags: dict[int, tuple[int, int, object]], data: bytes = b"", large: bool = False, order: str = "<"
) -> bytes:
    """A TIFF of one directory; a value is a number, its bytes, or (where it lies,)."""
    entry, count_type, inside = ("HHQQ", "Q", 8) if large else ("HHLL", "H", 4)
    head = (b"II" if order == "<" else b"MM") + struct.pack(
        order + ("HHHQ" if large else "HL"), *((43, 8, 0, 16) if large else (42, 8))
    )
    end = len(head) + struct.calcsize(order + count_type) + len(tags) * struct.calcsize(order + entry) + inside
    entries, blobs = b"", b""
    for tag, (kind, count, value) in sorted(tags.items()):
        where = value[0] if isinstance(value, tuple) else value
        if isinstance(value, bytes):
            where = end + len(blobs)
            blobs += value
        elif isinstance(value, int) and kind == 3 and order == ">":
            where = value << 8 * (inside - 2)
        elif isinstance(value, int) and kind == 4 and order == ">" and large:
            where = value << 32
        entries += struct.pack(order + entry, tag, kind, count, where)
    number = struct.pack(order + count_type, len(tags))
    return head + number + entries + bytes(inside) + blobs + data


def plain_tags(side: int = 8) -> dict[int, tuple[int, int, object]]:
    tags: dict[int, tuple[int, int, object]] = {256: (4, 1, side), 257: (4, 1, side), 258: (3, 1, 8), 259: (3, 1, 1)}
    return tags | {262: (3, 1, 1), 273: (4, 1, 8), 277: (3, 1, 1), 278: (4, 1, side), 279: (4, 1, side * side)}


def sharing(large: bool = False, order: str = "<", first: int = 2000) -> bytes:
    """A TIFF whose tags share half a megabyte, and which has it once."""
    shared = dict.fromkeys(range(40000, 40500), (7, 500000, (first,)))
    return tiff_of(plain_tags() | shared, bytes(600_000), large, order)


def packed_tiff(side: int, bits: int, samples: int, colours: int, rows: int, kind: int = 1) -> bytes:
    """A deflated TIFF of zeros, of any size, whose strips are the same one."""
    strip = zlib.compress(bytes(side * rows * bits * samples // 8))
    count = -(-side // rows)
    tags = plain_tags(side)
    tags[258] = (3, samples, struct.pack(f"<{samples}H", *[bits] * samples)) if samples > 2 else (3, 1, bits)
    tags |= {259: (3, 1, 8), 262: (3, 1, colours), 277: (3, 1, samples), 278: (4, 1, rows), 339: (3, 1, kind)}
    tags |= {273: (4, count, bytes(4 * count)), 279: (4, count, struct.pack(f"<{count}L", *[len(strip)] * count))}
    place = len(tiff_of(tags))
    tags[273] = (4, count, struct.pack(f"<{count}L", *[place] * count)) if count > 1 else (4, 1, place)
    if count == 1:
        tags[279] = (4, 1, len(strip))
        tags[273] = (4, 1, len(tiff_of(tags)))
    return tiff_of(tags, strip)


def segment(marker: int, data: bytes) -> bytes:
    return bytes((0xFF, marker)) + struct.pack(">H", len(data) + 2) + data


def jpeg_of(*segments: bytes) -> bytes:
    return JPEG[:2] + b"".join(segments) + JPEG[2:]


def many_scans(count: int) -> bytes:
    data = encoded(Pillow.new("RGB", (512, 512)), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:-2] + data[last:-2] * count + data[-2:]


def first_scan(data: bytes) -> bytes:
    """A JPEG of several scans without all but its first."""
    second = data.index(b"\xff\xda", data.index(b"\xff\xda") + 2)
    return data[:second] + data[-2:]


def bmp_of(width: int, height: int, data: bytes) -> bytes:
    """A BMP with runs."""
    head = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, 0, 0, 0, 256, 0)
    return b"BM" + struct.pack("<IHHI", 0, 0, 0, 54 + 1024) + head + bytes(1024) + data


def icon_of(*pictures: bytes, count: int = 0) -> bytes:
    place = 6 + 16 * (count or len(pictures))
    head = b""
    for picture in pictures:
        head += struct.pack("<BBBBHHII", 8, 8, 0, 0, 1, 32, len(picture), place)
        place += len(picture)
    return struct.pack("<HHH", 0, 1, count or len(pictures)) + head.ljust(16 * count, b"\0") + b"".join(pictures)


def codestream(width: int = 64, height: int = 64, tile: tuple[int, int] = (0, 0), components: int = 3) -> bytes:
    """A JPEG 2000 whose header says something else than it is."""
    data = bytearray(encoded(Pillow.new("RGB", (64, 64)), "JPEG2000", no_jp2=True))
    tile = tile if tile[0] else (width, height)
    struct.pack_into(">6I", data, 8, width, height, 0, 0, *tile)
    struct.pack_into(">H", data, 40, components)
    return bytes(data)


def blp_of(inner: bytes) -> bytes:
    head = b"BLP1" + struct.pack("<iIIIii", 0, 0, 8, 8, 5, 0)
    return head + struct.pack("<16I16II", 160, *[0] * 15, len(inner), *[0] * 15, 0) + inner


def claiming(data: bytes, marker: bytes, width: int, height: int) -> bytes:
    """A JPEG that says that it has another size."""
    changed = bytearray(data)
    struct.pack_into(">HH", changed, data.index(marker) + 5, height, width)
    return bytes(changed)


PROGRESSIVE = encoded(Pillow.new("CMYK", (64, 64)), "JPEG", progressive=True, subsampling=0)
REFUSED = {
    "a TIFF whose tags share": (sharing(), "declare 250,000,000 bytes, more than the"),
    "a BigTIFF whose tags share": (sharing(large=True, first=20_000), "declare 250,000,000 bytes, more than the"),
    "a TIFF of the other order whose tags share": (sharing(order=">", first=20_000), "declare 250,000,000 bytes"),
    "a TIFF of many numbers": (tiff_of(plain_tags() | {258: (3, 300_000, bytes(600_000))}), "hold 300,000 numbers"),
    "a TIFF of many fractions": (tiff_of(plain_tags() | {282: (5, 20_000, bytes(160_000))}), "hold 320,000 numbers"),
    "a TIFF of many strips": (tiff_of(plain_tags() | {273: (4, 70_000, bytes(280_000))}), "is in 70,000 pieces"),
    "a TIFF that is painted over": (
        tiff_of(plain_tags() | {278: (4, 1, 4), 273: (4, 60, struct.pack("<60L", *[8, 9] * 30))}, bytes(64)),
        "cover it too often; the limit is 8 times",
    ),
    "a BigTIFF of many tags": (
        struct.pack("<2sHHHQQ", b"II", 43, 8, 0, 16, 70_000) + bytes(1_400_008),
        "70,000 tags, more than the limit of 65,535",
    ),
    "a JPEG of many segments": (jpeg_of(segment(0xFE, b"x") * 5000), "more than 4,096 segments"),
    "a JPEG of many bits of EXIF": (
        jpeg_of(segment(0xE1, b"Exif\0\0" + bytes(60)) * 300),
        "more than 256 segments of EXIF",
    ),
    "a JPEG of padding": (jpeg_of(b"\xff" * 1_100_000), "1,048,576 bytes of padding"),
    "a JPEG of escapes": (jpeg_of(b"\xff\0" * 600_000), "1,048,576 bytes of padding"),
    "a JPEG of restarts": (jpeg_of(b"\xff\xd0" * 600_000), "1,048,576 bytes of padding"),
    "a JPEG of many scans": (many_scans(120), "more than 100 scans"),
    "a PNG of small chunks": (png_of(8, 8, 8, 2, before=chunk(b"prIv", b"") * 140_000), "more than 131,072 chunks"),
    "a PNG of small chunks behind": (png_of(8, 8, 8, 2, after=chunk(b"tEXt", b"a\0b") * 140_000), "131,072 chunks"),
    "a GIF of a long comment": (
        GIF[:GIF_HEAD] + b"!\xfe" + (b"\xff" + b"c" * 255) * 4200 + b"\0" + GIF[GIF_HEAD:],
        "more than 1,048,576 bytes of comments",
    ),
    "a GIF of small blocks": (
        GIF[:GIF_HEAD] + b"!\1" + b"\1c" * 1_100_000 + b"\0" + GIF[GIF_HEAD:],
        "1,048,576 blocks",
    ),
    "a GIF of bytes that mean nothing": (GIF[:GIF_HEAD] + b"z" * 1_100_000 + GIF[GIF_HEAD:], "1,048,576 blocks"),
    "a GIF that is an IM": (b"GIF89a: b\n" + b"N: b\n" * 300_000, "1,048,576 blocks"),
    "an IM of many lines": (b"Image type: L image\r\n" + b"N: b\n" * 600_000, "need more than 1,000,000 reads"),
    "an XPM of empty lines": (b"/* XPM */\n" + b"\n" * 1_100_000, "need more than 1,000,000 reads"),
    "a BMP of runs of nothing": (bmp_of(10, 10, b"\0\0" * 600_000), "need more than 1,000,000 reads"),
    "a BMP of one row that skips many": (bmp_of(7_900_000, 1, b"\0\2\xff\xff"), "needs about .* GiB of memory"),
    "a plain PGM of comments": (b"P2 8 8 255\n" + b"#\n" * 11_000 + b"1 " * 64, "more than 10,000 comments"),
    "a plain PPM": (b"P3 2900 2900 255\n" + b"1 " * 100, "more than the limit of 8,000,000 for .*ppm_plain"),
    "a QOI": (b"qoif" + struct.pack(">IIBB", 2900, 2900, 3, 0) + bytes(100), "more than the limit of 8,000,000 .*qoi"),
    "an icon of many pictures": (
        icon_of(png_of(8, 8, 8, 6), count=2000),
        "2,000 pictures, more than the limit of 1,024",
    ),
    "an icon of a large picture": (icon_of(png_of(9500, 9500, 1, 0)), "needs about 1.68 GiB of memory"),
    "an Apple icon of small steps": (b"icns" + struct.pack(">I", 80_000) + b"abcd\0\0\0\1" * 10_000, "icon is broken"),
    "a JPEG 2000 that is too large": (codestream(60_000, 60_000), "60000 x 60000 pixels are more than max_pixels"),
    "a JPEG 2000 in one tile": (codestream(9900, 9900), "needs about .* GiB of memory"),
    "a JPEG 2000 of tiny tiles": (codestream(300, 400, (1, 1)), "needs about .* GiB of memory"),
    "a JPEG 2000 of many components": (codestream(components=5000), "5,000 components, more than the limit of 4"),
    "a BLP with a large JPEG within": (blp_of(claiming(JPEG, b"\xff\xc0", 9999, 9999)), "needs about .* GiB of memory"),
    "a progressive JPEG in CMYK": (claiming(PROGRESSIVE, b"\xff\xc2", 12000, 14000), "needs about .* GiB of memory"),
    "a progressive JPEG in CMYK of one scan": (
        claiming(first_scan(PROGRESSIVE), b"\xff\xc2", 12000, 14000),
        "needs about .* GiB of memory",
    ),
    "a WebP that is too large for the budget": (
        encoded(Pillow.new("RGB", (9999, 9999)), "WEBP", lossless=True, quality=0, method=0),
        "needs about 1.86 GiB of memory, more than the 1.00 GiB",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_would_cost_too_much_is_refused_with_the_limit(name):
    data, message = REFUSED[name]
    field = Image(size=(8, 8), max_pixels=170_000_000) if "CMYK" in name else FIELD
    with pytest.raises(ValueError, match=message) as refused:
        field.decode(data)
    assert len(str(refused.value)) < 300
    assert DECODING.held == 0


def test_what_costs_too_much_does_not_when_a_config_is_suggested_either(monkeypatch):
    held = []
    holding = DECODING.holding
    monkeypatch.setattr(DECODING, "holding", lambda needed: held.append(needed) or holding(needed))
    dear = [
        data for name, (data, _) in REFUSED.items() if "TIFF" in name or "WebP" in name or "icon of a large" in name
    ]
    found = Image.suggest([encoded(SMALL, "PNG"), *dear])
    assert found is not None
    assert found.fit <= 3 / (1 + len(dear))  # what is only painted over, or turned down by its own size, is a picture
    assert max(held) > DECODING.total


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "several segments", "MPO"])
def test_metadata_whose_tags_share_are_damaged_and_cost_the_orientation_alone(file_format):
    exif = b"Exif\0\0" + sharing()
    if file_format == "several segments":
        data = jpeg_of(*(segment(0xE1, b"Exif\0\0" + exif[6 + n : 65_006 + n]) for n in range(0, len(exif), 65_000)))
    elif file_format in ("MPO", "JPEG"):
        shared = dict.fromkeys(range(40000, 40100), (7, 20000, (2000,)))
        blob = tiff_of(plain_tags() | shared, bytes(25_000))
        data = jpeg_of(segment(0xE1, b"Exif\0\0" + blob) if file_format == "JPEG" else segment(0xE2, b"MPF\0" + blob))
    else:
        data = encoded(SMALL, file_format, exif=exif, **({"lossless": True} if file_format == "WEBP" else {}))
    assert np.abs(FIELD.decode(data)["pixels"].astype(int) - (10, 200, 30)).max() < 4


def test_tags_elsewhere_in_the_process_are_read_as_before():
    """The look is taken only while the field decodes."""
    with Pillow.open(io.BytesIO(sharing())) as picture:
        assert len(picture.tag_v2) > 400  # type: ignore[attr-defined]


def test_pillow_knows_the_types_of_tags_that_are_counted_and_no_others():
    handlers = TiffImagePlugin.ImageFileDirectory_v2._load_dispatch
    assert {kind: size for kind, (size, _) in handlers.items()} == directories._SIZES


@pytest.mark.parametrize(("large", "order"), [(False, "<"), (False, ">"), (True, "<")])
def test_pillow_tells_how_the_numbers_of_a_directory_are_written(monkeypatch, large, order):
    seen = []
    monkeypatch.setattr(directories, "check", lambda directory, file: seen.append(directory))
    with contextlib.suppress(ValueError):
        FIELD.decode(tiff_of({256: (3, 1, 8), 257: (3, 1, 8)}, large=large, order=order))
    assert {(directory._bigtiff, directory.prefix) for directory in seen} == {(large, b"II" if order == "<" else b"MM")}


def test_pillow_reads_every_directory_through_the_door_that_is_watched(monkeypatch):
    seen = []
    monkeypatch.setattr("mmstream_image.directories.check", lambda directory, file: seen.append(file))
    exif = Pillow.Exif()
    exif[0x0112] = 6
    for file_format in ("TIFF", "JPEG", "PNG", "WEBP", "AVIF", "HEIF"):
        seen.clear()
        FIELD.decode(encoded(SMALL, file_format, exif=exif.tobytes()))
        assert seen, file_format


@pytest.mark.parametrize(("frame", "message"), [(0, None), (3, None), (1500, "1,501 frames of 2000 x 2000 pixels")])
@pytest.mark.parametrize("file_format", ["GIF", "PNG", "WEBP"])
def test_frames_are_drawn_over_each_other_only_up_to_a_limit(file_format, frame, message):
    frames = [Pillow.new("RGB", (2000, 2000), (number, 0, 0)) for number in (200, 10, 100, 250)]
    data = encoded(frames[0], file_format, save_all=True, append_images=frames[1:])
    field = Image(size=(8, 8), frame=frame)
    if message:
        with pytest.raises(ValueError, match=message):
            field.decode(data)
    else:
        assert field.decode(data)["pixels"].shape == (8, 8, 3)
    assert DECODING.held == 0


@pytest.mark.parametrize("file_format", ["GIF", "TIFF", "MPO"])
def test_a_later_frame_that_is_larger_counts_as_what_it_is(file_format):
    frames = [Pillow.new("RGB", (8, 8)), Pillow.new("RGB", (300, 300))]
    if file_format == "GIF":
        later = struct.pack("<HHHH", 0, 0, 300, 300)
        data = GIF[:-1] + b"," + later + b"\0\2\2\x84\x51\0;"
    else:
        data = encoded(frames[0], file_format, save_all=True, append_images=frames[1:])
    with pytest.raises(ValueError, match="300 x 300 pixels are more than max_pixels = 10,000"):
        Image(size=(8, 8), max_pixels=10_000, frame=1).decode(data)
    assert Image(size=(8, 8), max_pixels=10_000).decode(data)["pixels"].shape == (8, 8, 3)


@pytest.mark.parametrize("frames", [1, 3])
def test_an_avif_counts_as_large_as_its_frames_and_not_as_what_its_boxes_say(frames):
    pictures = [Pillow.new("RGB", (300, 200), (number, 0, 0)) for number in range(frames)]
    data = bytearray(encoded(pictures[0], "AVIF", speed=10, save_all=True, append_images=pictures[1:]))
    place = 0
    while (place := data.find(b"ispe", place)) >= 0:
        struct.pack_into(">II", data, place + 8, 8, 8)
        place += 8
    with pytest.raises(ValueError, match="300 x 200 pixels are more than max_pixels = 10,000"):
        Image(size=(8, 8), max_pixels=10_000).decode(bytes(data))


def test_a_look_at_a_header_takes_steps_that_grow_with_the_file_and_no_faster(monkeypatch):
    """Escapes and padding are searched through once, however many there are."""

    class Counting:
        def __init__(self, pattern):
            self.pattern, self.bytes = pattern, 0

        def search(self, data, place):
            found = self.pattern.search(data, place)
            self.bytes += (found.end() if found else len(data)) - place
            return found

    steps = []
    for count in (10_000, 40_000):
        counting = Counting(jpeg._MARKER)
        with monkeypatch.context() as patch:
            patch.setattr(jpeg, "_MARKER", counting)
            jpeg.check(jpeg_of(b"\xff" * count + b"\0" + b"\xff\xd0" * (count // 10)), 0)
        steps.append(counting.bytes)
    assert steps[1] < 5 * steps[0]


def test_reading_is_counted_and_ends():
    file = limits.CountedFile(b"x" * 10)
    file.reads_left = 3
    assert (file.read(1), file.readline(2), file.read(1)) == (b"x", b"xx", b"x")
    with pytest.raises(limits.LimitError, match="need more than 1,000,000 reads"):
        file.read(1)


def large_pictures() -> list[bytes]:
    """Pictures of a hundred million pixels, or as many as the budget lets pass, of kinds that take much."""
    side = 10_000
    grey, colour = (side, side, 16, 0), (side, side, 8, 6)
    tags = dict.fromkeys(range(40000, 43000), (7, 500000, (2000,)))
    progressive = encoded(Pillow.new("RGB", (1000, 1000)), "JPEG", progressive=True)
    cmyk = encoded(Pillow.new("CMYK", (1000, 1000)), "JPEG", progressive=True, subsampling=0)
    return [
        png_of(*grey),
        png_of(side, side, 8, 4),
        png_of(*colour),
        png_of(side, side, 8, 3, before=chunk(b"PLTE", bytes(768)) + chunk(b"tRNS", bytes(range(256)))),
        png_of(40_000_000, 1, 8, 4),
        png_of(1, 30_000_000, 8, 4),
        packed_tiff(side, 16, 1, 1, 64),
        packed_tiff(side, 32, 1, 1, 64),
        packed_tiff(side, 32, 1, 1, 64, kind=3),
        packed_tiff(side, 16, 3, 2, 64),
        packed_tiff(side, 16, 3, 2, side),
        packed_tiff(side, 8, 4, 5, 64),
        tiff_of(plain_tags() | tags, bytes(600_000)),
        claiming(progressive, b"\xff\xc2", side, side),
        claiming(cmyk, b"\xff\xc2", side, side),
        encoded(Pillow.new("RGBA", (6400, 6400)), "WEBP", lossless=True, quality=0, method=0),
        encoded(Pillow.new("RGB", (4000, 4000)), "JPEG2000"),
        icon_of(png_of(7000, 7000, 8, 6)),
        encoded(Pillow.new("P", (side, side)), "GIF"),
    ]


def memory_of(key: str) -> int:
    """MiB that this process has, or has had at most."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(key))
    return int(line.split()[1]) // 1024


def main() -> None:
    """Decode in two threads, and print how many pictures were decoded and the MiB that it took at most."""
    for file_format in ("PNG", "JPEG", "TIFF", "WEBP", "GIF", "JPEG2000"):
        FIELD.decode(encoded(SMALL, file_format))
    pictures = large_pictures()

    def decode(data: bytes) -> int:
        try:
            return FIELD.decode(data)["pixels"].ndim == 3
        except ValueError:
            return 0

    before = memory_of("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # or what making them took counts
    with ThreadPoolExecutor(2) as pool:
        done = sum(pool.map(decode, pictures + pictures[::-1]))
    print(done, memory_of("VmHWM") - before)  # noqa: T201 - it is what this is for


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the peak is told by Linux")
def test_two_threads_take_no_more_than_the_budget_for_the_largest_pictures():
    run = subprocess.run([sys.executable, __file__], capture_output=True, text=True, check=True)
    done, peak = map(int, run.stdout.split())
    assert done > 24
    assert peak < DECODING.total // MIB + MARGIN


if __name__ == "__main__":
    main()
