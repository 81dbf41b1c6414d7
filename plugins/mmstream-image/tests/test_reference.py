"""Pixels stay what they were: pictures of many modes and sizes come out as a saved reference says, to the last bit.

`python test_reference.py` writes the reference anew; do so only where pixels are meant to change.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from mmstream_image.field import Image
from PIL import Image as Pillow
from PIL import ImageCms

REFERENCE = Path(__file__).with_name("reference_pixels.json")
SIZES = [(1, 1), (7, 5), (61, 40), (300, 211), (2000, 9), (3, 900), (1500, 1100)]
"""Width and height; the last is decoded in several pieces where it has to be converted."""
WANTED = [(24, 32), (48, 48), (1, 1), (150, 90)]
MODES = (
    *("1", "L", "LA", "P", "P with a colour", "P with levels", "PA", "RGB", "RGB with a colour", "L with a level"),
    *("RGBA", "RGBX", "CMYK", "YCbCr", "LAB", "I;16", "I;16B", "I", "F", "16-bit RGB", "16-bit RGBA", "RGBa", "HSV"),
)


def picture_of(mode: str, size: tuple[int, int]) -> tuple[Pillow.Image | np.ndarray, str, dict]:
    """A picture of noise and a slope, the format that keeps its mode, and what to save it with."""
    random = np.random.default_rng([*size, MODES.index(mode)])
    slope = np.add.outer(np.linspace(0, 120, size[1]), np.linspace(0, 100, size[0]))[..., None]
    samples = (slope + random.integers(0, 35, (size[1], size[0], 4))).astype(np.uint8)
    grey, colours, all_four = samples[..., 0], Pillow.fromarray(samples[..., :3]), Pillow.fromarray(samples)
    wide = samples.astype(np.uint16) * 257 - random.integers(0, 256, samples.shape).astype(np.uint16)
    if mode in ("I;16", "I;16B"):
        picture = Pillow.fromarray(wide[..., 0])
        return (picture, "PNG", {}) if mode == "I;16" else (Pillow.frombytes(mode, size, picture.tobytes()), "TIFF", {})
    if mode == "I":
        return Pillow.fromarray(wide[..., 0].astype(np.int32)), "TIFF", {}
    if mode == "F":
        return Pillow.fromarray(wide[..., 0].astype(np.float32) / 300 - 40), "TIFF", {}
    if mode == "LAB":
        srgb, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
        return ImageCms.profileToProfile(colours, srgb, lab, outputMode="LAB"), "TIFF", {}  # type: ignore[return-value]
    if mode.startswith("16-bit"):
        return wide[..., : len(mode) - 7], "numpy TIFF", {}
    if mode == "P with a colour":
        return Pillow.fromarray(grey).convert("P"), "PNG", {"transparency": 100}
    if mode == "P with levels":
        return Pillow.fromarray(grey).convert("P"), "PNG", {"transparency": bytes(range(256))}
    if mode == "L with a level":
        return Pillow.fromarray(grey // 8), "PNG", {"transparency": 12}
    if mode == "RGB with a colour":
        return Pillow.fromarray(samples[..., :3] // 64 * 64), "PNG", {"transparency": (64, 64, 64)}
    if mode in ("PA", "RGBa", "RGBX", "YCbCr", "HSV"):
        return _as(all_four, mode), "pixels", {}
    picture = (all_four if mode in ("RGBA", "LA", "CMYK") else colours).convert(mode)
    return picture, "PNG" if mode in ("1", "L", "LA", "P", "RGB", "RGBA") else "TIFF", {}


def _as(picture: Pillow.Image, mode: str) -> Pillow.Image:
    if mode == "RGBX":
        return Pillow.frombytes(mode, picture.size, picture.tobytes())
    between = {"PA": "LA", "RGBa": "RGBA"}.get(mode, "RGB")
    return picture.convert(between).convert(mode)


def file_of(mode: str, size: tuple[int, int]) -> bytes | Pillow.Image:
    """The bytes of such a picture, or the picture where no format keeps its mode."""
    picture, file_format, options = picture_of(mode, size)
    if file_format == "pixels":
        return picture  # type: ignore[return-value]
    if isinstance(picture, np.ndarray):
        return tiff_of(picture)
    file = io.BytesIO()
    picture.save(file, file_format, **options)
    return file.getvalue()


def tiff_of(samples: np.ndarray) -> bytes:
    """An uncompressed TIFF of uint16[H, W, 3 or 4]."""
    height, width, count = samples.shape
    data = samples.astype("<u2").tobytes()
    entries = {256: (4, width), 257: (4, height), 258: (3, 16), 259: (3, 1), 262: (3, 2), 273: (4, 0), 277: (3, count)}
    entries |= {278: (4, height), 279: (4, len(data))}
    if count == 4:
        entries[338] = (3, 2)
    end = 8 + 2 + 12 * len(entries) + 4
    entries[273] = (4, end + 8)
    tags = b""
    for tag, (kind, value) in sorted(entries.items()):
        where = end if tag == 258 else value
        tags += np.array([tag, kind], "<u2").tobytes() + np.array([count if tag == 258 else 1, where], "<u4").tobytes()
    head = b"II*\0" + np.array([8], "<u4").tobytes() + np.array([len(entries)], "<u2").tobytes()
    return head + tags + bytes(4) + np.array([16] * 4, "<u2").tobytes() + data


def decoded(found: bytes | Pillow.Image, field: Image) -> np.ndarray:
    if isinstance(found, bytes):
        return field.decode(found)["pixels"]
    with contextlib.ExitStack() as holding:
        return field._pixels(found, holding, 0)


def digests(*modes: str) -> Iterator[tuple[str, str]]:
    """The name of each case and the sha256 of its pixels."""
    for mode in modes:
        for size in SIZES:
            found = file_of(mode, size)
            for wanted in WANTED:
                if wanted in WANTED[2:] and size not in SIZES[3:]:
                    continue
                for resize in ("crop", "pad", "stretch"):
                    pixels = decoded(found, Image(size=wanted, resize=resize, background=(200, 100, 7)))  # type: ignore[arg-type]
                    name = f"{mode}, {size[0]} x {size[1]} to {wanted[1]} x {wanted[0]}, {resize}"
                    yield name, hashlib.sha256(pixels.tobytes()).hexdigest()[:24]


@pytest.mark.parametrize("mode", MODES)
def test_pixels_of_every_mode_and_size_are_what_they_were(mode):
    reference = json.loads(REFERENCE.read_text())
    found = dict(digests(mode))
    assert found
    assert [name for name, digest in found.items() if digest != reference[name]] == []


if __name__ == "__main__":
    REFERENCE.write_text(json.dumps(dict(digests(*MODES)), indent=0) + "\n")
