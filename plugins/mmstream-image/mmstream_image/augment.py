"""Random augmentation of pictures in training, one record at a time, in TensorFlow.

An augmentation is given by its name, alone or with an amount: `augment: [flip, {crop: 0.2}, {rotate: 15}]`. Default
amounts are in parentheses.

- `crop`: a random window, each side at least 1 - amount of the picture's, is resized to the whole (0.2).
- `flip`: left and right are swapped with probability 1/2; it has no amount.
- `rotate`: the picture is rotated by up to this many degrees in either direction (15).
- `zoom`: the picture is scaled by a factor of 1 ± amount about its centre (0.2).
- `brightness`: all levels are multiplied by 1 ± amount (0.2).
- `colour`: saturation and contrast are multiplied by 1 ± amount (0.3).

The area that a rotated or shrunken picture leaves empty is filled with the field's background.
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
        ValueError: an amount is out of bounds, or is given for `flip`, which has none.
    """
    chosen: list[Step] = []
    for item in augment:
        if isinstance(item, str):
            chosen.append((item, _DEFAULTS[item]))
            continue
        if len(item) != 1:
            raise ValueError(f"augment: expected one name and its amount, such as {{crop: 0.2}}; found {item}")
        ((name, amount),) = item.items()
        most = _MOST.get(name, 1.0)
        if name == "flip":
            raise ValueError("augment: flip takes no amount")
        if not 0 < amount <= most or (name in ("crop", "zoom") and amount == most):
            raise ValueError(f"augment: {name} needs an amount above 0 and up to {most:g}; found {amount:g}")
        chosen.append((name, float(amount)))
    return tuple(chosen)


def apply(augmentations: Sequence[Step], pixels: Any, seed: Any, background: tuple[int, int, int]) -> Any:
    """Augment a picture.

    Args:
        augmentations: from `steps`.
        pixels: uint8[H, W, 3].
        seed: int32[2].
        background: the colour of empty areas.

    Returns:
        uint8[H, W, 3].
    """
    if not augmentations:
        return pixels
    import tensorflow as tf

    random = tf.random.stateless_uniform([len(augmentations), 4], seed)
    augmented = tf.cast(pixels, tf.float32)
    for number, (name, amount) in enumerate(augmentations):
        augmented = _STEPS[name](augmented, random[number], amount, background)
    return tf.cast(tf.clip_by_value(tf.round(augmented), 0, 255), tf.uint8)


def _crop(pixels: Any, random: Any, amount: float, background: Any) -> Any:
    import tensorflow as tf

    height, width = 1 - amount * random[0], 1 - amount * random[1]
    top, left = random[2] * (1 - height), random[3] * (1 - width)
    box = tf.stack([top, left, top + height, left + width])
    return tf.image.crop_and_resize(pixels[None], box[None], [0], pixels.shape[:2])[0]


def _flip(pixels: Any, random: Any, amount: float, background: Any) -> Any:
    import tensorflow as tf

    return tf.cond(random[0] < amount, lambda: pixels, lambda: tf.reverse(pixels, [1]))


def _rotate(pixels: Any, random: Any, amount: float, background: Any) -> Any:
    import tensorflow as tf

    angle = (2 * random[0] - 1) * math.radians(amount)
    return _transformed(pixels, tf.cos(angle), tf.sin(angle), background)


def _zoom(pixels: Any, random: Any, amount: float, background: Any) -> Any:
    return _transformed(pixels, 1 / _around_one(random[0], amount), 0.0, background)


def _transformed(pixels: Any, cosine: Any, sine: Any, background: Any) -> Any:
    """Rotate and scale a picture about its centre; cosine and sine map new coordinates to old ones."""
    import tensorflow as tf

    height, width, _ = pixels.shape
    x, y = (width - 1) / 2, (height - 1) / 2
    sine = tf.convert_to_tensor(sine, tf.float32)
    left, top = x - cosine * x + sine * y, y - sine * x - cosine * y
    zero = tf.zeros_like(sine)
    transform = tf.stack([cosine, -sine, left, sine, cosine, top, zero, zero])
    fill = tf.constant(background, tf.float32)
    transformed = tf.raw_ops.ImageProjectiveTransformV3(
        images=(pixels - fill)[None],
        transforms=transform[None],
        output_shape=(height, width),
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="CONSTANT",
    )
    return tf.ensure_shape(transformed[0], pixels.shape) + fill


def _brightness(pixels: Any, random: Any, amount: float, background: Any) -> Any:
    return pixels * _around_one(random[0], amount)


def _colour(pixels: Any, random: Any, amount: float, background: Any) -> Any:
    import tensorflow as tf

    grey = tf.reduce_sum(pixels * _LUMA, axis=-1, keepdims=True)
    pixels = grey + (pixels - grey) * _around_one(random[0], amount)
    mean = tf.reduce_mean(grey)
    return mean + (pixels - mean) * _around_one(random[1], amount)


def _around_one(random: Any, amount: float) -> Any:
    return 1 + amount * (2 * random - 1)


_STEPS: dict[str, Callable[..., Any]] = {
    "crop": _crop,
    "flip": _flip,
    "rotate": _rotate,
    "zoom": _zoom,
    "brightness": _brightness,
    "colour": _colour,
}
