"""Shared by all sources: finding the files of an input, opening them, and reading them line by line."""

from __future__ import annotations

import contextlib
import gzip
import math
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import BinaryIO, NamedTuple, TypeVar, cast

from mmstream.errors import MmstreamError, describe, listed
from mmstream.inputs.listing import Listing, Passed, as_json, in_words, why_not_read
from mmstream.interfaces import Source
from mmstream.runtime.alive import progress
from mmstream.storage import files, patterns
from mmstream.storage.suffixes import has_suffix
from mmstream_io import limits

Item = TypeVar("Item")
PICTURES = (
    *("jpg", "jpeg", "jpe", "jfif", "png", "apng", "gif", "webp", "avif", "avifs", "bmp", "dib", "tif", "tiff"),
    *("heic", "heif", "hif", "jp2", "j2k", "jpx", "icns", "ico", "pbm", "pgm", "ppm", "pnm", "pfm"),
    *("pcx", "qoi", "sgi", "tga", "xbm"),
)
"""Suffixes of files that hold pictures."""
SOUNDS = ("flac", "m4a", "mp3", "ogg", "opus", "wav")
"""Suffixes of files that hold sounds."""
VIDEOS = ("avi", "mkv", "mov", "mp4", "webm")
"""Suffixes of files that hold videos."""
_MEDIA = tuple(f".{suffix}" for suffix in (*PICTURES, *SOUNDS, *VIDEOS))
_PROGRESS_LINES = 1024


class InputFile(NamedTuple):
    """A file of an input.

    Attributes:
        path: of the file.
        origin: its path below the input, escaped where a name is not valid UTF-8.
    """

    path: str
    origin: str


def find(source: Source, path: str, use: str, passed: Passed | None = None) -> list[InputFile]:
    """Find the files of an input, in a fixed order: the file, those that the source reads in a folder, or all matches.

    Args:
        source: that reads them; its `passed_over` is set, without media, as rows may name those.
        path: of the input.
        use: the name of the source.
        passed: counts what is passed over, where the source itself counts more.

    Raises:
        MmstreamError: there are none.
    """
    passed = passed or Passed()
    if patterns.is_pattern(path):
        below = patterns.input_folder(path).rstrip("/") + "/"
        input_files = [InputFile(match, match.removeprefix(below)) for match in patterns.matches(path)]
        if not input_files:
            raise MmstreamError(patterns.nothing_matches(path))
    elif files.is_folder(path):
        input_files = []
        for name in signalled(Listing(path, source.roots, passed)):
            if source.reads(name):
                input_files.append(InputFile(files.join(path, name), name))
            elif not name.lower().endswith(_MEDIA):
                passed.add(why_not_read(path, name), name)
        if not input_files:
            raise MmstreamError(
                f"{path} holds no file that the source {use!r} reads (by suffix: {' '.join(source.suffixes)})"
                f"{but_for(passed)}"
            )
    elif files.exists(path):
        input_files = [InputFile(path, files.name(path))]
    else:
        raise MmstreamError(f"there is no {path}")
    source.passed_over = passed.told()
    return [file._replace(origin=file.origin.encode("utf-8", "backslashreplace").decode()) for file in input_files]


def but_for(passed: Passed) -> str:
    """The end of a message that there is nothing to read, saying what was passed over."""
    return f"; the folder holds: {in_words(as_json(passed.told()))}" if passed.told() else ""


@contextlib.contextmanager
def open_file(path: str) -> Iterator[BinaryIO]:
    """Open a file for reading in binary, decompressed if its name ends in .gz or .tgz.

    Raises:
        MmstreamError: it cannot be opened or read, or its compressed data is damaged.
    """
    try:
        with files.open_read(path) as file:
            yield cast(BinaryIO, gzip.GzipFile(fileobj=_Signalling(file))) if _is_packed(path) else file
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or describe(error)
        raise MmstreamError(f"cannot read {path}: {reason}") from error


def piece_bytes(path: str, size: int) -> float:
    """The size that a file's pieces should have: infinite for a gzipped file, which can only be read from its start.

    Args:
        path: of the file.
        size: of a piece of any other file.
    """
    return math.inf if _is_packed(path) else size


class _Signalling:
    """A compressed file that gives a sign of life at each read, because little data may unpack to a lot.

    Args:
        file: opened in binary.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.seek = file.seek

    def read(self, size: int = -1) -> bytes:
        progress()
        return self._file.read(size)


def _is_packed(path: str) -> bool:
    return has_suffix(path, (".gz", ".tgz"))


def signalled(items: Iterable[Item]) -> Iterator[Item]:
    """Pass on the items of a long listing, with a sign of life for each."""
    for item in items:
        progress()
        yield item


def check_names(path: str, names: Sequence[str], what: str, hint: str = "") -> None:
    """Check that a table does not have too many columns, and that their names differ.

    Args:
        path: of the file.
        names: of its columns.
        what: introduces them in the message, such as "the first line names".
        hint: what to do about two equal names.

    Raises:
        MmstreamError: there are too many, or two are equal.
    """
    if len(names) > limits.MAX_COLUMNS:
        raise MmstreamError(f"{path}: {what} {len(names):,} columns; the limit is {limits.MAX_COLUMNS:,}")
    doubled = sorted(name for name, count in Counter(names).items() if count > 1)
    if doubled:
        raise MmstreamError(f"{path}: {what} a column twice: {listed(map(repr, doubled))}{hint}")


def lines_of(file: BinaryIO, size: int | None, most: int) -> Iterator[tuple[bytes, int, bool]]:
    """The next lines of a file.

    Args:
        file: opened in binary.
        size: of all lines together, in bytes; None for the rest of the file.
        most: bytes of a line; a longer line is cut off after these.

    Yields:
        each line with its line end, its size in bytes, and whether it is complete.
    """
    left = size
    count = 0
    while left is None or left > 0:
        count += 1
        if not count % _PROGRESS_LINES:
            progress()
        line = file.readline(most + 1 if left is None else min(left, most + 1))
        if not line:
            return
        taken = len(line)
        whole = line.endswith(b"\n") or taken <= most
        while not whole and (rest := file.readline(1 << 20)):
            progress()
            taken += len(rest)
            if rest.endswith(b"\n"):
                break
        left = None if left is None else left - taken
        yield line, taken, whole
