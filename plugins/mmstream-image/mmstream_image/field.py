"""The image field: the bytes of a picture in, RGB pixels of one size out."""

from __future__ import annotations

import contextlib
import ctypes
import io
import logging
import struct
import warnings
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import annotated_types
import numpy as np
from PIL import Image as Pillow

from mmstream.interfaces import Field, Fitted, Spec, Suggestion, TensorSpec
from mmstream_image.augment import Augmentation, apply, steps

# Pillow warns of damaged pictures, once a place in its code, logs, and lets libtiff write to stderr past Python; what
# matters of it becomes an error. (A filter for the time of one call would not do: `warnings.catch_warnings` is not
# safe in threads.)
warnings.filterwarnings("ignore", module=r"PIL\.")
logging.getLogger("PIL").setLevel(logging.CRITICAL)
if hasattr(_libraries := ctypes.CDLL(Pillow.core.__file__), "TIFFSetErrorHandler"):
    _libraries.TIFFSetErrorHandler(None)

Side = Annotated[int, annotated_types.Ge(1)]
Level = Annotated[int, annotated_types.Interval(ge=0, le=255)]

MOST_PIXELS = 2 * 89_478_485
"""Pillow itself refuses larger pictures (`PIL.Image.MAX_IMAGE_PIXELS`, twice)."""
_UNREADABLE_FORMATS = {"BUFR", "EPS", "GRIB", "HDF5", "IPTC", "MPEG", "WMF"}
"""What Pillow hands to other programs (IPTC by way of a picture within), or recognises without decoding it."""
_USUAL_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
"""Tried first, since every other one that is tried costs time."""
_SIZES = (32, 48, 64, 96, 128)
"""Sides that `suggest` chooses from."""
_ORIENTATION_TAG = 0x0112
_BITS_TAG = 0x0102
_ORIENTATIONS = {
    2: Pillow.Transpose.FLIP_LEFT_RIGHT,
    3: Pillow.Transpose.ROTATE_180,
    4: Pillow.Transpose.FLIP_TOP_BOTTOM,
    5: Pillow.Transpose.TRANSPOSE,
    6: Pillow.Transpose.ROTATE_270,
    7: Pillow.Transpose.TRANSVERSE,
    8: Pillow.Transpose.ROTATE_90,
}
_LYING = (5, 6, 7, 8)
"""Orientations that swap width and height."""


