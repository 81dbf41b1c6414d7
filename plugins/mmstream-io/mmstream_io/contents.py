"""Recognise by its first bytes a file that is named like a CSV table but is of another kind."""

from __future__ import annotations

from mmstream.errors import MmstreamError

_RENAME = "rename it to end in {0}, or set `use: {1}` in `source`"
_EXPORT = "export it as CSV"
_UNPACK = "unpack it"
_KINDS = (
    (b"PAR1", "Parquet", _RENAME.format(".parquet", "parquet")),
    (b"PK\x03\x04", "a zip archive, such as Excel's .xlsx", "export the table as CSV, or unpack the archive"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an Excel workbook (.xls)", _EXPORT),
    (b"\x1f\x8b", "gzip", "rename it to end in .gz"),
    (b"\xfd7zXZ\x00", "xz", _UNPACK),
    (b"\x28\xb5\x2f\xfd", "Zstandard", _UNPACK),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", _UNPACK),
    (b"Rar!\x1a\x07", "a RAR archive", _UNPACK),
    (b"ARROW1\x00\x00", "Arrow (Feather)", "write it as Parquet"),
    (b"Obj\x01", "Avro", "write it as Parquet"),
    (b"\x89HDF\r\n", "HDF5", _EXPORT),
    (b"SQLite format 3\x00", "an SQLite database", _EXPORT),
    (b"%PDF-", "PDF", _EXPORT),
    (b"\x89PNG\r\n", "a PNG picture", "the source image_folder reads folders of pictures"),
    (b"\xff\xd8\xff", "a JPEG picture", "the source image_folder reads folders of pictures"),
    (b"<!DOCTYPE html", "a web page, perhaps a server's error page", "download it again"),
)
LONGEST = max(len(begin) for begin, *_ in _KINDS)
"""How many first bytes are enough to tell."""


def check_is_csv(path: str, first: bytes) -> None:
    """Check that a file does not begin like one of another kind.

    Args:
        path: of the file.
        first: its first bytes.

    Raises:
        MmstreamError: it begins like one of another kind.
    """
    for begin, kind, remedy in _KINDS:
        if first[: len(begin)].lower() == begin.lower():
            raise MmstreamError(f"{path} is not CSV but {kind}; {remedy}")
