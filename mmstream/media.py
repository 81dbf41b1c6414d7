"""Opening the media files that rows name: only plain files, only where the user allows it, never too large."""

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

from mmstream import disk, files
from mmstream.errors import MediaError, MmstreamError
from mmstream.spool import LARGE_BYTES, Spooled

T = TypeVar("T")
EXHAUSTED = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS))
"""Numbers of errors that say something of this process or machine and nothing of the file that met them."""
_DESCRIPTORS = "/proc/self/fd"
_BY_HANDLE = hasattr(os, "O_PATH") and Path(_DESCRIPTORS).is_dir()
"""Whether a file can be looked at before it is opened, and opened as just what was looked at."""
_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
_LED_ASTRAY = frozenset((errno.ELOOP, errno.ENOENT, errno.ENOTDIR))
"""Numbers of errors that a link gives, or a path whose folder lies elsewhere by now."""
_NOT_FOUND = 404
_LONGEST_PATH = LARGE_BYTES // 4  # no character has more than four bytes
_OUTSIDE = "{} lies outside the allowed folders; allow its folder with `roots` or --root"


class Media:
    """Reads media by the reference that stands in a row.

    Args:
        folder: relative references are taken from here, and files below it may be read.
        roots: further folders whose files may be read.
        anywhere: the caller chose the references itself, so that any local file may be read.
        sleep: waits for so many seconds before a file that could not be read is tried again.
    """

    def __init__(
        self,
        folder: str,
        roots: Sequence[str] = (),
        *,
        anywhere: bool = False,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.folder = files.absolute(folder)
        self.anywhere = anywhere
        self.roots = tuple(root if files.is_remote(root) else os.path.realpath(root) for root in (folder, *roots))
        self._below = tuple(f"{root.rstrip('/')}/" for root in self.roots if not files.is_remote(root))
        self._sleep = sleep

    def read(self, reference: Any, max_bytes: int) -> bytes:
        """The bytes of a file, or of a value that already is bytes (or stands for some that were spooled).

        Raises:
            TypeError: the reference is neither a path nor bytes.
            OSError: spooled bytes are gone.
            MediaError: the file is missing, too large, not a plain file, or lies outside the allowed folders.
            MmstreamError: this process or machine is short of something, so that nothing is known of the file.
        """
        if isinstance(reference, Spooled) and reference.is_text:
            raise _no_path(reference.size)
        if isinstance(reference, bytes | Spooled):
            size = len(reference) if isinstance(reference, bytes) else reference.size
            if size > max_bytes:
                raise MediaError(f"{size:,} bytes are more than max_bytes = {max_bytes:,}")
            return reference if isinstance(reference, bytes) else self._patiently(reference.read, "spooled bytes")
        if not isinstance(reference, str):
            held = "" if isinstance(reference, dict | list) else f": {reference!r:.80}"
            raise TypeError(f"expected the path of a file; found {type(reference).__name__}{held}")
        if not reference.strip() or "\0" in reference:
            raise MediaError(f"{_shown(reference)} is not the path of a file")
        if len(reference) > _LONGEST_PATH:
            raise _no_path(len(reference.encode("utf-8", "surrogatepass")))
        path = files.join(self.folder, reference)
        try:
            return self._patiently(lambda: self._contents(path, max_bytes), path)
        except OSError as error:
            raise MediaError(f"cannot open {_shown(path)}: {error.strerror or error}") from error

    def metadata(self, reference: Any) -> tuple[Any, ...]:
        """What changes when a file does: its size and when it was last written to. Nothing of what is no file.

        Raises:
            OSError: there is no such file.
            ValueError: no file can have such a name.
            MediaError: it lies outside the allowed folders.
            MmstreamError: this process or machine is short of something, so that nothing is known of the file.
        """
        if not isinstance(reference, str) or len(reference) > _LONGEST_PATH:
            return ()
        path = files.join(self.folder, reference)
        return self._patiently(lambda: self._size_and_time(path), path)

    def _patiently(self, do: Callable[[], T], path: str) -> T:
        try:
            return disk.patiently(do, self._sleep)
        except OSError as error:
            check_exhausted(error, _shown(path))
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
        """A descriptor of a local file that lies in the allowed folders, to read.

        Where the path leads is known before it is opened, unless somebody has put a link in its way since its folder
        was last looked up; so what was opened is looked at before it is read.

        Raises:
            MediaError: it lies outside.
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
        """A file that was opened by its real path lies in the allowed folders, wherever that path leads by now.

        Raises:
            MediaError: it does not.
        """
        opened = _place(descriptor) if _BY_HANDLE else _path_of(descriptor, real)
        if opened != real:
            _real_folder.cache_clear()
            self._check_allowed(opened, path)

    def _look_at(self, path: str) -> int:
        """A handle of what now stands at a path, links followed, without opening it.

        Raises:
            MediaError: it lies outside the allowed folders.
            OSError: nothing stands there, or it cannot be reached.
        """
        try:
            handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError:
            self._check_allowed(os.path.realpath(path), path)  # whether something stands there is not told either
            raise
        try:
            if not self.anywhere:
                self._check_allowed(_place(handle), path)
        except BaseException:
            os.close(handle)
            raise
        return handle

    def _check_allowed(self, real: str, path: str) -> None:
        """A path, whose real one is `real`, lies in the allowed folders.

        Raises:
            MediaError: it does not.
        """
        if not (real.startswith(self._below) or real in self.roots or self.anywhere):
            raise MediaError(_OUTSIDE.format(_shown(path)))

    def _check_uri(self, uri: str) -> None:
        """A URI is its own shortest form, and lies below one of the roots.

        Raises:
            MediaError: it does not.
        """
        rest = uri.partition("://")[2]
        if posixpath.normpath(rest) != rest or not any(_lies_in(uri, root.rstrip("/")) for root in self.roots):
            raise MediaError(_OUTSIDE.format(_shown(uri)))

    def _read_remote(self, uri: str, max_bytes: int) -> bytes:
        self._check_uri(uri)

        def read() -> bytes:
            with files.open_read(uri) as file:
                return file.read(max_bytes + 1)

        data = _asked(read)
        if len(data) > max_bytes:
            raise MediaError(f"{_shown(uri)} has more than max_bytes = {max_bytes:,}")
        return data


def check_exhausted(error: BaseException, what: str) -> None:
    """An error says something of the file that met it, and not of this process or machine.

    Args:
        error: that was met.
        what: was being done something with.

    Raises:
        MmstreamError: it does not, so that what was being done is not to blame and must be done again.
    """
    if isinstance(error, OSError) and error.errno in EXHAUSTED:
        told = (error.strerror or str(error)).lower()
        raise MmstreamError(
            f"{told} while reading {what}: the record is not to blame, so the job ends and loses nothing; raise the "
            "limit (`ulimit -n` for open files) or lower --threads, and run the same command again"
        ) from error


@functools.lru_cache(maxsize=4096)
def _real_folder(folder: str) -> str:
    """Where a folder really lies; most media share theirs, and every step of a path costs a look at the disk."""
    return os.path.realpath(folder)


def _no_path(size: int) -> MediaError:
    return MediaError(f"a text of {size:,} bytes is not the path of a file")


def _size(about: os.stat_result, path: str, max_bytes: int) -> int:
    """Bytes of a plain file.

    Raises:
        MediaError: it is none, or too large.
    """
    if not stat.S_ISREG(about.st_mode):
        raise MediaError(f"{_shown(path)} is not a plain file")
    if about.st_size > max_bytes:
        raise MediaError(f"{_shown(path)} has {about.st_size:,} bytes, more than max_bytes = {max_bytes:,}")
    return about.st_size


def _place(descriptor: int) -> str:
    """Where what was opened lies now."""
    return os.readlink(f"{_DESCRIPTORS}/{descriptor}")  # noqa: PTH115 - for each file, and Path costs as much again


def _path_of(descriptor: int, real: str) -> str:
    """Where an open file lies, which was opened as `real`.

    Raises:
        MediaError: nobody can tell.
    """
    import fcntl

    if hasattr(fcntl, "F_GETPATH"):
        return fcntl.fcntl(descriptor, fcntl.F_GETPATH, bytes(1024)).rstrip(b"\0").decode("utf-8", "surrogateescape")
    found = os.path.realpath(real)
    if not os.path.samestat(os.stat(found), os.fstat(descriptor)):  # noqa: PTH116 - of the same names as above
        raise MediaError(f"{_shown(real)} was replaced while it was opened")
    return found


def _asked(ask: Callable[[], T]) -> T:
    """What a store of files answers.

    Raises:
        FileNotFoundError: it has no such file.
        OSError: it does not answer, with a number that means that it may do so in a moment, unless it knows better.
    """
    try:
        return ask()
    except FileNotFoundError:
        raise
    except Exception as error:  # each store has errors of its own
        number = getattr(error, "errno", None)
        if _NOT_FOUND in (getattr(error, "code", None), getattr(error, "status_code", None)):
            raise FileNotFoundError(errno.ENOENT, str(error)) from error
        raise OSError(number if number in EXHAUSTED else errno.EIO, str(error)) from error


def _shown(path: str) -> str:
    return f"{path!r:.300}"


def _lies_in(path: str, root: str) -> bool:
    return path == root or path.startswith(root.rstrip("/") + "/")
