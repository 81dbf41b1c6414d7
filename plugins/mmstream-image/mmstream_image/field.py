"""The image field: the bytes of a picture in, RGB pixels of one size out."""

from __future__ import annotations

import contextlib
import ctypes
import io
import logging
import struct
import traceback
import warnings
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import annotated_types
import numpy as np
from PIL import Image as Pillow

from mmstream.budget import DECODING, OverBudgetError
from mmstream.interfaces import Field, Fitted, Spec, Suggestion, TensorSpec
from mmstream.media import EXHAUSTED
from mmstream_image import directories, headers, needs, pnm
from mmstream_image.augment import Augmentation, apply, steps
from mmstream_image.colours import resized
from mmstream_image.limits import MOST_DRAWN_PIXELS, MOST_READS, READS_PER_PIXEL, CountedFile, LimitError

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
_DRAWN_WHILE_SOUGHT = frozenset(("GIF", "FLI"))
"""Formats whose frames are drawn over each other on the way to the one that is wanted."""
_DRAWN = _DRAWN_WHILE_SOUGHT | {"PNG", "WEBP", "AVIF"}
"""And those that do so when it is loaded, or hold what that takes from the start."""
_TAKE_LITTLE = frozenset(("JPEG", "PNG"))
"""Formats that take little where the picture is small."""
_LITTLE_PIXELS, _LITTLE_BYTES = 1 << 18, 4 << 20
_OPENED_AT_A_COST = frozenset(("WEBP", "ICO", "ICNS", "JPEG2000", "BLP", "PNG"))
_COUNTED_WHILE_SOUGHT = frozenset(("GIF", "TIFF"))
"""Formats that do not say how many frames they have."""


