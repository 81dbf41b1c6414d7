"""Media and large texts within rows: kept in content-addressed files, so that rows carry only references."""

from __future__ import annotations

import dataclasses
import hashlib

from mmstream.storage import files

LARGE_BYTES = 64 * 1024
"""Larger texts and bytes are spooled, and dead letters keep only their digest."""


class DamagedSpoolError(OSError):
    """A spooled file no longer holds what was written."""


@dataclasses.dataclass(frozen=True, slots=True)
class Spooled:
    """Stands for bytes or a text in a row.

    Attributes:
        path: the file that holds them; "" if they were not kept.
        sha256: the SHA-256 of the bytes, in hexadecimal.
        size: the number of bytes.
        is_text: whether the bytes are a text in UTF-8.
    """

    path: str
    sha256: str
    size: int
    is_text: bool = False

    def read(self) -> bytes:
        """Read the bytes.

        Raises:
            OSError: the file is gone, cannot be read, or no longer holds what was written.
        """
        data = files.read_bytes(self.path)
        if len(data) != self.size or hashlib.sha256(data).hexdigest() != self.sha256:
            raise DamagedSpoolError(f"the spooled file {self.path} is damaged; remove it and run the job again")
        return data

    def text(self) -> str:
        """Read the text.

        Raises:
            OSError: the file is gone, cannot be read, or no longer holds what was written.
        """
        return self.read().decode("utf-8", "surrogatepass")


def spool(data: bytes, folder: str, *, is_text: bool = False) -> Spooled:
    """Write bytes to `<folder>/<two digits>/<sha256>` unless they are there; without a folder, write nothing."""
    sha256 = hashlib.sha256(data).hexdigest()
    if not folder:
        return Spooled("", sha256, len(data), is_text)
    path = spool_path(folder, sha256)
    if files.size(path) != len(data):
        files.write_bytes(path, data)
    return Spooled(path, sha256, len(data), is_text)


def spool_path(folder: str, sha256: str) -> str:
    """Return the path at which bytes with this sha256 are spooled."""
    return files.join(folder, sha256[:2], sha256)
