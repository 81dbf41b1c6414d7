"""Files as strangers may make them: small on the disk, and very much of something once they are read.

Each function is called with a folder and writes the files of one format into it; what one holds is its name.
"""

from __future__ import annotations

import gzip
import io
import struct
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

MIB = 1024 * 1024
_ROW = 60 * MIB
"""Just less than a row may take up."""


def _packed(path: Path, pieces: Iterator[bytes]) -> None:
    with gzip.open(path, "wb", compresslevel=1) as file:
        for piece in pieces:
            file.write(piece)


def _repeat(data: bytes, size: int) -> Iterator[bytes]:
    """Data again and again, of about a size."""
    block = data * max(1, MIB // len(data))
    return (block for _ in range(size // len(block)))


def _around(start: bytes, data: bytes, size: int, end: bytes) -> Iterator[bytes]:
    yield start
    yield from _repeat(data, size)
    yield end


def write_jsonl(folder: Path) -> None:
    """JSON lines, a good one before and behind each that is bad."""
    good = b'{"a": 1}\n'
    for name, start, data, end in (
        ("brackets", b"[", b"[],", b"1]"),
        ("deep", b"", b"[", b""),
        ("objects", b"[", b'{"a":{}},', b"1]"),
        ("numbers", b"[", b"1,", b"1]"),
        ("texts", b"[", b'"",', b"1]"),
        ("digits", b"", b"1", b""),
        ("text", b'"', b"x", b'"'),
        ("emoji", b'"', b"x", '😀"'.encode()),
        ("escaped emoji", b'"', b"x", b'\\ud83d\\ude00"'),
        ("escapes", b'"', b"\\\\", b'"'),
        ("controls", b'"', b"\\u0001", b'"'),
    ):
        _packed(folder / f"{name}.jsonl.gz", _around(good + b'{"a":' + start, data, _ROW, end + b"}\n" + good))
    _packed(
        folder / "keys.jsonl.gz", (good, b"{", *(b'"%d":"%d",' % (n, n) for n in range(3_000_000)), b'"":1}\n', good)
    )
    _packed(folder / "bomb.jsonl.gz", _around(good, b" ", 512 * MIB, b"\n" + good))


def write_csv(folder: Path) -> None:
    """Tables of two columns, a good row before and behind each that is bad."""
    good = b"1,2\n"
    for name, start, data, end in (
        ("delimiters", b"", b",", b""),
        ("cell", b"1,", b"x", b""),
        ("quoted cell", b'1,"', b"x", b'"'),
        ("emoji", b"1,", b"x", "😀".encode()),
        ("quotes", b"1,", b'""', b""),
        ("lines of quotes", b'1,"', b'a","\n', b""),
        ("cells", b"", b"x,", b""),
        ("carriage returns", b"", b"\r", b""),
    ):
        size = 4 * MIB if name == "lines of quotes" else _ROW
        _packed(folder / f"{name}.csv.gz", _around(b"a,b\n" + good + start, data, size, end + b"\n" + good))
    _packed(folder / "bomb.csv.gz", _around(b"a,b\n" + good, b"x", 512 * MIB, b"\n" + good))
    _packed(folder / "header.csv.gz", _around(b"", b"a,", _ROW, b"\n" + good))


def write_tfrecord(folder: Path) -> None:
    """Records, a good one before and behind each that is bad."""
    good = _frame(_feature(1, _field(1, b"x")))
    size = _ROW
    for name, data in (
        ("packed integers", _feature(3, _field(1, b"\1" * size))),
        ("integers", _feature(3, b"\x08\1" * (size // 2))),
        ("floats", _feature(2, _field(1, bytes(size)))),
        ("empty features", _field(1, b"\x0a\0" * (size // 2))),
        ("empty texts", _feature(1, b"\x0a\0" * (size // 2))),
        ("empty examples", b"\x0a\0" * (size // 2)),
        ("text", _feature(1, _field(1, b"x" * size))),
        ("emoji", _feature(1, _field(1, b"x" * size + "😀".encode()))),
        ("groups", b"\x0b" * 1000 + b"\x0a\0" * MIB),
    ):
        with gzip.open(folder / f"{name}.tfrecord.gz", "wb", compresslevel=1) as file:
            file.write(good + _frame(data) + good)
    header = struct.pack("<Q", 512 * MIB)
    _packed(folder / "bomb.tfrecord.gz", _around(good + header + _masked(header), b"x", 512 * MIB, b"1234" + good))


def write_webdataset(folder: Path) -> None:
    """Archives, a good record before and behind each that is bad."""
    for name, write in {
        "long name": lambda file: _extended(file, tarfile.GNUTYPE_LONGNAME, b"x"),
        "long link": lambda file: _extended(file, tarfile.GNUTYPE_LONGLINK, b"x"),
        "pax": lambda file: _extended(file, tarfile.XHDTYPE, b"x"),
        "pax keys": lambda file: _extended(file, tarfile.XHDTYPE, b"6 a=b\n"),
        "global": lambda file: _extended(file, tarfile.XGLTYPE, b"6 a=b\n"),
        "members": _write_members,
        "many members": _write_many_members,
        "chain": _write_chain,
        "brackets": lambda file: _member(file, "2.json", _around(b"[", b"[],", _ROW, b"1]")),
        "emoji": lambda file: _member(file, "2.txt", _around(b"", b"x", _ROW, "😀".encode())),
        "large member": lambda file: _member(file, "2.bin", _repeat(b"x", 512 * MIB)),
    }.items():
        with gzip.open(folder / f"{name}.tar.gz", "wb", compresslevel=1) as file:
            _member(file, "1.txt", iter([b"1"]))
            write(file)
            _member(file, "2.cls", iter([b"2"]))
            _member(file, "3.txt", iter([b"3"]))
            file.write(bytes(1024))


def write_parquet(folder: Path) -> None:
    """Tables of a row group that is bad."""
    import numpy as np
    import pyarrow
    import pyarrow.parquet

    def same(value: str | bytes, count: int) -> pyarrow.Array:
        return pyarrow.DictionaryArray.from_arrays(pyarrow.array([0] * count, pyarrow.int32()), pyarrow.array([value]))

    def lists(length: int, values: pyarrow.Array) -> pyarrow.Array:
        return pyarrow.ListArray.from_arrays([0, 1, length - 1, length], values)

    def write(name: str, columns: dict[str, pyarrow.Array], **options: object) -> None:
        options = {"compression": "zstd", "store_schema": "stored" in name, **options}
        pyarrow.parquet.write_table(pyarrow.table(columns), folder / f"{name}.parquet", **options)

    large, plain = "x" * 15_000_000, {"use_dictionary": False}
    prefixes = pyarrow.array(["y" * 5_000_000 + str(number) for number in range(40)])
    write("dictionary", {"t": same(large, 200)})
    write("stored dictionary", {"t": same(large, 200)})
    write("dictionary of bytes", {"t": same(b"\xff" * 15_000_000, 200)})
    write("dictionaries", {f"t{number}": same(large, 100) for number in range(10)})
    write("many dictionaries", {f"t{number}": same("v" * 3_000_000, 64) for number in range(30)})
    write("prefixes", {"t": prefixes}, **plain, column_encoding={"t": "DELTA_BYTE_ARRAY"})
    write("lengths", {"t": prefixes}, **plain, column_encoding={"t": "DELTA_LENGTH_BYTE_ARRAY"})
    write("long texts", {"t": pyarrow.array(["y" * 60_000_000] * 8)}, **plain, write_batch_size=1)
    write("page", {"t": pyarrow.array(["y" * 60_000_000] * 8)}, **plain)
    write("too long text", {"t": pyarrow.array(["y" * 200_000_000])}, **plain, compression="gzip")
    write("emoji", {"t": pyarrow.array(["y" * 60_000_000 + "😀"])})
    write("repeated value", {"t": lists(2_000, same("x" * MIB, 2_000))})
    write("stored list", {"t": lists(5_000, same(large, 5_000))})
    write("repeated number", {"t": lists(40_000_000, pyarrow.array(np.zeros(40_000_000, np.int64)))})
    write("numbers", {"t": lists(12_000_000, pyarrow.array(np.zeros(12_000_000, np.int64)))})
    write("nulls", {"t": lists(40_000_000, pyarrow.nulls(40_000_000))})
    write("fixed", {"t": pyarrow.array([b"z" * 50_000_000] * 6, pyarrow.binary(50_000_000))})
    write("structs", {"t": pyarrow.StructArray.from_arrays([same(large, 40), same(large, 40)], ["a", "b"])})
    write("columns", {f"c{number}": pyarrow.array([number]) for number in range(20_000)})


WRITERS: dict[str, Callable[[Path], None]] = {
    "jsonl": write_jsonl,
    "csv": write_csv,
    "tfrecord": write_tfrecord,
    "webdataset": write_webdataset,
    "parquet": write_parquet,
}
"""By the name of the source that reads the files."""


def write_good(name: str, folder: Path) -> None:
    """Write a small file that a source reads, and nothing is wrong with."""
    if name == "jsonl":
        (folder / "good.jsonl").write_bytes(b'{"a": 1}\n')
    elif name == "csv":
        (folder / "good.csv").write_bytes(b"a,b\n1,2\n")
    elif name == "tfrecord":
        (folder / "good.tfrecord").write_bytes(_frame(_feature(1, _field(1, b"x"))))
    elif name == "webdataset":
        with (folder / "good.tar").open("wb") as file:
            _member(file, "1.txt", iter([b"1"]))
            file.write(bytes(1024))
    else:
        import pyarrow
        import pyarrow.parquet

        pyarrow.parquet.write_table(pyarrow.table({"a": ["x"]}), folder / "good.parquet")


def _field(number: int, data: bytes) -> bytes:
    size, digits = len(data), b""
    while size > 127:
        digits, size = digits + bytes([size & 127 | 128]), size >> 7
    return b"".join([bytes([number << 3 | 2]), digits, bytes([size]), data])


def _feature(kind: int, values: bytes) -> bytes:
    """An Example of one feature, called n."""
    return _field(1, _field(1, _field(1, b"n") + _field(2, _field(kind, values))))


def _masked(data: bytes) -> bytes:
    import google_crc32c

    checksum = google_crc32c.value(data)
    return struct.pack("<I", ((checksum >> 15 | checksum << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def _frame(data: bytes) -> bytes:
    length = struct.pack("<Q", len(data))
    return b"".join([length, _masked(length), data, _masked(data)])


def _member(file: BinaryIO, name: str, pieces: Iterator[bytes], kind: bytes = tarfile.REGTYPE) -> None:
    """Write a member of an archive; its size is found out first, so that nothing is kept."""
    spooled = io.BytesIO()
    with gzip.open(spooled, "wb", compresslevel=1) as packed:
        size = sum(packed.write(piece) for piece in pieces)
    about = tarfile.TarInfo(name)
    about.type, about.size = kind, size
    file.write(about.tobuf(tarfile.GNU_FORMAT))
    spooled.seek(0)
    with gzip.open(spooled) as packed:
        while piece := packed.read(MIB):
            file.write(piece)
    file.write(bytes(-size % 512))


def _extended(file: BinaryIO, kind: bytes, data: bytes) -> None:
    _member(file, "././@LongLink", _repeat(data, 256 * MIB), kind)


def _write_members(file: BinaryIO) -> None:
    for number in range(8):
        _member(file, f"2.{number}.bin", _repeat(b"x", _ROW))


def _write_many_members(file: BinaryIO) -> None:
    for number in range(100_000):
        about = tarfile.TarInfo(f"2.{number}")
        file.write(about.tobuf(tarfile.GNU_FORMAT))


def _write_chain(file: BinaryIO) -> None:
    about = tarfile.TarInfo("././@LongLink")
    about.type, about.size = tarfile.GNUTYPE_LONGNAME, 512
    for _ in range(100_000):
        file.write(about.tobuf(tarfile.GNU_FORMAT) + b"y" * 511 + b"\0")