class Image(Field):
    """Decodes any picture that Pillow reads by itself to `pixels: uint8[H, W, 3]`, RGB.

    EXIF orientation is applied (one in damaged metadata is not); of several frames one is taken. JPEG is scaled while
    it is decoded where that leaves at least twice the resolution that is asked for. Resizing is bilinear with
    antialiasing.

    What is decoded becomes RGB by its mode, as Pillow calls it:

    - 1, L, P, RGB, RGBX: as they are; a palette by its colours; X is ignored.
    - LA, PA, RGBA, and L, P, RGB with a transparent level or colour: over `background`. La and RGBa, whose samples are
      multiplied by their opacity, alike.
    - CMYK (without a profile), YCbCr, HSV, LAB (to sRGB): converted.
    - I;16, in either byte order: 16-bit grey without its lower eight bits; of a TIFF of 9 to 15 bits without as many
      bits as it has more than eight.
    - I of a PGM, which Pillow has scaled to 16 bit: without its lower eight bits.
    - I of anything else (32-bit TIFF): as it is if no sample is above 255; else without its lower eight bits if none is
      above 65,535; else from 0 to its largest. Samples below 0 are 0, as are unsigned ones from 2³¹ on.
    - F: from its least to its largest sample; what is not finite is 0.

    All threads together hold at most 1 GiB for what they decode (`mmstream.budget`). A picture that needs more alone,
    or that makes more work than its pixels and bytes (thousands of scans, tags that share their bytes, more than eight
    million pixels of plain text), is refused with the limit: see `mmstream_image.limits` and `mmstream_image.headers`.

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
            with contextlib.suppress(Exception):  # or whatever it is
                sizes.append(_size_of(value))
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
            ValueError: they are no picture, a broken one, or one that is over a limit.
            OSError: this process or machine is short of something, so that nothing is known of the picture.
        """
        if not isinstance(value, bytes):
            raise TypeError(f"expected the bytes of a picture; found {type(value).__name__}")
        if not value:
            raise ValueError("the file is empty")
        try:
            return {"pixels": self._decoded(value)}
        except (LimitError, OverBudgetError):
            raise
        except Pillow.UnidentifiedImageError as error:
            raise ValueError(f"no picture of a format that is read begins with {value[:16]!r}") from error
        except Exception as error:
            if isinstance(error, OSError) and error.errno in EXHAUSTED:
                raise  # the picture is not to blame
            # Pillow's parsers raise errors of every kind on broken files.
            raise ValueError(f"the picture is broken: {error or type(error).__name__}") from error

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

    def _decoded(self, value: bytes) -> np.ndarray:
        header = headers.read(value, self.frame)
        self._check_pixels(header.size)
        with directories.checked(), contextlib.ExitStack() as holding:
            try:
                return self._pixels_of(value, header, holding)
            except Exception as error:
                traceback.clear_frames(error.__traceback__)  # or the picture lives for as long as the error
                raise

    def _pixels_of(self, value: bytes, header: headers.Header, holding: contextlib.ExitStack) -> np.ndarray:
        """The pixels of a file; what it takes is held on the stack, which ends after all that this has made is gone."""
        besides: int | None = header.more + len(value)
        if header.held:
            holding.enter_context(DECODING.holding(header.held + len(value)))
            besides = None
        file = io.BytesIO(value) if header.formats else CountedFile(value)
        with contextlib.closing(Pillow.open(file, formats=header.formats or self._formats)) as picture:
            self._check_pixels(picture.size)
            if header.held and picture.format not in _OPENED_AT_A_COST:  # it only begins as those do
                holding.close()
                besides = len(value)
            elif header.held and picture.width * picture.height > header.size[0] * header.size[1]:
                raise ValueError("its headers disagree about its size")
            if isinstance(file, CountedFile):
                file.reads_left = MOST_READS + READS_PER_PIXEL * picture.width * picture.height
            if pnm.is_meant(picture) and not self.frame:
                holding.enter_context(DECODING.holding(needs.of_plain(picture) + len(value)))
                return self._pixels(pnm.decoded(picture, value), holding, None)
            scans = header.scans
            if self.frame:
                besides = self._hold_for_frames(picture, header, holding, besides)
                self._seek(picture)
                self._check_pixels(picture.size)
                if picture.format == "MPO":
                    scans = headers.check_jpeg(value, int(getattr(picture, "offset", 0))).scans
            return self._pixels(picture, holding, besides, scans)

    def _hold_for_frames(
        self, picture: Pillow.Image, header: headers.Header, holding: contextlib.ExitStack, besides: int | None
    ) -> int | None:
        """Hold what it takes to draw frames on the way to the one that is wanted.

        Returns:
            Bytes that are still to be held besides those for the frame; None where all are held.

        Raises:
            LimitError: the frames have too many pixels together.
        """
        if picture.format not in _DRAWN:
            return besides
        size = max(picture.size, header.size, key=lambda size: size[0] * size[1])
        if size[0] * size[1] * (self.frame + 1) > MOST_DRAWN_PIXELS:
            raise LimitError(
                f"{self.frame + 1:,} frames of {size[0]} x {size[1]} pixels, each drawn over the one before, are "
                f"more than the limit of {MOST_DRAWN_PIXELS:,} pixels"
            )
        if besides is None or picture.format not in _DRAWN_WHILE_SOUGHT:
            return besides
        holding.enter_context(DECODING.holding(needs.of_drawn(picture, size) + self._own_need(size) + besides))
        return None

    def _check_pixels(self, size: tuple[int, int]) -> None:
        """A picture of this width and height is not too large.

        Raises:
            LimitError: it is.
        """
        if size[0] * size[1] > self.max_pixels:
            raise LimitError(f"{size[0]} x {size[1]} pixels are more than max_pixels = {self.max_pixels:,}")

    def _pixels(
        self, picture: Pillow.Image, holding: contextlib.ExitStack, besides: int | None, scans: int = 1
    ) -> np.ndarray:
        """The pixels of an opened picture.

        Args:
            picture: at the frame that is wanted.
            holding: what is held until the picture is gone.
            besides: bytes of memory that it takes besides what it says itself; None where all is held already.
            scans: of a JPEG.
        """
        size, full = (self.width, self.height), picture.size
        if picture.format == "JPEG":
            lying = _orientation(picture) in _LYING
            draft = self._scaled(picture.size, size[::-1] if lying else size)
            picture.draft(None, (2 * draft[0], 2 * draft[1]))
        if besides is not None and not (scans == 1 and _takes_little(picture, besides)):
            holding.enter_context(DECODING.holding(needs.of(picture, scans, full) + self._own_need(full) + besides))
        picture.load()
        orientation = _orientation(picture)  # Pillow has turned some TIFFs by now
        turned = self._resized(picture, size[::-1] if orientation in _LYING else size)
        if orientation in _ORIENTATIONS:
            turned = turned.transpose(_ORIENTATIONS[orientation])
        return np.array(turned)

    def _own_need(self, size: tuple[int, int]) -> int:
        """Bytes that resizing takes, at most, of what has been made RGB."""
        return min(16 * self.width * self.height, size[0] * size[1]) * 4 + 8 * self.width * self.height

    def _seek(self, picture: Pillow.Image) -> None:
        """Go to the frame that is wanted.

        Raises:
            EOFError: there are not so many.
        """
        if picture.format not in _COUNTED_WHILE_SOUGHT:
            count = getattr(picture, "n_frames", 1)
            if self.frame >= count:
                raise EOFError(f"there is no frame {self.frame}; it has {count}, from 0")
            picture.seek(self.frame)
            return
        for frame in range(1, self.frame + 1):
            try:
                picture.seek(frame)
            except EOFError as error:
                raise EOFError(f"there is no frame {self.frame}; it has {frame}, from 0") from error

    def _scaled(self, found: tuple[int, int], wanted: tuple[int, int]) -> tuple[int, int]:
        """Width and height of a whole picture once it is resized, before anything is cut off or added."""
        if self.resize == "stretch":
            return wanted
        ratios = wanted[0] / found[0], wanted[1] / found[1]
        scale = max(ratios) if self.resize == "crop" else min(ratios)
        return max(round(found[0] * scale), 1), max(round(found[1] * scale), 1)

    def _resized(self, picture: Pillow.Image, wanted: tuple[int, int]) -> Pillow.Image:
        """A loaded picture of any mode as RGB of a width and height."""
        width, height = picture.size
        box = (0.0, 0.0, float(width), float(height))
        if self.resize == "pad":
            inner = resized(picture, self._scaled(picture.size, wanted), box, self.background)
            padded = Pillow.new("RGB", wanted, self.background)
            padded.paste(inner, ((wanted[0] - inner.width) // 2, (wanted[1] - inner.height) // 2))
            return padded
        if self.resize == "crop":
            scale = max(wanted[0] / width, wanted[1] / height)
            left, top = max(width - wanted[0] / scale, 0) / 2, max(height - wanted[1] / scale, 0) / 2
            box = (left, top, width - left, height - top)
        return resized(picture, wanted, box, self.background)


def _size_of(value: bytes) -> tuple[int, int]:
    """Width and height of the picture in a file's bytes."""
    header = headers.read(value, 0)
    with (
        directories.checked(),
        DECODING.holding(header.held),
        Pillow.open(CountedFile(value), formats=header.formats or None) as picture,
    ):
        return picture.size


def _takes_little(picture: Pillow.Image, besides: int) -> bool:
    """Whether decoding takes so little that it need not be held; most pictures do, and to work it out costs more."""
    if picture.format not in _TAKE_LITTLE or besides > _LITTLE_BYTES:
        return False
    width, height = picture.size
    return width * height <= _LITTLE_PIXELS


def _orientation(picture: Pillow.Image) -> int:
    """The EXIF orientation, 1 (upright) where the metadata has none or is damaged."""
    try:
        return int(picture.getexif().get(_ORIENTATION_TAG, 1))
    except (SyntaxError, struct.error, TypeError, ValueError, KeyError, IndexError, OSError):
        return 1
