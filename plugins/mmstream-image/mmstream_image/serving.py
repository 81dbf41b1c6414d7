"""Compute the pixels of the field `image` in a TensorFlow graph, for exported models: the same to the last bit.

TensorFlow's own resizing rounds once, Pillow's after each direction, and in fixed point; so Pillow's is implemented
here.

Source: Pillow's `Image.resize`, `Image.reduce` and `Image.alpha_composite` (Resample.c, Reduce.c, AlphaComposite.c).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

_FIXED_POINT = 2.0**22
"""The factor by which Pillow multiplies a filter's weights."""
_EXIF_BYTES = 1 << 17
"""How many bytes of a file are searched for metadata."""
_REDUCING_GAP = 2.0
_ORIENTATION_TAG = 0x0112
_JPEG, _PNG = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"


def pixels(data: Any, size: tuple[int, int], resize: str, background: tuple[int, int, int], max_pixels: int) -> Any:
    """Decode the picture in a file's bytes.

    Args:
        data: tf.string[], a JPEG or PNG file; any other format, CMYK and broken files are an error in the graph.
        size: height H and width W.
        resize: "crop", "pad" or "stretch".
        background: red, green and blue under transparent parts and around a padded picture.
        max_pixels: a picture of more pixels is an error.

    Returns:
        uint8[H, W, 3].
    """
    height, width = size
    is_jpeg, is_png = _begins(data, _JPEG), _begins(data, _PNG)
    check = tf.debugging.Assert(is_jpeg | is_png, ["a picture is neither JPEG nor PNG"])
    with tf.control_dependencies([check]):
        orientation = _orientation(tf.io.decode_raw(_head(data, _EXIF_BYTES), tf.uint8), is_jpeg)
    lying = orientation >= 5
    target = tf.where(lying, [height, width], [width, height])  # width and height before it is turned
    picture = tf.cond(
        is_jpeg,
        lambda: _decoded_jpeg(data, target, resize, max_pixels),
        lambda: _decoded_png(data, background, max_pixels),
    )
    resized = _resized(picture, target, resize, background)
    upright = (
        lambda: resized,
        lambda: resized[:, ::-1],
        lambda: resized[::-1, ::-1],
        lambda: resized[::-1],
        lambda: tf.transpose(resized, (1, 0, 2)),
        lambda: tf.transpose(resized[::-1], (1, 0, 2)),
        lambda: tf.transpose(resized[::-1, ::-1], (1, 0, 2)),
        lambda: tf.transpose(resized[:, ::-1], (1, 0, 2)),
    )
    turned = tf.switch_case(orientation - 1, upright)
    return tf.ensure_shape(turned, (height, width, 3))


