"""Reading the media files that rows name: only plain files in allowed folders, up to a size."""

from __future__ import annotations

import errno
import functools
import os
import posixpath
import stat
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from mmstream.errors import MediaError
from mmstream.records.inline import decoded, is_inline
from mmstream.records.references import BYTES_AND_PATH, FILE_SCHEME, LONGEST_PATH, no_path, path_in, shown
from mmstream.records.spool import Spooled
from mmstream.storage import disk, files
from mmstream.storage.exhaustion import EXHAUSTED, check_exhausted

T = TypeVar("T")
_DESCRIPTORS = "/proc/self/fd"
_BY_HANDLE = hasattr(os, "O_PATH") and Path(_DESCRIPTORS).is_dir()
"""Whether the system can examine a file without opening it."""
_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
_LED_ASTRAY = frozenset((errno.ELOOP, errno.ENOENT, errno.ENOTDIR))
"""Error numbers that mean that a path is a link, or that its folder has been moved."""
_NOT_FOUND = 404
_OUTSIDE = "{} lies outside the allowed folders; allow its folder with `roots` or --root"


class Media:
    """Reads media by the reference in a row: a path, a URI, or the content itself.

    A file:// URI is treated as its path. The content itself can be bytes, a data URI in base64, or a PNG, JPEG, GIF or
    WebP in base64. It can also be {"bytes": …, "path": …}, as in Hugging Face's `datasets`; if its bytes are null, its
    path is used.

    Args:
        folder: relative references start here, and files below it may be read.
        roots: further folders whose files may be read.
        anywhere: any local file may be read, because the caller chose the references itself.
        by_path: references are always paths, whatever a field's `reference` says.
        has_tables: the origin of a record begins with the path of its file below `folder`.
        sleep: waits the given number of seconds before a file is read again.
    """

    def __init__(
        self,
        folder: str,
        roots: Sequence[str] = (),
        *,
        anywhere: bool = False,
        by_path: bool = False,
        has_tables: bool = False,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.folder = files.absolute(folder)
        self.anywhere = anywhere
        self.by_path = by_path
        self.has_tables = has_tables
        places = (path_in(root) for root in (folder, *roots))
        self.roots = tuple(root if files.is_remote(root) else os.path.realpath(root) for root in places)
        self._below = tuple(f"{root.rstrip('/')}/" for root in self.roots if not files.is_remote(root))
        self._sleep = sleep

    def read(self, reference: Any, max_bytes: int) -> bytes:
        """Return the bytes of a file, of a value that is the content itself, or of a spooled value.

        Raises:
            TypeError: the reference is neither a path nor the content itself.
            OSError: spooled bytes are gone.
            MediaError: the file is missing, too large, not a plain file, or lies outside the allowed folders.
            MmstreamError: this process or machine lacks resources; the file itself may be sound.
        """
        if isinstance(reference, dict) and reference.keys() == BYTES_AND_PATH:
            if isinstance(reference["bytes"], str):
                return decoded(reference["bytes"], max_bytes)
            reference = reference["path"] if reference["bytes"] is None else reference["bytes"]
        if isinstance(reference, Spooled) and reference.is_text:
            if not reference.path:
                raise no_path(reference.size)
            return decoded(self._patiently(reference.text, "spooled text"), max_bytes)
        if isinstance(reference, bytes | Spooled):
            size = len(reference) if isinstance(reference, bytes) else reference.size
            if size > max_bytes:
                raise MediaError(f"{size:,} bytes are more than max_bytes = {max_bytes:,}")
            return reference if isinstance(reference, bytes) else self._patiently(reference.read, "spooled bytes")
        if not isinstance(reference, str):
            held = "" if isinstance(reference, dict | list) else f": {reference!r:.80}"
            raise TypeError(f"expected the path of a file; found {type(reference).__name__}{held}")
        if is_inline(reference):
            return decoded(reference, max_bytes)
        if not reference.strip() or "\0" in reference:
            raise MediaError(f"{shown(reference)} is not the path of a file")
        if len(reference) > LONGEST_PATH:
            raise no_path(len(reference.encode("utf-8", "surrogatepass")))
        path = self._place_of(reference)
        try:
            return self._patiently(lambda: self._contents(path, max_bytes), path)
        except OSError as error:
            if error.errno == errno.ENAMETOOLONG:
                raise no_path(len(reference.encode("utf-8", "surrogateescape"))) from error
            hint = "; use / between folders" if "\\" in reference else ""
            raise MediaError(f"cannot open {shown(path)}: {error.strerror or error}{hint}") from error

    def metadata(self, reference: Any) -> tuple[Any, ...]:
        """Return a file's size and modification time, to tell whether it has changed; () if the value names no file.

        Raises:
            OSError: there is no such file.
            ValueError: the name is not possible for a file.
            MediaError: it lies outside the allowed folders.
            MmstreamError: this process or machine lacks resources; the file itself may be sound.
        """
        if isinstance(reference, dict) and reference.keys() == BYTES_AND_PATH and reference["bytes"] is None:
            reference = reference["path"]
        if not isinstance(reference, str) or len(reference) > LONGEST_PATH or is_inline(reference):
            return ()
        path = self._place_of(reference)
        return self._patiently(lambda: self._size_and_time(path), path)

    def folder_of(self, origin: str) -> str:
        """Return the folder of a record's file, relative to the input's folder; "" for the input's folder itself."""
        return origin.rpartition("/")[0] if self.has_tables else ""

    def _place_of(self, reference: str) -> str:
        """Return the path or URI that a reference stands for.

        Raises:
            MediaError: the file is on another machine, or its name is not possible.
        """
        path = files.join(self.folder, path_in(reference))
        if "\0" in path:
            raise MediaError(f"{shown(reference)} is not the path of a file")
        if files.scheme(path).lower() == FILE_SCHEME:
            raise MediaError(f"{shown(path)} names a file on another machine; only local files are read")
        return path

    def _patiently(self, do: Callable[[], T], path: str) -> T:
        try:
            return disk.patiently(do, self._sleep)
        except OSError as error:
            check_exhausted(error, shown(path))
            raise

    def _contents(self, path: str, max_bytes: int) -> bytes:
        if files.is_remote(path):
            return self._read_remote(path, max_bytes)
        descriptor = self._open(path)
        try:
            size = _size(os.fstat(descriptor), path, max_bytes)
            data = os.read(descriptor, size)
            if len(data) == size:
                return data
            parts = [data]
            while data and (size := size - len(data)):
                parts.append(data := os.read(descriptor, size))
            return b"".join(parts)
        finally:
            os.close(descriptor)

    def _size_and_time(self, path: str) -> tuple[int, float]:
        if files.is_remote(path):
            self._check_uri(path)
            return _asked(lambda: files.metadata(path))
        if not _BY_HANDLE:
            self._check_allowed(os.path.realpath(path), path)
            return files.metadata(os.path.realpath(path))
        handle = self._look_at(path)
        try:
            about = os.fstat(handle)
            return about.st_size, about.st_mtime_ns
        finally:
            os.close(handle)

    def _open(self, path: str) -> int:
        """Open a local file in the allowed folders for reading; returns its descriptor.

        Links are resolved before the file is opened. A link may have been placed in its path since its folder was last
        resolved, so the opened file is checked before it is read.

        Raises:
            MediaError: it lies outside those folders.
            OSError: it cannot be opened.
        """
        folder, _, name = path.rpartition("/")
        real = f"{_real_folder(folder or '/').rstrip('/')}/{name}"
        self._check_allowed(real, path)
        try:
            descriptor = os.open(real, _READ | os.O_NOFOLLOW)
        except OSError as error:
            if error.errno not in _LED_ASTRAY or not name:
                raise
            _real_folder.cache_clear()
            real = os.path.realpath(path)
            self._check_allowed(real, path)
            descriptor = os.open(real, _READ | os.O_NOFOLLOW)
        if not self.anywhere:
            try:
                self._check_opened(descriptor, real, path)
            except BaseException:
                os.close(descriptor)
                raise
        return descriptor

    def _check_opened(self, descriptor: int, real: str, path: str) -> None:
        """Check that an opened file lies in the allowed folders, even if its path now leads elsewhere.

        Raises:
            MediaError: it does not.
        """
        opened = _place(descriptor) if _BY_HANDLE else _path_of(descriptor, real)
        if opened != real:
            _real_folder.cache_clear()
            self._check_allowed(opened, path)

    def _look_at(self, path: str) -> int:
        """Return a handle of whatever a path leads to now, links followed, without opening it.

        Raises:
            MediaError: it lies outside the allowed folders.
            OSError: nothing is there, or it cannot be reached.
        """
        try:
            handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError:
            self._check_allowed(os.path.realpath(path), path)  # do not even reveal whether it exists
            raise
        try:
            if not self.anywhere:
                self._check_allowed(_place(handle), path)
        except BaseException:
            os.close(handle)
            raise
        return handle

    def _check_allowed(self, real: str, path: str) -> None:
        """Check that a path whose links resolve to `real` lies in the allowed folders.

        Raises:
            MediaError: it does not.
        """
        if not (real.startswith(self._below) or real in self.roots or self.anywhere):
            raise MediaError(_OUTSIDE.format(shown(path)))

    def _check_uri(self, uri: str) -> None:
        """Check that a URI is in its shortest form and lies below one of the roots.

        Raises:
            MediaError: it does not, or no installed filesystem reads URIs of its scheme.
        """
        if not files.has_filesystem(files.scheme(uri)):
            raise MediaError(
                f"{shown(uri)} cannot be read: no filesystem is installed for {files.scheme(uri):.20}://; download "
                "such files first, and put their paths in the rows"
            )
        rest = uri.partition("://")[2]
        if posixpath.normpath(rest) != rest or not any(_lies_in(uri, root.rstrip("/")) for root in self.roots):
            raise MediaError(_OUTSIDE.format(shown(uri)))

    def _read_remote(self, uri: str, max_bytes: int) -> bytes:
        self._check_uri(uri)

        def read() -> bytes:
            with files.open_read(uri) as file:
                return file.read(max_bytes + 1)

        data = _asked(read)
        if len(data) > max_bytes:
            raise MediaError(f"{shown(uri)} has more bytes than max_bytes = {max_bytes:,}")
        return data


@functools.lru_cache(maxsize=4096)
def _real_folder(folder: str) -> str:
    """Return a folder's path with links resolved; cached, because each step of a path costs a system call."""
    return os.path.realpath(folder)


def _size(about: os.stat_result, path: str, max_bytes: int) -> int:
    """Return the size of a plain file in bytes.

    Raises:
        MediaError: it is not a plain file, or is too large.
    """
    if not stat.S_ISREG(about.st_mode):
        raise MediaError(f"{shown(path)} is not a plain file")
    if about.st_size > max_bytes:
        raise MediaError(f"{shown(path)} has {about.st_size:,} bytes, more than max_bytes = {max_bytes:,}")
    return about.st_size


def _place(descriptor: int) -> str:
    """Return the current path of an open file."""
    return os.readlink(f"{_DESCRIPTORS}/{descriptor}")  # noqa: PTH115 - for each file, and Path costs as much again


def _path_of(descriptor: int, real: str) -> str:
    """Return the current path of a file that was opened as `real`.

    Raises:
        MediaError: that cannot be determined.
    """
    import fcntl

    if hasattr(fcntl, "F_GETPATH"):
        return fcntl.fcntl(descriptor, fcntl.F_GETPATH, bytes(1024)).rstrip(b"\0").decode("utf-8", "surrogateescape")
    path = os.path.realpath(real)
    if not os.path.samestat(os.stat(path), os.fstat(descriptor)):  # noqa: PTH116 - of the same names as above
        raise MediaError(f"{shown(real)} was replaced while it was being opened")
    return path


def _asked(ask: Callable[[], T]) -> T:
    """Ask a remote store, and return its answer.

    Raises:
        FileNotFoundError: it has no such file.
        OSError: it does not answer; the error number is one that may pass, unless the store gives another.
    """
    try:
        return ask()
    except FileNotFoundError:
        raise
    except Exception as error:  # each store has its own errors
        number = getattr(error, "errno", None)
        if _NOT_FOUND in (getattr(error, "code", None), getattr(error, "status_code", None)):
            raise FileNotFoundError(errno.ENOENT, str(error)) from error
        raise OSError(number if number in EXHAUSTED else errno.EIO, str(error)) from error


def _lies_in(path: str, root: str) -> bool:
    return path == root or path.startswith(root.rstrip("/") + "/")
