"""Pictures in HEIC for tests: what the image field reads with has no encoder."""

from __future__ import annotations

from typing import BinaryIO

import pillow_heif
from PIL import Image as Pillow


def _save_heic(picture: Pillow.Image, file: BinaryIO, name: str | bytes) -> None:
    pillow_heif.from_pillow(picture).save(file, **picture.encoderinfo)


Pillow.register_save("HEIF", _save_heic)
