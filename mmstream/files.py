"""Files by path or URI: the local disk directly, every other scheme through Beam's filesystems.

Only a file that is not there counts as not there; every other failure to read is raised (`mmstream.disk`).
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import stat
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

from mmstream import disk
from mmstream.disk import patiently

_SCHEME = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*://")
_SHARD = re.compile(r"-\d+-of-\d+$")
_TEMPORARY = ".mmstream-tmp"


def is_remote(path: str) -> bool:
    """Whether a path is a URI with a scheme, as "gs://bucket/file"."""
    return bool(_SCHEME.match(path))


def scheme(path: str) -> str:
    """What a URI begins with, as "gs"; "" for a path.

    >>> scheme("gs://bucket/file"), scheme("folder/file")
    ('gs', '')
    """
    return path.partition("://")[0] if is_remote(path) else ""


def absolute(path: str) -> str:
    """A path from the root, links kept; a URI as it is."""
    return path if is_remote(path) else os.path.abspath(path)  # noqa: PTH100 - pathlib would follow links


def join(folder: str, *parts: str) -> str:
    """A path inside a folder, local or remote; an absolute part replaces what stands before it."""
    for part in parts:
        if is_remote(part) or part.startswith("/") or not folder:
            folder = part
        else:
            folder = f"{folder.rstrip('/')}/{part}"
    return folder


def parent(path: str) -> str:
    """The folder of a file."""
    return path.rstrip("/").rsplit("/", 1)[0] if is_remote(path) else str(Path(path).parent)


def is_pattern(path: str) -> bool:
    """Whether a path stands for all files that match it, as "shards/*.tar"; a file may be called so, too."""
    return bool(disk.WILD.search(path)) and not exists(path)


def base(path: str) -> str:
    """The folder that the files of an input lie in: the input itself, the parent of a file, the start of a pattern."""
    if is_pattern(path):
        path = path[: disk.WILD.search(path).start()]  # type: ignore[union-attr]  # it is a pattern
        return path.rsplit("/", 1)[0] or "/" if "/" in path else "."
    return path if is_folder(path) else parent(path)


def name(path: str) -> str:
    """The last part of a path."""
    return path.rstrip("/").rsplit("/", 1)[-1]


def open_read(path: str) -> BinaryIO:
    """Open for reading in binary, uncompressed as it lies there.

    Raises:
        OSError: it cannot be opened.
    """
    if not is_remote(path):
        return patiently(lambda: Path(path).open("rb"))
    from apache_beam.io.filesystem import CompressionTypes

    return cast(BinaryIO, _beam(path).open(path, compression_type=CompressionTypes.UNCOMPRESSED))


def read_bytes(path: str) -> bytes:
    """The whole of a file."""

    def read() -> bytes:
        with open_read(path) as file:
            return file.read()

    return patiently(read)


def read_if_there(path: str) -> bytes | None:
    """The whole of a file; None if there is none.

    Raises:
        OSError: it is there, or may be, and cannot be read.
    """
    try:
        return read_bytes(path)
    except disk.NOT_THERE:
        return None
    except OSError:  # not every store says in its error that there is no such file
        if is_remote(path) and not exists(path):
            return None
        raise


def exists(path: str) -> bool:
    """Whether a file or folder is there.

    Raises:
        OSError: the system gives no answer.
    """
    return bool(patiently(lambda: _beam(path).exists(path))) if is_remote(path) else disk.about(path) is not None


def size(path: str) -> int | None:
    """Bytes of a file, None where there is none.

    Raises:
        OSError: the system gives no answer.
    """
    if is_remote(path):
        return int(_beam(path).size(path)) if exists(path) else None
    about = disk.about(path)
    return about.st_size if about else None


def metadata(path: str) -> tuple[int, float]:
    """Bytes of a file, and when it was last written to: nanoseconds on a local disk, seconds elsewhere.

    Raises:
        OSError: there is none.
    """
    if is_remote(path):
        (found,) = _beam(path).match([path])
        if not found.metadata_list:
            raise FileNotFoundError(f"there is no {path}")
        about = found.metadata_list[0]
        return about.size_in_bytes, about.last_updated_in_seconds
    about = patiently(Path(path).stat)
    return about.st_size, about.st_mtime_ns


def in_seconds(path: str, time: float) -> float:
    """The time that `metadata` gives for a path, in seconds since 1970."""
    return time if is_remote(path) else time / 1e9


def is_folder(path: str) -> bool:
    """Whether a path is a folder; on an object store, whether anything lies below it.

    Raises:
        OSError: the system gives no answer.
    """
    if not is_remote(path):
        about = disk.about(path)
        return about is not None and stat.S_ISDIR(about.st_mode)
    return next(list_files(path), None) is not None


def list_files(folder: str) -> Iterator[str]:
    """All files below a folder, as paths relative to it, folder by folder in sorted order; none if it is not there.

    Links are not followed into folders; names that begin with a dot are passed over.

    Raises:
        OSError: a folder cannot be read; what lies in it would be missing without a word.
    """
    if is_remote(folder):
        base = folder.rstrip("/") + "/"
        (found,) = patiently(lambda: _beam(folder).match([base + "**"]))
        paths = (metadata.path[len(base) :] for metadata in found.metadata_list)
        yield from sorted(path for path in paths if not re.search(r"(^|/)\.", path))
        return
    yield from disk.walk(folder)


def has_suffix(path: str, suffixes: tuple[str, ...]) -> bool:
    """Whether a file's name ends so, in any case, also before a shard's number, as "train.tfrecord-00003-of-00010"."""
    return _SHARD.sub("", path.lower()).endswith(suffixes)


def match(pattern: str) -> list[str]:
    """The files that match a pattern, sorted: `*` and `?` within a folder's name, `**` across folders.

    Raises:
        OSError: a folder on the way cannot be read.
    """
    if is_remote(pattern):
        (found,) = patiently(lambda: _beam(pattern).match([pattern]))
        return sorted(metadata.path for metadata in found.metadata_list)
    return sorted(path for path in disk.matching(pattern) if not is_folder(path))


def write_bytes(path: str, data: bytes) -> None:
    """Write a file whole or not at all: a reader sees the old bytes or the new ones."""
    if is_remote(path):
        with _beam(path).create(path) as file:
            file.write(data)
        return

    def write() -> None:
        with _replacing(path) as file:
            file.write(data)

    patiently(write)


def temporary_for(path: str) -> Path:
    """A local file to write what shall become `path`: beside it, or in the temporary folder where `path` is remote."""
    if is_remote(path):
        return Path(tempfile.mkdtemp(prefix="mmstream-")) / f"file{_TEMPORARY}"
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    return _temporary_beside(target)


def move_in(temporary: Path, path: str) -> None:
    """Put a finished file that `temporary_for` named in its place, whole or not at all."""
    if is_remote(path):
        with temporary.open("rb") as source, _beam(path).create(path) as target:
            shutil.copyfileobj(source, target, 1 << 20)
        shutil.rmtree(temporary.parent)
        return
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    patiently(lambda: temporary.replace(path))


def beside(path: str, run: str = "") -> str:
    """Where a run writes what shall `move` to a place: in the same folder, under a name that readers pass over."""
    return join(parent(path), f".{name(path)}{run and f'.{run}'}{_TEMPORARY}")


def move(source: str, target: str) -> None:
    """Move a file within a disk or store, over what stands there; one that is gone has been moved already."""
    if is_remote(source):
        if exists(source):
            _beam(source).rename([source], [target])
        return
    Path(target).parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileNotFoundError):
        patiently(lambda: Path(source).replace(target))


def remove(path: str) -> None:
    """Remove a file; one that is not there is no error."""
    if is_remote(path):
        if exists(path):
            _beam(path).delete([path])
    else:
        patiently(lambda: Path(path).unlink(missing_ok=True))


def remove_folder(folder: str) -> None:
    """Remove a folder and all that lies in it."""
    if is_remote(folder):
        _beam(folder).delete([folder.rstrip("/") + "/"])
    else:
        shutil.rmtree(folder)


def sweep(folder: str) -> None:
    """Remove what a killed process left half-written below a folder."""
    if not is_remote(folder):
        for path in Path(folder).rglob(f".*{_TEMPORARY}"):
            path.unlink(missing_ok=True)


def checksum(path: str) -> str:
    """The sha256 of a file, as hexadecimal."""

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
    """The filesystem of Beam that reads such a path."""
    from apache_beam.io.filesystems import FileSystems

    try:
        return FileSystems.get_filesystem(path)
    except ValueError as error:
        raise OSError(
            f"no filesystem is installed for {scheme(path)}:// (an extra of mmstream may bring it)"
        ) from error
