"""Fit pictures of any proportions to one width and height: cropped, padded or stretched."""

from __future__ import annotations

from typing import Literal

from PIL import Image as Pillow

from mmstream_image.colours import Colours, resized

Resize = Literal["crop", "pad", "stretch"]
"""See `Image.resize`."""


def scaled(size: tuple[int, int], target: tuple[int, int], resize: Resize) -> tuple[int, int]:
    """Width and height of a whole picture once it is resized, before anything is cut off or added.

    >>> scaled((200, 100), (50, 50), "crop"), scaled((200, 100), (50, 50), "pad")
    ((100, 50), (50, 25))
    """
    if resize == "stretch":
        return target
    ratios = target[0] / size[0], target[1] / size[1]
    scale = max(ratios) if resize == "crop" else min(ratios)
    return max(round(size[0] * scale), 1), max(round(size[1] * scale), 1)


def fitted(picture: Pillow.Image, target: tuple[int, int], resize: Resize, background: Colours) -> Pillow.Image:
    """Fit a loaded picture of any mode to a width and height, as RGB."""
    width, height = picture.size
    box = (0.0, 0.0, float(width), float(height))
    if resize == "pad":
        inner = resized(picture, scaled(picture.size, target, resize), box, background)
        padded = Pillow.new("RGB", target, background)
        padded.paste(inner, ((target[0] - inner.width) // 2, (target[1] - inner.height) // 2))
        return padded
    if resize == "crop":
        scale = max(target[0] / width, target[1] / height)
        left, top = max(width - target[0] / scale, 0) / 2, max(height - target[1] / scale, 0) / 2
        box = (left, top, width - left, height - top)
    return resized(picture, target, box, background)
