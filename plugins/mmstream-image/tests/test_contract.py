"""The image field and its encoder keep their contracts."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from mmstream.testing import EncoderContract, FieldContract


def picture(mode: str, size: tuple[int, int], file_format: str) -> bytes:
    pixels = np.random.default_rng(1).integers(256, size=(size[1], size[0], 4), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(out, file_format)
    return out.getvalue()


PNG = picture("RGBA", (20, 9), "PNG")
JPEG = picture("RGB", (64, 48), "JPEG")


class TestImage(FieldContract):
    name = "image"
    parameters = {
        "size": [8, 12],
        "resize": "pad",
        "background": [0, 128, 255],
        "max_pixels": 4000,
        "augment": ["flip", {"rotate": 20}, "zoom", "colour"],
    }
    values = [PNG, JPEG, picture("L", (1, 1), "PNG"), picture("P", (12, 8), "GIF")]
    bad = [
        b"",
        b"no picture",
        PNG[:40],
        JPEG[:200],
        picture("RGB", (64, 63), "PNG"),
        "cat.png",
        7,
        [PNG],
    ]


class TestCnn(EncoderContract):
    name = "cnn"
    parameters = {"filters": [4, 6], "dropout": 0.2}
    field = "image"
    field_parameters = {"size": [12, 8]}


class TestSmallResnet(EncoderContract):
    name = "resnet"
    parameters = {"depth": 18, "stem": "small", "filters": 2}
    field = "image"
    field_parameters = {"size": [12, 8]}


class TestDeepResnet(EncoderContract):
    name = "resnet"
    parameters = {"depth": 50, "stem": "large", "filters": 1, "dropout": 0.0}
    field = "image"
    field_parameters = {"size": [33, 20]}


class TestVit(EncoderContract):
    name = "vit"
    parameters = {"patch": 4, "units": 8, "layers": 2, "heads": 2, "dropout": 0.2}
    field = "image"
    field_parameters = {"size": [12, 8]}
