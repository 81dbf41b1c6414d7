"""An end to looking for the other end of quotes that are opened in a table and never closed.

Every line behind such a quote may open one itself, and then what was looked at in vain is looked at again by each of
them.
"""

from __future__ import annotations

AGAIN = 4
AGAIN_BYTES = 4096
"""Nothing is looked at in vain any more, and each line is a row, once as many bytes were as there are, AGAIN times, and
AGAIN_BYTES more."""
LONGEST_BYTES = 1024 * 1024
"""The same holds once it has gone on for so many bytes; then, too, it is over at the last that was looked at."""


class Again:
    """Counts what is looked at more than once, so that there is an end to it.

    Whether it is enough depends on nothing that stands before a place where `is_over` holds: a file may be cut there.

    Attributes:
        has_begun: whether something was looked at in vain from the place at hand on, or before.
    """

    def __init__(self) -> None:
        self.has_begun = False
        self._size = 0  # bytes from the first such quote to the place at hand
        self._seen = 0  # bytes from there to the furthest one that was looked at in vain
        self._vain = 0  # bytes that were looked at in vain, each as often as it was

    def note(self, size: int) -> None:
        """So many bytes from the place at hand on were looked at in vain."""
        self.has_begun = True
        self._vain += size
        self._seen = max(self._seen, self._size + size)

    def go_on(self, size: int) -> None:
        """The place at hand is so many bytes further on."""
        self._size += size
        if self.is_over():
            self._size = self._seen = self._vain = 0
            self.has_begun = False

    def is_over(self) -> bool:
        """Whether nothing from the place at hand on was looked at yet."""
        return self._size >= self._seen

    def is_enough(self) -> bool:
        """Whether nothing is to be looked at in vain any more."""
        return self._vain > AGAIN * self._seen + AGAIN_BYTES or self._size > LONGEST_BYTES
