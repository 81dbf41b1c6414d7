"""Opening the media files that rows name: only plain files, only where the user allows it, never too large."""

from __future__ import annotations

import errno
import functools
import os
import posixpath
import stat
from collections.abc import Sequence
from typing import Any

from mmstream import files
from mmstream.errors import MediaError
from mmstream.spool import Spooled


class Media:
    """Reads media by the reference that stands in a row.

    Args:
        folder: relative references are taken from here, and files below it may be read.
        roots: further folders whose files may be read.
        anywhere: the caller chose the references itself, so that any local file may be read.
    """

    def __init__(self, folder: str, roots: Sequence[str] = (), *, anywhere: bool = False) -> None:
        self.folder = files.absolute(folder)
        self.anywhere = anywhere
        self.roots = tuple(root if files.is_remote(root) else os.path.realpath(root) for root in (folder, *roots))

    def read(self, reference: Any, max_bytes: int) -> bytes:
        """The bytes of a file, or of a value that already is bytes (or stands for some that were spooled).

        Raises:
            TypeError: the reference is neither a path nor bytes.
            OSError: spooled bytes are gone.
            MediaError: the file is missing, too large, not a plain file, or lies outside the allowed folders.
        """
        if isinstance(reference, bytes | Spooled):
            size = len(reference) if isinstance(reference, bytes) else reference.size
            if size > max_bytes:
                raise MediaError(f"{size:,} bytes are more than max_bytes = {max_bytes:,}")
            return reference if isinstance(reference, bytes) else reference.read()
        if not isinstance(reference, str):
            held = "" if isinstance(reference, dict | list) else f": {reference!r:.80}"
            raise TypeError(f"expected the path of a file; found {type(reference).__name__}{held}")
        if not reference.strip() or "\0" in reference:
            raise MediaError(f"{reference!r} is not the path of a file")
        path = files.join(self.folder, reference)
        return self._read_remote(path, max_bytes) if files.is_remote(path) else self._read_local(path, max_bytes)

    def metadata(self, reference: Any) -> tuple[Any, ...]:
        """What changes when a file does: its size and when it was last written to. Nothing of what is no file.

        Raises:
            OSError: there is no such file.
            ValueError: no file can have such a name.
            MediaError: it lies outside the allowed folders.
        """
        if not isinstance(reference, str):
            return ()
        path = files.join(self.folder, reference)
        self._check_allowed(path if files.is_remote(path) else os.path.realpath(path), path)
        return files.metadata(path)

    def _read_local(self, path: str, max_bytes: int) -> bytes:
        folder, name = os.path.split(path)
        try:
            try:
                descriptor = self._open_allowed(files.join(_real_folder(folder), name), path, os.O_NOFOLLOW)
            except OSError as error:
                if error.errno != errno.ELOOP:
                    raise
                descriptor = self._open_allowed(os.path.realpath(path), path, 0)  # it is a link
        except OSError as error:
            raise MediaError(f"cannot open {path!r}: {error.strerror}") from error
        try:
            about = os.fstat(descriptor)
            if not stat.S_ISREG(about.st_mode):
                raise MediaError(f"{path!r} is not a plain file")
            if about.st_size > max_bytes:
                raise MediaError(f"{path!r} has {about.st_size:,} bytes, more than max_bytes = {max_bytes:,}")
            data = os.read(descriptor, about.st_size)
            while len(data) < about.st_size and (more := os.read(descriptor, about.st_size - len(data))):
                data += more
            return data
        finally:
            os.close(descriptor)

    def _open_allowed(self, real: str, path: str, more: int) -> int:
        """A descriptor of a file at its real path.

        Raises:
            MediaError: it lies outside the allowed folders.
            OSError: it cannot be opened.
        """
        self._check_allowed(real, path)
        return os.open(real, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | more)

    def _check_allowed(self, real: str, path: str) -> None:
        """A path, whose real one is `real`, lies in the allowed folders; a URI must be its own shortest form.

        Raises:
            MediaError: it does not.
        """
        if files.is_remote(path):
            rest = path.partition("://")[2]
            allowed = posixpath.normpath(rest) == rest and any(_lies_in(path, root.rstrip("/")) for root in self.roots)
        else:
            allowed = self.anywhere or any(_lies_in(real, root) for root in self.roots)
        if not allowed:
            raise MediaError(f"{path!r} lies outside the allowed folders; allow its folder with `roots` or --root")

    def _read_remote(self, path: str, max_bytes: int) -> bytes:
        self._check_allowed(path, path)
        try:
            with files.open_read(path) as file:
                data = file.read(max_bytes + 1)
        except OSError as error:
            raise MediaError(f"cannot open {path!r}: {error}") from error
        if len(data) > max_bytes:
            raise MediaError(f"{path!r} has more than max_bytes = {max_bytes:,}")
        return data


@functools.lru_cache(maxsize=4096)
def _real_folder(folder: str) -> str:
    """Where a folder really lies; most media share theirs, and every step of a path costs a look at the disk."""
    return os.path.realpath(folder)


def _lies_in(path: str, root: str) -> bool:
    return path == root or path.startswith(root.rstrip("/") + "/")
