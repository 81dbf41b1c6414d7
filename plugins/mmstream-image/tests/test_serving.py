"""An exported graph sees the very pixels that the field decodes, or refuses the file."""

from __future__ import annotations

import io
import itertools

import numpy as np
import pytest
import tensorflow as tf
from mmstream_image.field import Image
from PIL import Image as Pillow

RESIZES = ("crop", "pad", "stretch")
SIZES = [(16, 16), (24, 10)]


def encoded(size: tuple[int, int], mode: str, file_format: str, orientation: int = 1, **options) -> bytes:
    noise = np.random.default_rng(sum(size)).integers(256, size=(size[1], size[0], 4), dtype=np.uint8)
    picture = Pillow.fromarray(noise).convert(mode)
    exif = Pillow.Exif()
    exif[0x0112] = orientation
    out = io.BytesIO()
    picture.save(out, file_format, exif=exif, **options)
    return out.getvalue()


def graph(field: Image):
    return tf.function(field.serve, input_signature=[tf.TensorSpec([None], tf.string)])


@pytest.mark.parametrize(("size", "resize"), list(itertools.product(SIZES, RESIZES)))
def test_pixels_are_equal(size, resize):
    field = Image(size=size, resize=resize, background=(10, 200, 30))
    serve = graph(field)
    sides = ((16, 16), (24, 10), (1, 1), (3, 100), (640, 480), (129, 257), (65, 64))
    for picture in sides:
        files = [
            *(encoded(picture, mode, "PNG") for mode in ("RGB", "RGBA", "L", "LA", "P", "1")),
            *(encoded(picture, mode, "JPEG", quality=q) for mode in ("RGB", "L") for q in (40, 95)),
            encoded(picture, "RGB", "JPEG", progressive=True),
            *(encoded(picture, "RGB", "JPEG", orientation=n) for n in range(10)),
            *(encoded(picture, "RGB", "PNG", orientation=n) for n in (3, 6)),
        ]
        found = serve(tf.constant(files))["pixels"].numpy()
        for data, pixels in zip(files, found, strict=True):
            np.testing.assert_array_equal(pixels, field.decode(data)["pixels"], err_msg=f"{picture} {data[:20]!r}")


def test_odd_files_give_equal_pixels_or_are_refused(shared_data):
    field = Image(size=(32, 20))
    serve = graph(field)
    served = 0
    for path in sorted((shared_data / "odd_images").rglob("*")):
        if not path.is_file() or path.name == "png_decompression_dos.png":
            continue  # the pixels of that one are sound; the field refuses its texts, which no graph reads
        data = path.read_bytes()
        try:
            pixels = serve(tf.constant([data]))["pixels"][0].numpy()
        except tf.errors.InvalidArgumentError:
            continue
        np.testing.assert_array_equal(pixels, field.decode(data)["pixels"], err_msg=path.name)
        served += 1
    assert served


@pytest.mark.parametrize("mode_and_format", [("CMYK", "JPEG"), ("RGB", "WEBP"), ("P", "GIF"), ("RGB", "BMP")])
def test_other_formats_are_refused(mode_and_format):
    with pytest.raises(tf.errors.InvalidArgumentError):
        graph(Image(size=(8, 8)))(tf.constant([encoded((20, 20), *mode_and_format)]))


def test_a_picture_of_too_many_pixels_is_refused():
    serve = graph(Image(size=(8, 8), max_pixels=399))
    for file_format in ("PNG", "JPEG"):
        with pytest.raises(tf.errors.InvalidArgumentError, match="max_pixels"):
            serve(tf.constant([encoded((20, 20), "RGB", file_format)]))
