"""A bound on the search for closing quotes where quotes are never closed.

Every line after such a quote may open another, and each of these would search the same lines in vain.
"""

from __future__ import annotations

AGAIN = 4
AGAIN_BYTES = 4096
"""Once the bytes searched in vain exceed AGAIN times the bytes that there are, plus AGAIN_BYTES, each line is a row and
there is no further search."""
LONGEST_BYTES = 1024 * 1024
"""The same applies after this many bytes. In both cases it ends with the last byte that was searched."""


class Again:
    """Counts the bytes that are searched in vain, so that the search can be bounded.

    Nothing before a place where `is_over` holds affects the count, so a file may be divided there.

    Attributes:
        has_begun: whether anything was searched in vain, from the current place or before.
    """

    def __init__(self) -> None:
        self.has_begun = False
        self._size = 0  # bytes from the first such quote to the current place
        self._seen = 0  # bytes from there to the furthest one that was searched in vain
        self._vain = 0  # bytes that were searched in vain, each counted as often

    def note(self, size: int) -> None:
        """Count `size` bytes from the current place on as searched in vain."""
        self.has_begun = True
        self._vain += size
        self._seen = max(self._seen, self._size + size)

    def go_on(self, size: int) -> None:
        """Move the current place forward by `size` bytes."""
        self._size += size
        if self.is_over():
            self._size = self._seen = self._vain = 0
            self.has_begun = False

    def is_over(self) -> bool:
        """Whether nothing from the current place on has been searched yet."""
        return self._size >= self._seen

    def is_enough(self) -> bool:
        """Whether the bytes searched in vain are too many for any further search."""
        return self._vain > AGAIN * self._seen + AGAIN_BYTES or self._size > LONGEST_BYTES
