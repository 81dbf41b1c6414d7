"""The image field: the bytes of a picture in, RGB pixels of one size out."""

from __future__ import annotations

import contextlib
import ctypes
import io
import logging
import traceback
import warnings
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import annotated_types
import numpy as np
import pi_heif
from PIL import Image as Pillow

from mmstream.interfaces import Field, Fitted, Spec, Suggestion, TensorSpec
from mmstream.runtime.budget import DECODING, OverBudgetError
from mmstream.storage.exhaustion import EXHAUSTED
from mmstream_image import directories, headers, needs, pnm
from mmstream_image.augment import Augmentation, apply, steps
from mmstream_image.fitting import Resize, fitted, scaled
from mmstream_image.limits import MOST_DRAWN_PIXELS, MOST_READS, READS_PER_PIXEL, CountedFile, LimitError
from mmstream_image.orientation import LYING, ORIENTATIONS, orientation_of
from mmstream_image.similarity import PictureHash
from mmstream_image.sizes import size_of, takes_little

# Pillow warns of damaged pictures (once per line of its code), logs, and lets libtiff write to stderr directly; what
# matters becomes an error. (Filtering during each call is not possible: `warnings.catch_warnings` is not thread-safe.)
warnings.filterwarnings("ignore", module=r"PIL\.")
logging.getLogger("PIL").setLevel(logging.CRITICAL)
pi_heif.register_heif_opener(thumbnails=False, depth_images=False, aux_images=False, decode_threads=1)
if hasattr(_libraries := ctypes.CDLL(Pillow.core.__file__), "TIFFSetErrorHandler"):
    _libraries.TIFFSetErrorHandler(None)

Side = Annotated[int, annotated_types.Ge(1)]
Level = Annotated[int, annotated_types.Interval(ge=0, le=255)]

MOST_PIXELS = 2 * 89_478_485
"""Pillow itself refuses larger pictures (twice `PIL.Image.MAX_IMAGE_PIXELS`)."""
_UNREADABLE_FORMATS = {"BUFR", "EPS", "GRIB", "HDF5", "IPTC", "MPEG", "WMF"}
"""Formats that Pillow passes to other programs (IPTC through an embedded picture), or recognises but cannot decode."""
_USUAL_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
"""Formats that are tried first, since every further one that is tried costs time."""
_SIZES = (32, 48, 64, 96, 128)
"""Sides that `suggest` chooses from."""
_DRAWN_WHILE_SOUGHT = frozenset(("GIF", "FLI"))
"""Formats whose frames are drawn over each other while seeking the one that is read."""
_DRAWN = _DRAWN_WHILE_SOUGHT | {"PNG", "WEBP", "AVIF"}
"""These, and formats that draw over frames when the frame is loaded, or reserve the memory from the start."""
_OPENED_AT_A_COST = frozenset(("WEBP", "ICO", "ICNS", "JPEG2000", "BLP", "PNG"))
_COUNTED_WHILE_SOUGHT = frozenset(("GIF", "TIFF"))
"""Formats whose number of frames is unknown before all are read."""


