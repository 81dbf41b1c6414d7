"""What is done at random to pictures in training, one record at a time, in TensorFlow.

An augmentation is named alone, or with its amount: `augment: [flip, {crop: 0.2}, {rotate: 15}]`.

- `crop`: a window, each side at least 1 - amount of the picture's, is stretched over it (0.2).
- `flip`: left and right are swapped every other time; it has no amount.
- `rotate`: by up to so many degrees either way (15).
- `zoom`: by a factor of 1 ± amount about the centre (0.2).
- `brightness`: all levels are multiplied by 1 ± amount (0.2).
- `colour`: saturation and contrast are multiplied by 1 ± amount (0.3).

What a turned or shrunken picture leaves free is filled with the field's background.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

Name = Literal["crop", "flip", "rotate", "zoom", "brightness", "colour"]
Augmentation = Name | dict[Name, float]
Step = tuple[str, float]

_DEFAULTS = {"crop": 0.2, "flip": 0.5, "rotate": 15.0, "zoom": 0.2, "brightness": 0.2, "colour": 0.3}
_MOST = {"rotate": 180.0}
_LUMA = (0.299, 0.587, 0.114)


def steps(augment: Sequence[Augmentation]) -> tuple[Step, ...]:
    """(name, amount) of each augmentation.

    Raises:
        ValueError: an amount is out of bounds, or given where there is none.
    """
    found: list[Step] = []
    for item in augment:
        if isinstance(item, str):
            found.append((item, _DEFAULTS[item]))
            continue
        if len(item) != 1:
            raise ValueError(f"augment: expected one name and its amount, as {{crop: 0.2}}; found {item}")
        ((name, amount),) = item.items()
        most = _MOST.get(name, 1.0)
        if name == "flip":
            raise ValueError("augment: flip has no amount")
        if not 0 < amount <= most or (name in ("crop", "zoom") and amount == most):
            raise ValueError(f"augment: {name} needs an amount above 0 and up to {most:g}; found {amount:g}")
        found.append((name, float(amount)))
    return tuple(found)


def apply(augmentations: Sequence[Step], pixels: Any, seed: Any, background: tuple[int, int, int]) -> Any:
    """Augment a picture.

    Args:
        augmentations: of `steps`.
        pixels: uint8[H, W, 3].
        seed: int32[2].
        background: what free places are filled with.

    Returns:
        uint8[H, W, 3].
    """
    if not augmentations:
        return pixels
    import tensorflow as tf

    drawn = tf.random.stateless_uniform([len(augmentations), 4], seed)
    found = tf.cast(pixels, tf.float32)
    for number, (name, amount) in enumerate(augmentations):
        found = _STEPS[name](found, drawn[number], amount, background)
    return tf.cast(tf.clip_by_value(tf.round(found), 0, 255), tf.uint8)


def _crop(pixels: Any, drawn: Any, amount: float, background: Any) -> Any:
    import tensorflow as tf

    height, width = 1 - amount * drawn[0], 1 - amount * drawn[1]
    top, left = drawn[2] * (1 - height), drawn[3] * (1 - width)
    box = tf.stack([top, left, top + height, left + width])
    return tf.image.crop_and_resize(pixels[None], box[None], [0], pixels.shape[:2])[0]


def _flip(pixels: Any, drawn: Any, amount: float, background: Any) -> Any:
    import tensorflow as tf

    return tf.cond(drawn[0] < amount, lambda: pixels, lambda: tf.reverse(pixels, [1]))


def _rotate(pixels: Any, drawn: Any, amount: float, background: Any) -> Any:
    import tensorflow as tf

    angle = (2 * drawn[0] - 1) * math.radians(amount)
    return _turned(pixels, tf.cos(angle), tf.sin(angle), background)


def _zoom(pixels: Any, drawn: Any, amount: float, background: Any) -> Any:
    return _turned(pixels, 1 / _around_one(drawn[0], amount), 0.0, background)


def _turned(pixels: Any, cosine: Any, sine: Any, background: Any) -> Any:
    """The picture turned and scaled about its centre; cosine and sine lead from the new place to the old."""
    import tensorflow as tf

    height, width, _ = pixels.shape
    x, y = (width - 1) / 2, (height - 1) / 2
    sine = tf.convert_to_tensor(sine, tf.float32)
    left, top = x - cosine * x + sine * y, y - sine * x - cosine * y
    zero = tf.zeros_like(sine)
    transform = tf.stack([cosine, -sine, left, sine, cosine, top, zero, zero])
    fill = tf.constant(background, tf.float32)
    turned = tf.raw_ops.ImageProjectiveTransformV3(
        images=(pixels - fill)[None],
        transforms=transform[None],
        output_shape=(height, width),
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="CONSTANT",
    )
    return tf.ensure_shape(turned[0], pixels.shape) + fill


def _brightness(pixels: Any, drawn: Any, amount: float, background: Any) -> Any:
    return pixels * _around_one(drawn[0], amount)


def _colour(pixels: Any, drawn: Any, amount: float, background: Any) -> Any:
    import tensorflow as tf

    grey = tf.reduce_sum(pixels * _LUMA, axis=-1, keepdims=True)
    pixels = grey + (pixels - grey) * _around_one(drawn[0], amount)
    mean = tf.reduce_mean(grey)
    return mean + (pixels - mean) * _around_one(drawn[1], amount)


def _around_one(drawn: Any, amount: float) -> Any:
    return 1 + amount * (2 * drawn - 1)


_STEPS: dict[str, Callable[..., Any]] = {
    "crop": _crop,
    "flip": _flip,
    "rotate": _rotate,
    "zoom": _zoom,
    "brightness": _brightness,
    "colour": _colour,
}
