"""Files by path or URI: local files directly, every other scheme through Beam's filesystems.

Only a file that is reported as missing counts as missing; every other failure is raised (`mmstream.storage.disk`).
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import re
import shutil
import stat
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, cast

from mmstream.storage import disk
from mmstream.storage.disk import patiently

_SCHEME = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*://")
_HIDDEN = re.compile(r"(^|/)\.")
_TEMPORARY = ".mmstream-tmp"


def is_remote(path: str) -> bool:
    """Return whether a path is a URI with a scheme, such as "gs://bucket/file"."""
    return bool(_SCHEME.match(path))


def scheme(path: str) -> str:
    """Return the scheme of a URI, such as "gs"; "" for a path.

    >>> scheme("gs://bucket/file"), scheme("folder/file")
    ('gs', '')
    """
    return path.partition("://")[0] if is_remote(path) else ""


@functools.lru_cache(maxsize=64)
def has_filesystem(scheme: str) -> bool:
    """Return whether a filesystem for a scheme is installed."""
    from apache_beam.io.filesystems import FileSystems

    try:
        FileSystems.get_filesystem(f"{scheme}://")
    except ValueError:
        return False
    return True


def absolute(path: str) -> str:
    """Make a path absolute, without resolving links; leave a URI unchanged."""
    return path if is_remote(path) else os.path.abspath(path)  # noqa: PTH100 - pathlib would follow links


def join(folder: str, *parts: str) -> str:
    """Join parts to the path of a folder, local or remote; an absolute part replaces those before it."""
    for part in parts:
        if is_remote(part) or part.startswith("/") or not folder:
            folder = part
        else:
            folder = f"{folder.rstrip('/')}/{part}"
    return folder


def parent(path: str) -> str:
    """Return the folder of a file."""
    return path.rstrip("/").rsplit("/", 1)[0] if is_remote(path) else str(Path(path).parent)


def expanded(path: str) -> str:
    """Replace a leading `~` in a local path with the home folder; shells do not expand it in `--output=~/x`."""
    return path if is_remote(path) else os.path.expanduser(path)  # noqa: PTH111 - pathlib fails where there is no home


def name(path: str) -> str:
    """Return the last part of a path."""
    return path.rstrip("/").rsplit("/", 1)[-1]


def open_read(path: str) -> BinaryIO:
    """Open a file for reading as bytes, without decompressing it.

    Raises:
        OSError: it cannot be opened.
    """
    if not is_remote(path):
        return patiently(lambda: Path(path).open("rb"))
    from apache_beam.io.filesystem import CompressionTypes

    return cast(BinaryIO, _beam(path).open(path, compression_type=CompressionTypes.UNCOMPRESSED))


def read_bytes(path: str) -> bytes:
    """Read the bytes of a file."""

    def read() -> bytes:
        with open_read(path) as file:
            return file.read()

    return patiently(read)


def read_if_there(path: str) -> bytes | None:
    """Read the bytes of a file; return None if there is none.

    Raises:
        OSError: it exists, or may exist, and cannot be read.
    """
    try:
        return read_bytes(path)
    except disk.NOT_THERE:
        return None
    except OSError:  # the errors of some stores do not say that there is no such file
        if is_remote(path) and not exists(path):
            return None
        raise


def exists(path: str) -> bool:
    """Return whether a file or folder exists.

    Raises:
        OSError: the system gives no answer.
    """
    return bool(patiently(lambda: _beam(path).exists(path))) if is_remote(path) else disk.about(path) is not None


def size(path: str) -> int | None:
    """Return the size of a file in bytes; None if there is none.

    Raises:
        OSError: the system gives no answer.
    """
    if is_remote(path):
        return int(_beam(path).size(path)) if exists(path) else None
    about = disk.about(path)
    return about.st_size if about else None


def metadata(path: str) -> tuple[int, float]:
    """Return a file's size in bytes and its modification time: in nanoseconds on a local disk, in seconds elsewhere.

    Raises:
        OSError: there is no such file.
    """
    if is_remote(path):
        (result,) = _beam(path).match([path])
        if not result.metadata_list:
            raise FileNotFoundError(f"there is no {path}")
        about = result.metadata_list[0]
        return about.size_in_bytes, about.last_updated_in_seconds
    about = patiently(Path(path).stat)
    return about.st_size, about.st_mtime_ns


def in_seconds(path: str, time: float) -> float:
    """Convert the time that `metadata` gives for a path to seconds since 1970."""
    return time if is_remote(path) else time / 1e9


def is_folder(path: str) -> bool:
    """Return whether a path is a folder; on an object store, whether anything lies below it.

    Raises:
        OSError: the system gives no answer.
    """
    if not is_remote(path):
        about = disk.about(path)
        return about is not None and stat.S_ISDIR(about.st_mode)
    return next(list_files(path), None) is not None


def list_files(folder: str, hidden: Callable[[str], object] = lambda path: None) -> Iterator[str]:
    """Yield all files below a folder, as paths relative to it, folder by folder, sorted; none if it does not exist.

    Links to folders are not followed; names that begin with a dot are passed over.

    Args:
        folder: local or remote.
        hidden: called with the path of each such name; in a remote folder, with that of each file below one.

    Raises:
        OSError: a folder cannot be read; otherwise its files would be missing silently.
    """
    if is_remote(folder):
        base = folder.rstrip("/") + "/"
        for path in sorted(path.removeprefix(base) for path in remote_matches(base + "**")):
            if _HIDDEN.search(path):
                hidden(path)
            else:
                yield path
        return
    yield from disk.walk(folder, hidden=hidden)


def remote_matches(pattern: str) -> list[str]:
    """Return the files of a store that match a pattern (`mmstream.storage.patterns`), sorted."""
    (result,) = patiently(lambda: _beam(pattern).match([pattern]))
    return sorted(metadata.path for metadata in result.metadata_list)


def write_bytes(path: str, data: bytes) -> None:
    """Write a file completely or not at all: a reader sees either the old bytes or the new ones."""
    if is_remote(path):
        with _beam(path).create(path) as file:
            file.write(data)
        return

    def write() -> None:
        with _replacing(path) as file:
            file.write(data)

    patiently(write)


def temporary_for(path: str) -> Path:
    """Name a local file that will later become `path`: beside it, or in the temporary folder if `path` is remote."""
    if is_remote(path):
        return Path(tempfile.mkdtemp(prefix="mmstream-")) / f"file{_TEMPORARY}"
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    return _temporary_beside(target)


def move_in(temporary: Path, path: str) -> None:
    """Move a finished file, named by `temporary_for`, to its place, completely or not at all."""
    if is_remote(path):
        with temporary.open("rb") as source, _beam(path).create(path) as target:
            shutil.copyfileobj(source, target, 1 << 20)
        shutil.rmtree(temporary.parent)
        return
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    patiently(lambda: temporary.replace(path))


def beside(path: str, run: str = "") -> str:
    """Name the file that a run writes before it is moved to `path`: in the same folder, ignored by readers."""
    return join(parent(path), f".{name(path)}{run and f'.{run}'}{_TEMPORARY}")


def move(source: str, target: str) -> None:
    """Move a file within a disk or store, replacing the target; a missing file has already been moved."""
    if is_remote(source):
        if exists(source):
            _beam(source).rename([source], [target])
        return
    Path(target).parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileNotFoundError):
        patiently(lambda: Path(source).replace(target))


def remove(path: str) -> None:
    """Remove a file, if it exists."""
    if is_remote(path):
        if exists(path):
            _beam(path).delete([path])
    else:
        patiently(lambda: Path(path).unlink(missing_ok=True))


def remove_folder(folder: str) -> None:
    """Remove a folder and everything in it."""
    if is_remote(folder):
        _beam(folder).delete([folder.rstrip("/") + "/"])
    else:
        shutil.rmtree(folder)


def sweep(folder: str) -> None:
    """Remove files below a folder that killed processes left half-written."""
    if not is_remote(folder):
        for path in Path(folder).rglob(f".*{_TEMPORARY}"):
            path.unlink(missing_ok=True)


def checksum(path: str) -> str:
    """Return the sha256 of a file, in hexadecimal."""

    def read() -> str:
        with open_read(path) as file:
            total = hashlib.sha256()
            while block := file.read(1 << 20):
                total.update(block)
        return total.hexdigest()

    return patiently(read)


@contextlib.contextmanager
def _replacing(path: str) -> Iterator[BinaryIO]:
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = _temporary_beside(target)
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def _temporary_beside(target: Path) -> Path:
    return target.with_name(f".{target.name}.{uuid.uuid4().hex}{_TEMPORARY}")


def _beam(path: str):  # type: ignore[no-untyped-def]  # Beam is untyped, and imported only for remote files
    """Return the Beam filesystem that reads a path."""
    from apache_beam.io.filesystems import FileSystems

    try:
        return FileSystems.get_filesystem(path)
    except ValueError as error:
        raise OSError(
            f"no filesystem is installed for {scheme(path)}:// (an extra of mmstream may install it)"
        ) from error
