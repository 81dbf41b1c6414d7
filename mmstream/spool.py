"""Media and large texts that stand in a row itself: kept in content-addressed files, so that only references travel."""

from __future__ import annotations

import dataclasses
import hashlib

from mmstream import files

LARGE_BYTES = 64 * 1024
"""Of a text or bytes; more than that is not kept in a dead letter, and does not travel."""


class DamagedSpoolError(OSError):
    """A spooled file is not what was written."""


@dataclasses.dataclass(frozen=True, slots=True)
class Spooled:
    """Stands in a row in place of bytes, or of a text.

    Attributes:
        path: of the file that holds them; "" where none does.
        sha256: of the bytes, hexadecimal.
        size: how many there are.
        is_text: whether they are a text as UTF-8.
    """

    path: str
    sha256: str
    size: int
    is_text: bool = False

    def read(self) -> bytes:
        """The bytes.

        Raises:
            OSError: the file is gone, cannot be read, or is not what was written.
        """
        data = files.read_bytes(self.path)
        if len(data) != self.size or hashlib.sha256(data).hexdigest() != self.sha256:
            raise DamagedSpoolError(f"the spooled file {self.path} is damaged; remove it and run the job again")
        return data

    def text(self) -> str:
        """The text.

        Raises:
            OSError: the file is gone, cannot be read, or is not what was written.
        """
        return self.read().decode("utf-8", "surrogatepass")


def spool(data: bytes, folder: str, *, is_text: bool = False) -> Spooled:
    """Write bytes to `<folder>/<two digits>/<sha256>`, unless another record or run has; without a folder, nowhere."""
    sha256 = hashlib.sha256(data).hexdigest()
    if not folder:
        return Spooled("", sha256, len(data), is_text)
    path = spool_path(folder, sha256)
    if files.size(path) != len(data):
        files.write_bytes(path, data)
    return Spooled(path, sha256, len(data), is_text)


def spool_path(folder: str, sha256: str) -> str:
    """Where bytes of this sha256 are spooled."""
    return files.join(folder, sha256[:2], sha256)
