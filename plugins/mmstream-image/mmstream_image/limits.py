"""Limits on the work that a picture takes besides its pixels and bytes, and a file that counts reads."""

from __future__ import annotations

import io

MOST_READS = 1_000_000
"""How often Pillow may read from a file while it looks for what it needs; each time costs about a microsecond."""
READS_PER_PIXEL = 8
"""Further reads for decoders in Python, which read pixels one by one."""
MOST_SLOW_PIXELS = 8_000_000
"""The most pixels of a picture that is decoded in Python (plain-text PNM, XPM, QOI, BLP, …), at a microsecond per
pixel."""
MOST_DRAWN_PIXELS = 1 << 30
"""The most pixels of all frames, drawn over each other, up to the one that is read."""


class LimitError(ValueError):
    """A picture is over a limit, which the message names; the picture may be intact."""


class CountedFile(io.BytesIO):
    """A file in memory that may be read only a limited number of times."""

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
            raise LimitError(f"the picture's many small pieces need more than {MOST_READS:,} reads")
        return super().read(size)

    def readline(self, size: int | None = -1, /) -> bytes:
        """As of any file.

        Raises:
            LimitError: it has been read too often.
        """
        self.reads_left -= 1
        if self.reads_left < 0:
            raise LimitError(f"the picture's many small pieces need more than {MOST_READS:,} reads")
        return super().readline(size)
