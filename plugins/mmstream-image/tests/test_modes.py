"""What each of Pillow's modes means to the image field."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from mmstream_image import colours
from mmstream_image.field import Image
from PIL import Image as Pillow

pytestmark = pytest.mark.filterwarnings(r"ignore:::PIL\.")

SIDE = 8


def encoded(picture: Pillow.Image, file_format: str, **options) -> bytes:
    file = io.BytesIO()
    picture.save(file, file_format, **options)
    return file.getvalue()


def levels_of(data: bytes) -> list[int]:
    """The levels of the first row, which is grey."""
    pixels = Image(size=(SIDE, SIDE), resize="stretch").decode(data)["pixels"]
    assert (pixels == pixels[..., :1]).all()
    return pixels[0, :, 0].tolist()


def tiff_of(samples: list[int], kind: str) -> bytes:
    """A TIFF of grey samples, the same in every row, as a type of `struct`."""
    data = struct.pack(f"<{SIDE}{kind}", *samples) * SIDE
    bits, sign = 8 * struct.calcsize(f"<{kind}"), 2 if kind.islower() else 1
    tags = {256: SIDE, 257: SIDE, 258: bits, 259: 1, 262: 1, 273: 8, 277: 1, 278: SIDE, 279: len(data), 339: sign}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    return b"II*\0" + struct.pack("<I", 8 + len(data)) + data + struct.pack("<H", len(tags)) + entries + bytes(4)


def laid(level: int, alpha: int, background: int = 255) -> int:
    return round(level * alpha / 255 + background * (255 - alpha) / 255)


@pytest.mark.parametrize("kind", ["i", "I"])
@pytest.mark.parametrize(
    ("samples", "levels"),
    [
        ([0, 1, 100, 255, 7, 7, 7, 7], [0, 1, 100, 255, 7, 7, 7, 7]),
        ([0, 255, 256, 65535, 512, 0, 0, 0], [0, 0, 1, 255, 2, 0, 0, 0]),
        ([0, 65536, 131072, 255, 0, 0, 0, 0], [0, 128, 255, 0, 0, 0, 0, 0]),
        ([0] * 8, [0] * 8),
        ([2**31 - 1, 2**30, 0, 0, 0, 0, 0, 0], [255, 128, 0, 0, 0, 0, 0, 0]),
    ],
    ids=["as they are", "as 16 bit", "from 0 to the largest", "black", "to the end"],
)
def test_32_bit_integers_are_scaled_by_their_largest(samples, levels, kind):
    assert levels_of(tiff_of(samples, kind)) == levels


def test_negative_integers_are_black():
    assert levels_of(tiff_of([-5, -(2**31), 3, 255, 0, 0, 0, 0], "i")) == [0, 0, 3, 255, 0, 0, 0, 0]
    assert levels_of(tiff_of([-5, 70000, 0, 0, 0, 0, 0, 0], "i")) == [0, 255, 0, 0, 0, 0, 0, 0]
    assert levels_of(tiff_of([2**31, 2**32 - 1, 9, 0, 0, 0, 0, 0], "I")) == [0, 0, 9, 0, 0, 0, 0, 0]


@pytest.mark.parametrize("file_format", ["PNG", "TIFF", "PPM"])
def test_16_bit_integers_lose_their_lower_half_however_small_they_are(file_format):
    samples = np.array([[0, 255, 256, 511, 512, 4096, 65280, 65535]] * SIDE, np.uint16)
    assert levels_of(encoded(Pillow.fromarray(samples), file_format)) == [0, 0, 1, 1, 2, 16, 255, 255]
    dark = np.minimum(samples, 255)
    assert levels_of(encoded(Pillow.fromarray(dark), file_format)) == [0] * SIDE


@pytest.mark.parametrize("kind", ["<u2", ">u2"])
def test_16_bit_integers_mean_the_same_in_either_byte_order(kind):
    samples = np.array([[0, 256, 512, 65535, 1, 2, 3, 4]] * SIDE, np.uint16)
    mode = "I;16" if kind == "<u2" else "I;16B"
    picture = Pillow.frombytes(mode, (SIDE, SIDE), samples.astype(kind).tobytes())
    assert levels_of(encoded(picture, "TIFF")) == [0, 1, 2, 255, 0, 0, 0, 0]


def test_floating_point_goes_from_the_least_to_the_largest():
    samples = np.array([[-2, 0, 2, np.nan, np.inf, -np.inf, 1, 2]] * SIDE, np.float32)
    assert levels_of(encoded(Pillow.fromarray(samples), "TIFF")) == [0, 128, 255, 128, 128, 128, 191, 255]


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBX", "CMYK", "YCbCr", "HSV", "LAB"])
def test_opaque_modes_are_the_grey_that_they_mean(mode):
    white = {"CMYK": (0, 0, 0, 0), "YCbCr": (255, 128, 128), "HSV": (0, 0, 255), "LAB": (255, 128, 128)}.get(mode)
    picture = Pillow.new(mode, (SIDE, SIDE), white if white else "white" if mode != "RGBX" else (255, 255, 255, 0))
    pixels = colours.resized(picture, (4, 4), (0, 0, SIDE, SIDE), (1, 2, 3))
    assert pixels.mode == "RGB"
    assert np.asarray(pixels).min() >= 254


@pytest.mark.parametrize("mode", ["LA", "La", "PA", "RGBA", "RGBa"])
@pytest.mark.parametrize("alpha", [0, 64, 255])
def test_transparent_modes_lie_over_the_background(mode, alpha):
    straight = Pillow.new("LA" if mode in ("LA", "La") else "RGBA", (SIDE, SIDE))
    straight.paste((100, alpha) if straight.mode == "LA" else (100, 100, 100, alpha), (0, 0, SIDE, SIDE))
    pixels = colours.resized(straight.convert(mode), (4, 4), (0, 0, SIDE, SIDE), (200, 200, 200))
    assert np.abs(np.asarray(pixels).astype(int) - laid(100, alpha, 200)).max() <= 2


@pytest.mark.parametrize("largest", [1, 100, 254, 256, 1023, 4095, 65534])
@pytest.mark.parametrize("magic", ["P5", "P6"])
def test_binary_pnm_of_any_largest_sample_has_the_levels_that_pillow_gives(largest, magic):
    channels = 3 if magic == "P6" else 1
    kind = ">u2" if largest > 255 else np.uint8
    samples = np.random.default_rng(largest).integers(0, largest + 20, (SIDE, SIDE, channels)).clip(0, 65535)
    data = (
        f"{magic} {SIDE} {SIDE} {largest}\n".encode()
        + samples.clip(0, 255 if kind == np.uint8 else 65535).astype(kind).tobytes()
    )
    by_pillow = np.asarray(Pillow.open(io.BytesIO(data))).astype(int)
    expected = by_pillow >> 8 if by_pillow.max() > 255 or (channels == 1 and largest > 255) else by_pillow
    pixels = Image(size=(SIDE, SIDE)).decode(data)["pixels"]
    assert (pixels == expected.reshape(SIDE, SIDE, channels)).all()
    with pytest.raises(ValueError, match="the picture is broken: image file is truncated"):
        Image(size=(SIDE, SIDE)).decode(data[:-1])
    with pytest.raises(ValueError, match="there is no frame 1; the picture has 1"):
        Image(size=(SIDE, SIDE), frame=1).decode(data)


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "CMYK", "I;16", "I", "F"])
@pytest.mark.parametrize("box", [(0.0, 0.0, 1.0, 1.0), (0.25, 0.1, 0.7, 0.95)])
@pytest.mark.parametrize("wanted", [(3, 5), (50, 20), (200, 2)])
def test_a_picture_that_is_converted_in_pieces_has_the_pixels_of_one_that_is_not(monkeypatch, mode, box, wanted):
    random = np.random.default_rng(3)
    samples = random.integers(0, 255, (61, 97, 4)).astype(np.uint8)
    if mode in ("I;16", "I", "F"):
        kind = {"I;16": np.uint16, "I": np.int32, "F": np.float32}[mode]
        picture = Pillow.fromarray(samples[..., 0].astype(kind) * 300)
    else:
        picture = Pillow.fromarray(samples).convert(mode)
    area = tuple(part * side for part, side in zip(box, (97, 61, 97, 61), strict=True))
    whole = np.asarray(colours.resized(picture, wanted, area, (9, 99, 199)))  # type: ignore[arg-type]
    for most in (1, 50, 700):
        monkeypatch.setattr(colours, "PIECE_PIXELS", most)
        pieces = np.asarray(colours.resized(picture, wanted, area, (9, 99, 199)))  # type: ignore[arg-type]
        assert np.abs(whole.astype(int) - pieces).max() <= 1
        if box[0] == 0:
            assert (whole == pieces).all()
