"""Limits on a row: reading one takes at most MAX_ROW_BYTES plus 256 MiB of memory, whatever a file holds."""

from __future__ import annotations

MAX_ROW_BYTES = 64 * 1024 * 1024
"""A larger row is refused before all of it is read."""
MAX_TEXT_BYTES = 96 * 1024 * 1024
"""A text that would take more memory is refused; its widest character decides whether each takes 1, 2 or 4 bytes."""
MAX_COLUMNS = 16_384
"""A table, row or JSON object of more columns is refused, and so is a record of more features or members."""
MAX_VALUES = 1 << 20
"""A row of more values, including those in its lists and objects, is refused before they are created."""
RAW_BYTES = 1024
"""If a row cannot be read, this many of its bytes are kept for its dead letter."""
