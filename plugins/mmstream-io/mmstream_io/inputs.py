"""What sources and sinks share: finding the files of an input, opening them, and values as other formats hold them."""

from __future__ import annotations

import contextlib
import gzip
import json
import math
import zlib
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO, NamedTuple, cast

from mmstream import files
from mmstream.errors import MmstreamError, describe
from mmstream.interfaces import LabelType

PICTURES = (
    *("jpg", "jpeg", "jpe", "jfif", "png", "apng", "gif", "webp", "avif", "avifs", "bmp", "dib", "tif", "tiff"),
    *("jp2", "j2k", "jpx", "icns", "ico", "pbm", "pgm", "ppm", "pnm", "pfm", "pcx", "qoi", "sgi", "tga", "xbm"),
)
"""Suffixes of files that hold pictures."""
MAX_ROW_BYTES = 64 * 1024 * 1024
"""A row larger than this is refused before it is read whole."""
RAW_BYTES = 1024
"""So much of a row that cannot be read is kept to show what was found."""


class InputFile(NamedTuple):
    """A file of an input.

    Attributes:
        path: where it lies.
        origin: its path below the input, valid UTF-8 even where the name is not.
    """

    path: str
    origin: str


def find(path: str, suffixes: Sequence[str], use: str) -> list[InputFile]:
    """The files of an input, in a fixed order: a file itself, those of a folder by their suffix, those of a pattern.

    Raises:
        MmstreamError: there are none.
    """
    if files.is_pattern(path):
        below = files.base(path).rstrip("/") + "/"
        found = [InputFile(match, match.removeprefix(below)) for match in files.match(path)]
        if not found:
            raise MmstreamError(f"no file matches {path}")
    elif files.is_folder(path):
        found = [
            InputFile(files.join(path, name), name)
            for name in files.list_files(path)
            if files.has_suffix(name, tuple(suffixes))
        ]
        if not found:
            raise MmstreamError(
                f"no file that the source {use!r} reads lies in {path} (by suffix: {' '.join(suffixes)})"
            )
    elif files.exists(path):
        found = [InputFile(path, files.name(path))]
    else:
        raise MmstreamError(f"there is no {path}")
    return [file._replace(origin=file.origin.encode("utf-8", "backslashreplace").decode()) for file in found]


@contextlib.contextmanager
def open_file(path: str) -> Iterator[BinaryIO]:
    """Open for reading in binary, decompressed where the name ends in .gz or .tgz.

    Raises:
        MmstreamError: it cannot be opened, or the file ends or breaks where it should not.
    """
    try:
        with files.open_read(path) as file:
            yield cast(BinaryIO, gzip.GzipFile(fileobj=file)) if _is_packed(path) else file
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or describe(error)
        raise MmstreamError(f"cannot read {path}: {reason}") from error


def piece_bytes(path: str, size: int) -> float:
    """How large a piece of a file is to be: all of it where it is gzipped, as that can be read from its start only.

    Args:
        path: of the file.
        size: of a piece otherwise.
    """
    return math.inf if _is_packed(path) else size


def _is_packed(path: str) -> bool:
    return files.has_suffix(path, (".gz", ".tgz"))


def text_or_bytes(value: bytes) -> str | bytes:
    """Text where the bytes are valid UTF-8, as formats have it that know bytes only; media never are."""
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value


def parse_json(text: str) -> Any:
    """The value that a JSON text says.

    Raises:
        ValueError: it is not JSON, is nested too deeply, or says a key twice or NaN, which JSON does not have.
    """
    try:
        return _JSON.decode(text)
    except RecursionError as error:
        raise ValueError("the JSON is nested too deeply") from error


def lines_of(file: BinaryIO, size: int | None, most: int) -> Iterator[tuple[bytes, int, bool]]:
    """The next lines of a file.

    Args:
        file: opened in binary.
        size: so many bytes belong to them; None for all.
        most: of a longer line only so many bytes are given.

    Yields:
        a line with its end, how many bytes it takes up, and whether it is whole.
    """
    left = size
    while left is None or left > 0:
        line = file.readline(most + 1 if left is None else min(left, most + 1))
        if not line:
            return
        taken = len(line)
        whole = line.endswith(b"\n") or taken <= most
        while not whole and (rest := file.readline(1 << 20)):
            taken += len(rest)
            if rest.endswith(b"\n"):
                break
        left = None if left is None else left - taken
        yield line, taken, whole


def plain(value: Any) -> Any:
    """A value of a typed table as other formats hold it: no NaN, and text for what only that table knows.

    A number that is not there is NaN in many tables; dates and decimals become their ISO or decimal text.
    """
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return None if value != value else value
    if isinstance(value, bytes):
        return text_or_bytes(value)
    if isinstance(value, dict):
        if value.keys() == {"bytes", "path"}:  # an image or a sound of Hugging Face's `datasets`
            return value["path"] if value["bytes"] is None else value["bytes"]
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def label(value: Any, kind: LabelType) -> Any:
    """A value of a label row as text formats write it: equal numbers equally, whatever their type."""
    if value is None or kind not in ("number", "numbers"):
        return value
    return float(value) if kind == "number" else [float(item) for item in value]


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    columns = dict(pairs)
    if len(columns) < len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise ValueError(f"the key {key!r:.80} stands twice")
            seen.add(key)
    return columns


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


_JSON = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_refuse_constant)
