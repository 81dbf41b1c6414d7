"""What bounds the work on a picture besides its pixels and bytes, and a file that counts how it is read."""

from __future__ import annotations

import io

MOST_READS = 1_000_000
"""How often Pillow may read from a file while it looks for what it needs; each time costs about a microsecond."""
READS_PER_PIXEL = 8
"""How often more where a decoder in Python takes its pixels one by one."""
MOST_SLOW_PIXELS = 8_000_000
"""Of a picture in a format that is decoded in Python, a microsecond a pixel: plain-text PNM, XPM, QOI, BLP, …"""
MOST_DRAWN_PIXELS = 1 << 30
"""Of all frames, one over the other, up to the one that is wanted."""


class LimitError(ValueError):
    """A picture is over a limit, which the message names; it need not be broken."""


class CountedFile(io.BytesIO):
    """The bytes of a file, which may be read only so many times."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.reads_left = MOST_READS

    def read(self, size: int | None = -1, /) -> bytes:
        """As of any file.

        Raises:
            LimitError: it has been read too often.
        """
        self.reads_left -= 1
        if self.reads_left < 0:
            raise LimitError(f"it is in so many small pieces that it would be read more than {MOST_READS:,} times")
        return super().read(size)

    def readline(self, size: int | None = -1, /) -> bytes:
        """As of any file.

        Raises:
            LimitError: it has been read too often.
        """
        self.reads_left -= 1
        if self.reads_left < 0:
            raise LimitError(f"it is in so many small pieces that it would be read more than {MOST_READS:,} times")
        return super().readline(size)