class Image(Field):
    """Decodes any picture that Pillow reads by itself to `pixels: uint8[H, W, 3]`, RGB.

    EXIF orientation is applied (one in damaged metadata is not); transparency lies over `background`; palettes, grey,
    CMYK and Lab become RGB; 16-bit samples are scaled to 8 bit, floating-point ones from their least to their largest;
    of several frames one is taken. JPEG is scaled while it is decoded where that leaves at least twice the
    resolution that is asked for. Resizing is bilinear with antialiasing.

    Args:
        size: height and width of the pixels.
        resize: "crop" fills the size and cuts off what hangs over, evenly on both sides; "pad" shows the whole picture
            on the background; "stretch" ignores its proportions.
        background: red, green and blue, 0 to 255, under transparent parts and around a padded picture.
        max_pixels: a picture of more pixels than this, by its header, is refused before it is decoded.
        max_bytes: a larger file is refused before it is read.
        frame: which frame of an animation or of a TIFF with several pages is taken, from 0.
        augment: what is done at random to the pictures of the training split, in this order; see
            `mmstream_image.augment`.
    """

    media = True
    encoded_by = "cnn"
    training_only = ("augment",)

    def __init__(
        self,
        *,
        size: tuple[Side, Side],
        resize: Literal["crop", "pad", "stretch"] = "crop",
        background: tuple[Level, Level, Level] = (255, 255, 255),
        max_pixels: Annotated[int, annotated_types.Interval(ge=1, le=MOST_PIXELS)] = 100_000_000,
        max_bytes: Annotated[int, annotated_types.Ge(1)] = 64 * 1024 * 1024,
        frame: Annotated[int, annotated_types.Ge(0)] = 0,
        augment: tuple[Augmentation, ...] = ({"crop": 0.2}, "flip", {"brightness": 0.2}),
    ) -> None:
        self.height, self.width = size
        self.resize = resize
        self.background = background
        self.max_pixels = max_pixels
        self.max_bytes = max_bytes
        self.frame = frame
        self.served = "" if frame else "string"  # TensorFlow reads first frames only
        self.augmentations = steps(augment)
        Pillow.init()
        readable = set(Pillow.OPEN) - _UNREADABLE_FORMATS
        self._formats = sorted(readable, key=lambda name: (name not in _USUAL_FORMATS, name))

    @classmethod
    def suggest(cls, values: Sequence[Any]) -> Suggestion | None:
        """Files that are pictures, at the size that most of them have, but no larger than a CPU trains with."""
        sizes = []
        for value in values:
            with contextlib.suppress(Exception), Pillow.open(io.BytesIO(value)) as picture:  # or whatever it is
                sizes.append(picture.size)
        if not sizes:
            return None
        width, height = (sorted(sides)[len(sides) // 2] for sides in zip(*sizes, strict=True))
        side = max([size for size in _SIZES if size <= min(width, height)], default=_SIZES[0])
        return Suggestion(len(sizes) / len(values), {"size": [side, side]}, f"pictures of about {width} x {height}")

    def decode(self, value: Any) -> dict[str, Any]:
        """The picture in a file's bytes.

        Returns:
            {"pixels": uint8[H, W, 3]}.

        Raises:
            TypeError: the value is not bytes.
            ValueError: they are no picture, a broken one, or one of too many pixels.
        """
        if not isinstance(value, bytes):
            raise TypeError(f"expected the bytes of a picture; found {type(value).__name__}")
        if not value:
            raise ValueError("the file is empty")
        try:
            with Pillow.open(io.BytesIO(value), formats=self._formats) as picture:
                width, height = picture.size
                if width * height <= self.max_pixels:
                    return {"pixels": self._pixels(picture)}
        except Pillow.UnidentifiedImageError as error:
            raise ValueError(f"no picture of a format that is read begins with {value[:16]!r}") from error
        except Exception as error:
            # Pillow's parsers raise errors of every kind on broken files.
            raise ValueError(f"the picture is broken: {error or type(error).__name__}") from error
        raise ValueError(f"{width} x {height} pixels are more than max_pixels = {self.max_pixels:,}")

    def spec(self, fitted: Fitted) -> Spec:
        """{"pixels": uint8[H, W, 3]}."""
        return {"pixels": TensorSpec((self.height, self.width, 3), "uint8")}

    def augment(self, tensors: dict[str, Any], seed: Any) -> dict[str, Any]:
        """What `augment` names, to uint8[H, W, 3]."""
        return {"pixels": apply(self.augmentations, tensors["pixels"], seed, self.background)}

    def serve(self, values: Any) -> dict[str, Any]:
        """Equal pixels from JPEG (but for CMYK) and PNG; anything else is an error in the graph."""
        import tensorflow as tf

        from mmstream_image.serving import pixels

        decoded = tf.map_fn(
            lambda data: pixels(data, (self.height, self.width), self.resize, self.background, self.max_pixels),
            values,
            fn_output_signature=tf.TensorSpec((self.height, self.width, 3), tf.uint8),
        )
        return {"pixels": decoded}

    def _pixels(self, picture: Pillow.Image) -> np.ndarray:
        size = (self.width, self.height)
        self._seek(picture)
        if picture.format == "JPEG":
            lying = _orientation(picture) in _LYING
            draft = self._scaled(picture.size, size[::-1] if lying else size)
            picture.draft(None, (2 * draft[0], 2 * draft[1]))
        picture.load()
        orientation = _orientation(picture)  # Pillow has turned some TIFFs by now
        colours = _rgb(picture, self.background)
        turned = self._resized(colours, size[::-1] if orientation in _LYING else size)
        if orientation in _ORIENTATIONS:
            turned = turned.transpose(_ORIENTATIONS[orientation])
        return np.array(turned)

    def _seek(self, picture: Pillow.Image) -> None:
        """Go to the frame that is wanted.

        Raises:
            EOFError: there are not so many.
        """
        if not self.frame:
            return
        count = getattr(picture, "n_frames", 1)
        if self.frame >= count:
            raise EOFError(f"there is no frame {self.frame}; it has {count}, from 0")
        picture.seek(self.frame)

    def _scaled(self, found: tuple[int, int], wanted: tuple[int, int]) -> tuple[int, int]:
        """Width and height of a whole picture once it is resized, before anything is cut off or added."""
        if self.resize == "stretch":
            return wanted
        ratios = wanted[0] / found[0], wanted[1] / found[1]
        scale = max(ratios) if self.resize == "crop" else min(ratios)
        return max(round(found[0] * scale), 1), max(round(found[1] * scale), 1)

    def _resized(self, picture: Pillow.Image, wanted: tuple[int, int]) -> Pillow.Image:
        bilinear, (width, height) = Pillow.Resampling.BILINEAR, picture.size
        if self.resize == "pad":
            inner = picture.resize(self._scaled(picture.size, wanted), bilinear, reducing_gap=2.0)
            padded = Pillow.new("RGB", wanted, self.background)
            padded.paste(inner, ((wanted[0] - inner.width) // 2, (wanted[1] - inner.height) // 2))
            return padded
        box = (0.0, 0.0, float(width), float(height))
        if self.resize == "crop":
            scale = max(wanted[0] / width, wanted[1] / height)
            left, top = max(width - wanted[0] / scale, 0) / 2, max(height - wanted[1] / scale, 0) / 2
            box = (left, top, width - left, height - top)
        return picture.resize(wanted, bilinear, box=box, reducing_gap=2.0)


def _orientation(picture: Pillow.Image) -> int:
    """The EXIF orientation, 1 (upright) where the metadata has none or is damaged."""
    try:
        return int(picture.getexif().get(_ORIENTATION_TAG, 1))
    except (SyntaxError, struct.error, TypeError, ValueError, KeyError, IndexError, OSError):
        return 1


def _rgb(picture: Pillow.Image, background: tuple[int, int, int]) -> Pillow.Image:
    """A picture of any mode as 8-bit RGB."""
    if picture.mode == "RGB" and not picture.has_transparency_data:
        return picture
    if picture.mode.startswith("I"):
        samples = np.clip(np.asarray(picture).astype(np.int64), 0, 65535)
        return Pillow.fromarray((samples >> (_bits(picture) - 8)).clip(0, 255).astype(np.uint8)).convert("RGB")
    if picture.mode == "F":
        samples = np.nan_to_num(np.asarray(picture).astype(np.float64), posinf=0, neginf=0)
        least, span = samples.min(), np.ptp(samples) or 1.0
        return Pillow.fromarray(np.round((samples - least) / span * 255).astype(np.uint8)).convert("RGB")
    if picture.has_transparency_data:
        over = picture.convert("RGBA")
        under = Pillow.new("RGBA", over.size, (*background, 255))
        return Pillow.alpha_composite(under, over).convert("RGB")
    return picture.convert("RGB")


def _bits(picture: Pillow.Image) -> int:
    """Bits of a sample that is wider than 8: what a TIFF says, else 16."""
    tags: Mapping[int, Any] = getattr(picture, "tag_v2", {})
    bits = (tags.get(_BITS_TAG) or (16,))[0]
    return bits if 8 < bits < 16 else 16
