"""HEIC, as telephones write it: read like any picture, and held to the size of what is decoded."""

from __future__ import annotations

import contextlib
import io
import struct

import numpy as np
import pillow_heif
import pytest
from mmstream_image import hevc
from mmstream_image.field import Image
from PIL import Image as Pillow

from mmstream.runtime.budget import DECODING


def heic(picture: Pillow.Image, **options) -> bytes:
    file = io.BytesIO()
    picture.save(file, "HEIF", quality=-1, chroma=444, **options)
    return file.getvalue()


def in_tiles(picture: Pillow.Image, monkeypatch: pytest.MonkeyPatch) -> bytes:
    monkeypatch.setattr(pillow_heif.options, "GRID_TILE_SIZE", 64)
    return heic(picture)


def gradient(width: int, height: int) -> Pillow.Image:
    rows, columns = np.mgrid[0:height, 0:width]
    pixels = np.stack([columns * 255 // width, rows * 255 // height, np.full((height, width), 90)], axis=-1)
    return Pillow.fromarray(pixels.astype(np.uint8))


def shrunk(data: bytes) -> bytes:
    """The same, with boxes that say that all pictures are small."""
    found, place = bytearray(data), 0
    while (place := found.find(b"ispe", place)) >= 0:
        struct.pack_into(">II", found, place + 8, 8, 8)
        place += 8
    return bytes(found)


@pytest.mark.parametrize("tiles", [False, True])
def test_pixels_are_those_of_the_picture(tiles, monkeypatch):
    picture = gradient(300, 200)
    data = in_tiles(picture, monkeypatch) if tiles else heic(picture)
    found = Image(size=(20, 30)).decode(data)["pixels"].astype(int)
    expected = np.array(picture.resize((30, 20), Pillow.Resampling.BILINEAR)).astype(int)
    assert np.abs(found - expected).max() <= 6
    assert DECODING.held == 0


def test_it_is_turned_as_it_was_taken_and_transparent_parts_are_background():
    exif = Pillow.Exif()
    exif[0x0112] = 6
    picture = Pillow.new("RGB", (64, 32), (200, 0, 0))
    picture.paste((0, 0, 200), (32, 0, 64, 32))
    found = Image(size=(64, 32)).decode(heic(picture, exif=exif.tobytes()))["pixels"]
    assert found[5, 16, 0] > 180
    assert found[60, 16, 2] > 180
    clear = Pillow.new("RGBA", (64, 64), (0, 0, 0, 0))
    assert Image(size=(8, 8), background=(10, 200, 30)).decode(heic(clear))["pixels"][4, 4].tolist() == [10, 200, 30]


@pytest.mark.parametrize("tiles", [False, True])
def test_it_counts_as_large_as_its_frames_and_canvases_and_not_as_what_its_boxes_say(tiles, monkeypatch):
    picture = gradient(320, 192)
    data = in_tiles(picture, monkeypatch) if tiles else heic(picture)
    found = hevc.largest(data)
    assert (found.canvas if tiles else found.frame) == (320, 192)
    assert (found.frame if tiles else found.canvas) == ((64, 64) if tiles else (0, 0))
    for each in (data, shrunk(data)):
        with pytest.raises(ValueError, match="320 x 192 pixels are more than max_pixels = 10,000"):
            Image(size=(8, 8), max_pixels=10_000).decode(each)


def test_it_holds_what_decoding_takes(monkeypatch):
    held = []
    original = DECODING.holding
    monkeypatch.setattr(DECODING, "holding", lambda size: held.append(size) or original(size))
    Image(size=(8, 8)).decode(heic(gradient(512, 512)))
    assert max(held) > 512 * 512 * 16


@pytest.mark.parametrize("data", [b"\0\0\0\x24ftypheic" + bytes(212), b"\0\0\0\x18ftypmif1" + bytes(90)])
def test_a_broken_one_says_so(data):
    with pytest.raises(ValueError, match=r"the picture is broken: it begins like .*HEIF"):
        Image(size=(8, 8)).decode(data)


def test_wherever_it_is_cut_off_or_changed_it_is_read_or_refused():
    data = heic(gradient(64, 64))
    field, random = Image(size=(8, 8)), np.random.default_rng(0)
    for place in random.integers(0, len(data), 60):
        changed = bytearray(data)
        changed[place] ^= 1 << int(random.integers(8))
        for each in (data[:place], bytes(changed)):
            with contextlib.suppress(ValueError):
                assert field.decode(each)["pixels"].shape == (8, 8, 3)
    assert DECODING.held == 0


def test_items_that_share_their_bytes_are_refused():
    data = heic(gradient(64, 64))
    locations = struct.pack(">4sIHHHH", b"iloc", 0, 0x4400, 2, 1, 0)
    shared = struct.pack(">HII", 32, 0, len(data)) + struct.pack(">II", 0, len(data)) * 31
    box = struct.pack(">I", len(locations) + len(shared) + 4) + locations + shared
    with pytest.raises(ValueError, match="share bytes and add up to"):
        Image(size=(8, 8)).decode(data + box)


def test_a_frame_counts_as_large_as_the_set_of_parameters_among_its_data():
    """A decoder believes the last one."""
    large = heic(gradient(320, 192))
    place = large.index(b"hvcC")
    start = next(at for at in range(place, len(large)) if large[at] == 0x42 and large[at + 1] == 1)
    unit = large[start : start + int.from_bytes(large[start - 2 : start], "big")]
    data = heic(gradient(64, 64))
    locations = struct.pack(">4sIHHHHH", b"iloc", 0, 0x4400, 1, 1, 0, 1)
    locations += struct.pack(">II", len(data) + 8, len(unit) + 4)
    more = struct.pack(">I4sI", len(unit) + 12, b"mdat", len(unit)) + unit
    box = struct.pack(">I", len(locations) + 4) + locations
    assert hevc.largest(data + more + box).frame == (320, 192)


def test_what_stands_in_media_by_chance_is_not_taken_for_a_box():
    data = heic(gradient(64, 64))
    chance = struct.pack(">I4s", 8 + 600, b"mdat") + b"iloc\0\0\0\0\x44\x00" + b"\xff" * 590
    assert hevc.largest(data + chance) == hevc.largest(data)
    assert Image(size=(8, 8)).decode(data + chance)["pixels"].shape == (8, 8, 3)


def test_a_look_at_a_header_ends_whatever_it_says():
    for head in (b"hvcC" + bytes(22) + b"\xff" * 100, b"iloc" + b"\xff" * 400, b"infe\2\0\0\0\xff\xff\0\0grid" * 1000):
        hevc.largest(b"\0\0\0\x18ftypheic" + head + bytes(1000))
