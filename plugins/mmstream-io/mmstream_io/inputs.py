"""What sources and sinks share: finding the files of an input, opening them, and values as other formats hold them."""

from __future__ import annotations

import codecs
import contextlib
import gzip
import json
import math
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, BinaryIO, NamedTuple, TypeVar, cast

from mmstream import files
from mmstream.alive import progress
from mmstream.errors import MmstreamError, describe, listed
from mmstream.interfaces import LabelType

Item = TypeVar("Item")
PICTURES = (
    *("jpg", "jpeg", "jpe", "jfif", "png", "apng", "gif", "webp", "avif", "avifs", "bmp", "dib", "tif", "tiff"),
    *("jp2", "j2k", "jpx", "icns", "ico", "pbm", "pgm", "ppm", "pnm", "pfm", "pcx", "qoi", "sgi", "tga", "xbm"),
)
"""Suffixes of files that hold pictures."""
# What a row may be. Reading one takes at most MAX_ROW_BYTES and 256 MiB more of memory, whatever stands in a file.
MAX_ROW_BYTES = 64 * 1024 * 1024
"""A row larger than this is refused before it is read whole."""
MAX_TEXT_BYTES = 96 * 1024 * 1024
"""A text that takes up more memory than this is refused: a character takes 1, 2 or 4 bytes, as the widest one needs."""
MAX_COLUMNS = 16_384
"""A table, a row or a JSON object of more columns is refused; so is a record of more features or members."""
MAX_VALUES = 1 << 20
"""A row of more values, those in its lists and objects counted, is refused before they are made."""
RAW_BYTES = 1024
"""So much of a row that cannot be read is kept to show what was found."""
_PROGRESS_LINES = 1024
_CONTINUATION = bytes(range(0x80, 0xC0))
_WIDTHS = ((4, bytes(range(0xF0))), (2, bytes(range(0xC4))), (1, b""))
"""Bytes a character takes in a text, and the bytes that stand in narrower ones alone, in UTF-8."""
_NARROW = ("ascii", "iso8859-1")
_ATOMS = (str, int, type(None), bool)
_QUOTE, _ESCAPE = '"', "\\"


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
            for name in signalled(files.list_files(path))
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
            yield cast(BinaryIO, gzip.GzipFile(fileobj=_Signalling(file))) if _is_packed(path) else file
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


class _Signalling:
    """A packed file: each read of it is a sign of life, however much comes out of what was read.

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
    return files.has_suffix(path, (".gz", ".tgz"))


def signalled(items: Iterable[Item]) -> Iterator[Item]:
    """Items of a long listing, each a sign of life."""
    for item in items:
        progress()
        yield item


def check_names(path: str, names: Sequence[str], what: str) -> None:
    """The columns of a table are not too many, and each of them has a name of its own.

    Args:
        path: of the file.
        names: of its columns.
        what: of the file names them, as a message goes on: "the first line names".

    Raises:
        MmstreamError: they are, or two have the same.
    """
    if len(names) > MAX_COLUMNS:
        raise MmstreamError(f"{path}: {what} {len(names):,} columns; at most {MAX_COLUMNS:,} are read")
    doubled = sorted(name for name, count in Counter(names).items() if count > 1)
    if doubled:
        raise MmstreamError(f"{path}: {what} a column twice: {listed(map(repr, doubled))}")


def text_of(data: bytes, encoding: str = "utf-8") -> str:
    """The text that bytes say.

    Raises:
        ValueError: they are not of the encoding, or the text would take up too much memory.
    """
    if 4 * len(data) > MAX_TEXT_BYTES:
        size = _text_bytes(data, codecs.lookup(encoding).name)
        if size > MAX_TEXT_BYTES:
            raise ValueError(
                f"the text of {len(data):,} bytes takes up {size:,} bytes of memory; at most {MAX_TEXT_BYTES:,} are "
                "read"
            )
    return data.decode(encoding)


def _text_bytes(data: bytes, encoding: str) -> int:
    """How much memory a text takes up, at most."""
    if encoding in _NARROW:
        return len(data)
    if not encoding.startswith("utf-8"):
        return 4 * len(data)
    width = next(width for width, narrower in _WIDTHS if width == 1 or data.translate(None, narrower))
    return width * len(data.translate(None, _CONTINUATION))


def text_or_bytes(value: bytes) -> str | bytes:
    """Text where the bytes are valid UTF-8, as formats have it that know bytes only; media never are.

    Raises:
        ValueError: the text would take up too much memory.
    """
    try:
        return text_of(value)
    except UnicodeDecodeError:
        return value


def parse_json(text: str) -> Any:
    """The value that a JSON text says.

    Raises:
        ValueError: it is not JSON, is nested too deeply, holds too many values, or says a key twice or NaN, which JSON
            does not have.
    """
    _check_json(text)
    try:
        return _JSON.decode(text)
    except RecursionError as error:
        raise ValueError("the JSON is nested too deeply") from error


def _check_json(text: str) -> None:
    """What a JSON text says fits in memory, as far as that can be told by counting signs.

    Raises:
        ValueError: it does not.
    """
    if len(text) > MAX_VALUES and _signs(text) > MAX_VALUES:
        count = _signs_outside_texts(text)
        if count > MAX_VALUES:
            raise ValueError(f"the JSON holds {count:,} values or more; at most {MAX_VALUES:,} are read")
    if 4 * len(text) > MAX_TEXT_BYTES and (escapes := text.count("\\u")):
        width = 4 if "\\ud" in text or "\\uD" in text or not text.isascii() else 2
        size = width * (len(text) - 5 * escapes)
        if size > MAX_TEXT_BYTES:
            raise ValueError(f"the JSON's texts take up {size:,} bytes of memory; at most {MAX_TEXT_BYTES:,} are read")


def _signs(text: str) -> int:
    """How many values and names of values the brackets, commas and colons in a text can stand for."""
    return sum(map(text.count, ",:[{"))


def _signs_outside_texts(text: str) -> int:
    """The same, without those that stand in texts of the JSON."""
    if text.count(_QUOTE) > 2 * MAX_VALUES + 2:
        return text.count(_QUOTE) // 2  # as many texts, and each is a value or its name
    bare = text.replace(_ESCAPE * 2, "").replace(_ESCAPE + _QUOTE, "")
    return sum(map(_signs, bare.split(_QUOTE)[::2]))


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


def plain(value: Any) -> Any:
    """A value of a typed table as other formats hold it: no NaN, and text for what only that table knows.

    A number that is not there is NaN in many tables; dates and decimals become their ISO or decimal text.
    """
    kind = type(value)
    if kind in _ATOMS:  # in most cases
        return value
    if kind is float:
        return None if value != value else value
    if isinstance(value, bytes):
        return text_or_bytes(value)
    if isinstance(value, _ATOMS):  # a class of those that some library made
        return value
    if isinstance(value, float):
        return None if value != value else value
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
    if len(pairs) > MAX_COLUMNS:
        raise ValueError(f"a JSON object has {len(pairs):,} keys; at most {MAX_COLUMNS:,} are read")
    columns = dict(pairs)
    if len(columns) < len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise ValueError(f"the key {key[:80]!r} stands twice")
            seen.add(key)
    return columns


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


_JSON = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_refuse_constant)
