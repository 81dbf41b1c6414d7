"""Similarity hashes of pictures: copies are near, others are not, and blank pictures have none."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from mmstream_image.field import Image
from PIL import Image as Pillow
from PIL import ImageEnhance, ImageOps

EMOJI = Path(__file__).parents[3] / "examples" / "emoji" / "train" / "twemoji"
DRAWN = ("ambulance", "anchor", "avocado", "bacon", "banana", "banjo", "bat", "bear", "bed", "beetle", "bird", "bagel")
FIELD = Image(size=(48, 48))


def drawing(name: str) -> Pillow.Image:
    with Pillow.open(EMOJI / f"{name}.png") as picture:
        whole = picture.convert("RGBA")
    return Pillow.alpha_composite(Pillow.new("RGBA", whole.size, "white"), whole).convert("RGB")


def hash_of(picture: Pillow.Image, kind: str = "PNG", **options: int) -> bytes | None:
    data = io.BytesIO()
    picture.save(data, kind, **options)
    return Image.similarity.hash(FIELD.decode(data.getvalue()))


def table(*hashes: bytes | None) -> np.ndarray:
    return np.stack([np.frombuffer(value, np.uint8) for value in hashes if value is not None])


CHANGES = {
    "smaller": lambda picture: hash_of(picture.resize((picture.width * 3 // 5, picture.height * 3 // 5))),
    "larger": lambda picture: hash_of(picture.resize((picture.width * 3, picture.height * 3))),
    "JPEG": lambda picture: hash_of(picture, "JPEG", quality=50),
    "WebP": lambda picture: hash_of(picture, "WEBP", quality=50),
    "brighter": lambda picture: hash_of(ImageEnhance.Brightness(picture).enhance(1.05)),
    "darker": lambda picture: hash_of(ImageEnhance.Brightness(picture).enhance(0.7)),
    "grey": lambda picture: hash_of(ImageOps.grayscale(picture)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_copies_are_near_and_share_a_band(change):
    before, after = (table(*map(make, map(drawing, DRAWN))) for make in (hash_of, CHANGES[change]))
    assert Image.similarity.are_near(before, after).all()
    assert (Image.similarity.bands(before) == Image.similarity.bands(after)).any(1).all()


def test_other_pictures_are_not_near():
    hashes = table(*(hash_of(drawing(name)) for name in DRAWN))
    for turn in range(1, len(hashes)):
        assert not Image.similarity.are_near(hashes, np.roll(hashes, turn, axis=0)).any()


def test_a_mirrored_or_turned_picture_is_another_one():
    hashes = [hash_of(change(drawing("ambulance"))) for change in (ImageOps.mirror, ImageOps.flip)]
    assert not Image.similarity.are_near(table(hash_of(drawing("ambulance")))[[0, 0]], table(*hashes)).any()


@pytest.mark.parametrize("colour", ["white", "black", (250, 3, 20)])
def test_a_picture_of_one_colour_has_no_hash(colour):
    assert hash_of(Pillow.new("RGB", (90, 60), colour)) is None
    assert hash_of(Pillow.new("RGB", (90, 60), colour), "JPEG", quality=30) is None


def test_hashes_do_not_depend_on_the_machine():
    ramp = np.arange(48 * 48 * 3, dtype=np.uint32).reshape(48, 48, 3) * 37 % 256
    hashed = Image.similarity.hash({"pixels": ramp.astype(np.uint8)})
    bands = Image.similarity.bands(table(hashed))
    assert (bands.shape, int(bands.max()) < 2**20) == ((1, 24), True)
    assert [int(band) for band in bands[0, :3]] == [755434, 753276, 891089]