def _decoded_jpeg(data: Any, target: Any, resize: str, max_pixels: int) -> Any:
    shape = tf.io.extract_jpeg_shape(data)
    size = _checked((shape[1], shape[0]), max_pixels)
    check = tf.debugging.Assert(shape[2] != 4, ["a picture is a JPEG in CMYK"])
    with tf.control_dependencies([check]):
        draft = 2 * _scaled(size, target, resize)
    ratio = tf.reduce_min(size // draft)

    def decoded(ratio: int) -> Any:
        return lambda: tf.io.decode_jpeg(
            data, channels=3, ratio=ratio, fancy_upscaling=True, dct_method="INTEGER_ACCURATE"
        )

    choices = [(ratio >= scale, decoded(scale)) for scale in (8, 4, 2)]
    return tf.case(choices, default=decoded(1))


def _decoded_png(data: Any, background: tuple[int, int, int], max_pixels: int) -> Any:
    sides = tf.io.decode_raw(tf.strings.substr(data, 16, 8), tf.int32, little_endian=False)
    head = tf.io.decode_raw(_head(data, _EXIF_BYTES), tf.uint8)
    head = head[: _find(head, b"IDAT")]
    still = tf.debugging.Assert(_find(head, b"acTL") < 0, ["a picture is a PNG with several frames"])
    with tf.control_dependencies([still, _checked((sides[0], sides[1]), max_pixels)]):
        samples = tf.cast(tf.io.decode_png(data, channels=4), tf.int32)
    opaque = (head[24] < 8) & (_find(head, b"tRNS") < 0)
    # TensorFlow takes the largest sample for opaque, which is 1, 3 or 15 where samples have fewer bits than 8.
    over, alpha = samples[..., :3], tf.where(opaque, 255, samples[..., 3:])
    weight = alpha * 128  # over an opaque background, seven bits more than a byte
    mixed = over * weight + tf.constant(background) * (255 * 128 - weight) + (0x80 << 7)
    eighth = tf.bitwise.right_shift(mixed, 8) + mixed
    return tf.cast(tf.bitwise.right_shift(eighth, 8 + 7), tf.uint8)


def _checked(size: Sequence[Any], max_pixels: int) -> Any:
    """Width and height, int32[2], if they are not too large."""
    sides = tf.stack(size)
    check = tf.debugging.Assert(
        tf.reduce_prod(tf.cast(sides, tf.int64)) <= max_pixels,
        [f"a picture has more pixels than max_pixels = {max_pixels:,}: width and height", sides],
    )
    with tf.control_dependencies([check]):
        return tf.identity(sides)


def _scaled(size: Any, target: Any, resize: str) -> Any:
    """Width and height of a whole picture once it is resized, before anything is cut off or added."""
    if resize == "stretch":
        return target
    ratios = tf.cast(target, tf.float64) / tf.cast(size, tf.float64)
    scale = tf.reduce_max(ratios) if resize == "crop" else tf.reduce_min(ratios)
    return tf.maximum(tf.cast(tf.round(tf.cast(size, tf.float64) * scale), tf.int32), 1)


def _resized(picture: Any, target: Any, resize: str, background: tuple[int, int, int]) -> Any:
    """uint8[any, any, 3] → uint8[target height, target width, 3]; `target` is width and height."""
    source = tf.shape(picture)[1::-1]
    whole = tf.cast(source, tf.float64)
    if resize == "pad":
        inner = _scaled(source, target, resize)
        before = (target - inner) // 2
        after = target - inner - before
        small = _scale_box(picture, tf.zeros(2, tf.float64), whole, inner)
        paddings = [[before[1], after[1]], [before[0], after[0]]]
        sides = [tf.pad(small[..., c], paddings, constant_values=background[c]) for c in range(3)]
        return tf.stack(sides, axis=2)
    if resize == "stretch":
        return _scale_box(picture, tf.zeros(2, tf.float64), whole, target)
    size = tf.cast(target, tf.float64)
    scale = tf.reduce_max(size / whole)
    start = tf.maximum(whole - size / scale, 0.0) / 2
    return _scale_box(picture, start, whole - start, target)


def _scale_box(picture: Any, start: Any, end: Any, target: Any) -> Any:
    """A box of a picture, from `start` to `end` (x and y, float64[2]), at another size, by a triangle filter."""
    size = tf.cast(target, tf.float64)
    factor = tf.maximum(tf.cast((end - start) / size / _REDUCING_GAP, tf.int32), 1)
    support = 0.5 * (end - start) / size
    first = tf.cast(tf.floor(tf.maximum(start - support, 0.0)), tf.int32)
    last = tf.minimum(tf.cast(tf.math.ceil(end + support), tf.int32), tf.shape(picture)[1::-1])
    reduces = tf.reduce_any(factor > 1)
    first = tf.where(reduces, first, 0)
    last = tf.where(reduces, last, tf.shape(picture)[1::-1])
    small = tf.cond(reduces, lambda: _reduced(picture[first[1] : last[1], first[0] : last[0]], factor), lambda: picture)
    shift, by = tf.cast(first, tf.float64), tf.cast(factor, tf.float64)
    start, end = ((side - shift) / by for side in (start, end))
    sizes = tf.shape(small)
    across = _weights(start[0], end[0], target[0], sizes[1])
    down = _weights(start[1], end[1], target[1], sizes[0])
    rows = _rounded(tf.einsum("hwc,ow->hoc", tf.cast(small, tf.float64), across))
    return tf.cast(_rounded(tf.einsum("hwc,oh->owc", rows, down)), tf.uint8)


def _reduced(picture: Any, factor: Any) -> Any:
    """The mean of each cell of `factor` pixels across and down, int32[2]; cells at the edges may be smaller."""
    sides = tf.shape(picture)[1::-1]
    cells = -(-sides // factor)
    missing = cells * factor - sides
    padded = tf.pad(tf.cast(picture, tf.int64), [[0, missing[1]], [0, missing[0]], [0, 0]])
    total = tf.reduce_sum(tf.reshape(padded, (cells[1], factor[1], cells[0], factor[0], 3)), axis=(1, 3))
    lengths = [tf.minimum(factor[n], sides[n] - factor[n] * tf.range(cells[n])) for n in (0, 1)]
    count = lengths[1][:, None] * lengths[0][None, :]
    multiplier = tf.cast(tf.constant(2.0**32, tf.float32) / tf.cast(256 * count, tf.float32), tf.int64)[..., None]
    half = tf.cast(count // 2, tf.int64)[..., None]
    return tf.cast(tf.bitwise.right_shift((total + half) * multiplier, tf.constant(24, tf.int64)), tf.uint8)


def _weights(start: Any, end: Any, outputs: Any, inputs: Any) -> Any:
    """Fixed-point weights, float64[outputs, inputs], of a triangle filter over the part from `start` to `end`."""
    start, end = tf.cast(start, tf.float32), tf.cast(end, tf.float32)
    scale = tf.cast(end - start, tf.float64) / tf.cast(outputs, tf.float64)
    width = tf.maximum(scale, 1.0)
    centre = tf.cast(start, tf.float64) + (tf.cast(tf.range(outputs), tf.float64) + 0.5) * scale
    first = tf.maximum(tf.floor(centre - width + 0.5), 0.0)[:, None]
    last = tf.minimum(tf.floor(centre + width + 0.5), tf.cast(inputs, tf.float64))[:, None]
    place = tf.cast(tf.range(inputs), tf.float64)[None, :]
    weights = tf.maximum(1.0 - tf.abs((place - centre[:, None] + 0.5) * (1.0 / width)), 0.0)
    weights = tf.where((place >= first) & (place < last), weights, 0.0)
    weights /= tf.reduce_sum(weights, axis=1, keepdims=True)
    return tf.floor(0.5 + weights * _FIXED_POINT)


def _rounded(total: Any) -> Any:
    return tf.clip_by_value(tf.floor((total + _FIXED_POINT / 2) / _FIXED_POINT), 0.0, 255.0)


def _orientation(head: Any, is_jpeg: Any) -> Any:
    """The orientation in the metadata of a file, int32[] from 1 to 8; 1 if the metadata hold none."""
    exif = tf.where(is_jpeg, _find(head, b"Exif\0\0") + 6, _find(head, b"eXIf") + 4)
    begins = tf.where(is_jpeg, exif >= 6, exif >= 4)
    orientation = tf.cond(begins, lambda: _exif_orientation(head[exif:]), lambda: 0)
    stated = _find(head, b"tiff:Orientation")
    orientation = tf.cond(
        (orientation == 0) & (stated >= 0), lambda: _xmp_orientation(head[stated + 16 :]), lambda: orientation
    )
    return tf.where((orientation >= 1) & (orientation <= 8), orientation, 1)


def _exif_orientation(tiff: Any) -> Any:
    """The orientation in the first directory of a TIFF structure, uint8[any]; 0 if it has none."""
    tiff = tf.concat([tf.cast(tiff, tf.int32), tf.zeros(8, tf.int32)], 0)
    little = tiff[0] == ord("I")

    def number(digits: Any, count: int) -> Any:
        powers = tf.constant([256**n for n in range(count)])
        return tf.reduce_sum(digits * tf.where(little, powers, powers[::-1]), axis=-1)

    begin = tf.clip_by_value(number(tiff[4:8], 4), 0, tf.size(tiff) - 2)
    entries = tiff[begin + 2 :]
    count = tf.minimum(number(tiff[begin : begin + 2], 2), tf.size(entries) // 12)
    table = tf.reshape(entries[: 12 * count], (-1, 12))
    values = tf.boolean_mask(number(table[:, 8:10], 2), number(table[:, :2], 2) == _ORIENTATION_TAG)
    return tf.reduce_sum(values[:1])


def _xmp_orientation(after: Any) -> Any:
    """The digit after "tiff:Orientation" and `="` or `>` in an XMP packet; otherwise 0."""
    after = tf.concat([tf.cast(after[:3], tf.int32), tf.zeros(3, tf.int32)], 0)
    digit = tf.where(
        (after[0] == ord("=")) & (after[1] == ord('"')), after[2], tf.where(after[0] == ord(">"), after[1], 0)
    )
    return tf.where((digit >= ord("0")) & (digit <= ord("9")), digit - ord("0"), 0)


def _find(data: Any, pattern: bytes) -> Any:
    """The position of the first occurrence of some bytes in uint8[any]; -1 if there is none."""
    count = tf.maximum(tf.size(data) - len(pattern) + 1, 0)
    equal = tf.fill([count], True)
    for place, byte in enumerate(np.frombuffer(pattern, np.uint8)):
        equal &= data[place : place + count] == byte
    return tf.cond(tf.reduce_any(equal), lambda: tf.argmax(equal, output_type=tf.int32), lambda: -1)


def _begins(data: Any, prefix: bytes) -> Any:
    return _head(data, len(prefix)) == prefix


def _head(data: Any, count: int) -> Any:
    return tf.strings.substr(data, 0, count)