class Image(Field):
    """Decodes any picture that Pillow reads on its own, and HEIC, to `pixels: uint8[H, W, 3]`, RGB.

    EXIF orientation is applied, unless the metadata are damaged; of several frames, one is taken. JPEG is scaled while
    it is decoded if that leaves at least twice the requested resolution. Resizing is bilinear with antialiasing.

    How a picture becomes RGB depends on its mode, as Pillow calls it:

    - 1, L, P, RGB, RGBX: as they are; a palette by its colours; X is ignored.
    - LA, PA, RGBA, and L, P, RGB with a transparent level or colour: laid over `background`; likewise La and RGBa,
      whose samples are multiplied by their opacity.
    - CMYK (without a profile), YCbCr, HSV, LAB (to sRGB): converted.
    - I;16, in either byte order: 16-bit grey without its lower eight bits; for a TIFF of 9 to 15 bits, without as many
      of its lowest bits as it has more than eight.
    - I of a PGM, which Pillow has scaled to 16 bits: without its lower eight bits.
    - I of anything else (32-bit TIFF): as it is if no sample is above 255; otherwise without its lower eight bits if
      none is above 65,535; otherwise scaled from 0 to its largest sample. Samples below 0 count as 0, and so do
      unsigned ones from 2³¹ on.
    - F: scaled from its least to its largest sample; samples that are not finite count as 0.

    All threads together hold at most 1 GiB for what they decode (`mmstream.runtime.budget`). A picture is refused, and
    the limit named, if it alone needs more, or if it makes more work than its pixels and bytes account for (thousands
    of scans, tags that share their bytes, more than eight million pixels of plain text): see `mmstream_image.limits`
    and `mmstream_image.headers`.

    Args:
        size: height and width of the pixels.
        resize: "crop" fills the size and cuts off what hangs over, evenly on both sides; "pad" shows the whole picture
            on the background; "stretch" ignores its proportions.
        background: red, green and blue, 0 to 255, under transparent parts and around a padded picture.
        max_pixels: a picture of more pixels than this, by its header, is refused before it is decoded.
        max_bytes: a larger file is refused before it is read.
        frame: which frame of an animation or of a TIFF with several pages is taken, from 0.
        augment: random changes to the pictures of the training split, in this order; see `mmstream_image.augment`.
    """

    media = True
    encoded_by = "cnn"
    training_only = ("augment",)
    similarity = PictureHash()

    def __init__(
        self,
        *,
        size: tuple[Side, Side],
        resize: Resize = "crop",
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
        """Suggest a size for files that are pictures: close to the median, but no larger than a CPU can train with."""
        sizes = []
        for value in values:
            with contextlib.suppress(Exception):  # whatever the error is
                sizes.append(size_of(value))
        if not sizes:
            return None
        width, height = (sorted(sides)[len(sides) // 2] for sides in zip(*sizes, strict=True))
        side = max([size for size in _SIZES if size <= min(width, height)], default=_SIZES[0])
        why = f"pictures of about {width} x {height}"
        few = {"augment": [{"crop": 0.2}, {"rotate": 10}, {"brightness": 0.2}]}
        return Suggestion(len(sizes) / len(values), {"size": [side, side]}, why, few=few)

    def decode(self, value: Any) -> dict[str, Any]:
        """Decode the picture in a file's bytes.

        Returns:
            {"pixels": uint8[H, W, 3]}.

        Raises:
            TypeError: the value is not bytes.
            ValueError: the bytes are not a picture, or are a broken one or one that is over a limit.
            OSError: this process or machine lacks resources; the picture may be sound.
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
                raise  # the picture is not at fault
            # Pillow's parsers raise errors of every kind on broken files.
            raise ValueError(f"the picture is broken: {error or type(error).__name__}") from error

    def spec(self, fitted: Fitted) -> Spec:
        """{"pixels": uint8[H, W, 3]}."""
        return {"pixels": TensorSpec((self.height, self.width, 3), "uint8")}

    def count_linear_features(self, fitted: Fitted) -> int:
        """As many as RGB pictures have."""
        from mmstream.models.colours import count_colours

        return count_colours(3)

    def linear_features(self, tensors: Mapping[str, Any]) -> dict[str, Any]:
        """The shares of colours and a thumbnail."""
        from mmstream.models.colours import Colours

        return {"dense": Colours()(tensors["pixels"])}

    @property
    def augments(self) -> bool:
        """Whether there are augmentations."""
        return bool(self.augmentations)

    def augment(self, tensors: dict[str, Any], seed: Any) -> dict[str, Any]:
        """Apply the augmentations to the pixels, uint8[H, W, 3]."""
        return {"pixels": apply(self.augmentations, tensors["pixels"], seed, self.background)}

    def serve(self, values: Any) -> dict[str, Any]:
        """Decode JPEG (except CMYK) and PNG in the graph, to the same pixels as `decode`; other formats are errors."""
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
                traceback.clear_frames(error.__traceback__)  # otherwise the picture lives as long as the error
                raise

    def _pixels_of(self, value: bytes, header: headers.Header, holding: contextlib.ExitStack) -> np.ndarray:
        """Decode a file; memory is reserved on the stack, which is closed after all intermediate objects are gone."""
        besides: int | None = header.more + len(value)
        if header.held:
            holding.enter_context(DECODING.holding(header.held + len(value)))
            besides = None
        file = io.BytesIO(value) if header.formats else CountedFile(value)
        with contextlib.closing(self._opened(file, header.formats)) as picture:
            self._check_pixels(picture.size)
            if header.held and picture.format not in _OPENED_AT_A_COST:  # it only begins like one of those
                holding.close()
                besides = len(value)
            elif header.held and picture.width * picture.height > header.size[0] * header.size[1]:
                raise ValueError("its headers disagree about its size")
            if isinstance(file, CountedFile):
                file.reads_left = MOST_READS + READS_PER_PIXEL * picture.width * picture.height
            if pnm.is_meant(picture) and not self.frame:
                holding.enter_context(DECODING.holding(needs.of_plain(picture) + len(value)))
                return self._pixels(pnm.decoded(picture, value), holding, None)
            if header is headers.SMALL_JPEG and picture.width * picture.height > headers.SMALL_JPEG_PIXELS:
                header = headers.of_jpeg(value)
            whole = header.whole
            if self.frame:
                besides = self._hold_for_frames(picture, header, holding, besides)
                self._seek(picture)
                self._check_pixels(picture.size)
                if picture.format == "MPO":
                    whole = headers.of_jpeg(value, int(getattr(picture, "offset", 0))).whole
            return self._pixels(picture, holding, besides, whole)

    def _opened(self, file: io.BytesIO, formats: tuple[str, ...]) -> Pillow.Image:
        """Open a picture, reading only its header.

        Raises:
            UnidentifiedImageError: it has none of the formats that are read.
            ValueError: it begins like one of these formats, but has none of them.
        """
        try:
            return Pillow.open(file, formats=formats or self._formats)
        except Pillow.UnidentifiedImageError:
            if not formats:
                raise
            raise ValueError(f"it begins like {' or '.join(formats)}, but the rest does not match") from None

    def _hold_for_frames(
        self, picture: Pillow.Image, header: headers.Header, holding: contextlib.ExitStack, besides: int | None
    ) -> int | None:
        """Reserve the memory for drawing frames up to the one that is read.

        Returns:
            Bytes still to be reserved besides those for the frame; None if all are reserved.

        Raises:
            LimitError: the frames have too many pixels together.
        """
        if picture.format not in _DRAWN:
            return besides
        size = max(picture.size, header.size, key=lambda size: size[0] * size[1])
        if size[0] * size[1] * (self.frame + 1) > MOST_DRAWN_PIXELS:
            raise LimitError(
                f"{self.frame + 1:,} frames of {size[0]} x {size[1]} pixels, each drawn over the one before, have "
                f"more pixels than the limit of {MOST_DRAWN_PIXELS:,}"
            )
        if besides is None or picture.format not in _DRAWN_WHILE_SOUGHT:
            return besides
        holding.enter_context(DECODING.holding(needs.of_drawn(picture, size) + self._own_need(size) + besides))
        return None

    def _check_pixels(self, size: tuple[int, int]) -> None:
        """Check that a picture of this width and height is not too large.

        Raises:
            LimitError: it is too large.
        """
        if size[0] * size[1] > self.max_pixels:
            raise LimitError(f"{size[0]} x {size[1]} pixels are more than max_pixels = {self.max_pixels:,}")

    def _pixels(
        self, picture: Pillow.Image, holding: contextlib.ExitStack, besides: int | None, whole: bool = False
    ) -> np.ndarray:
        """The pixels of an opened picture.

        Args:
            picture: positioned at the frame that is read.
            holding: memory that is reserved until the picture is gone.
            besides: bytes that it takes in addition to what its header says; None if all are reserved already.
            whole: whether all of a JPEG is held while it is decoded.
        """
        size, full = (self.width, self.height), picture.size
        if picture.format == "JPEG":
            lying = orientation_of(picture) in LYING
            draft = scaled(picture.size, size[::-1] if lying else size, self.resize)
            picture.draft(None, (2 * draft[0], 2 * draft[1]))
        if besides is not None and not takes_little(picture, besides):
            holding.enter_context(
                DECODING.holding(needs.of(picture, full if whole else None) + self._own_need(full) + besides)
            )
        picture.load()
        orientation = orientation_of(picture)  # Pillow has rotated some TIFFs by now
        turned = fitted(picture, size[::-1] if orientation in LYING else size, self.resize, self.background)
        if orientation in ORIENTATIONS:
            turned = turned.transpose(ORIENTATIONS[orientation])
        return np.array(turned)

    def _own_need(self, size: tuple[int, int]) -> int:
        """The most bytes that resizing takes, after conversion to RGB."""
        return min(16 * self.width * self.height, size[0] * size[1]) * 4 + 8 * self.width * self.height

    def _seek(self, picture: Pillow.Image) -> None:
        """Go to the frame that is read.

        Raises:
            EOFError: there are fewer frames.
        """
        if picture.format not in _COUNTED_WHILE_SOUGHT:
            count = getattr(picture, "n_frames", 1)
            if self.frame >= count:
                raise EOFError(f"there is no frame {self.frame}; the picture has {count}, numbered from 0")
            picture.seek(self.frame)
            return
        for frame in range(1, self.frame + 1):
            try:
                picture.seek(frame)
            except EOFError as error:
                raise EOFError(f"there is no frame {self.frame}; the picture has {frame}, numbered from 0") from error
