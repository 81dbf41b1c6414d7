"""The sources and sinks keep their contracts."""

from __future__ import annotations

import io
import struct
import tarfile

import google_crc32c
import pyarrow
import pyarrow.parquet

from mmstream.testing import SinkContract, SourceContract

PNG = b"\x89PNG, or so it begins"


def table_with_a_damaged_group(rows: list[dict], group: int) -> bytes:
    """A Parquet file with two rows in a group; the first column of one group is overwritten."""
    out = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), out, row_group_size=2)
    column = pyarrow.parquet.ParquetFile(out).metadata.row_group(group).column(0)
    start = column.dictionary_page_offset or column.data_page_offset
    data = bytearray(out.getvalue())
    data[start : start + column.total_compressed_size] = b"\xff" * column.total_compressed_size
    return bytes(data)


def archive(members: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, data in members.items():
            about = tarfile.TarInfo(name)
            about.size = len(data)
            tar.addfile(about, io.BytesIO(data))
    return out.getvalue()


def frame(data: bytes, *, error: int = 0) -> bytes:
    """A record of a TFRecord file, the checksum of its data wrong by so much."""

    def masked(part: bytes) -> int:
        checksum = google_crc32c.value(part)
        return ((checksum >> 15 | checksum << 17) + 0xA282EAD8) & 0xFFFFFFFF

    length = struct.pack("<Q", len(data))
    return length + struct.pack("<I", masked(length)) + data + struct.pack("<I", masked(data) ^ error)


def message(number: int, data: bytes) -> bytes:
    """A field of a protocol buffer that holds another, or bytes."""
    return bytes([number << 3 | 2, len(data)]) + data


def example(name: bytes, *values: bytes) -> bytes:
    """A `tf.train.Example` of one feature."""
    feature = message(1, b"".join(message(1, value) for value in values))
    return message(1, message(1, message(1, name) + message(2, feature)))


class TestJsonl(SourceContract):
    name = "jsonl"
    files = {
        "manifest.jsonl": b'\xef\xbb\xbf{"id": "a", "text": "caf\xc3\xa9"}\r\n'
        b"\n"
        b'{"id": "b"\n'
        b'{"id": "\xff"}\n'
        b"[1, 2]\n"
        b'{"id": "c", "id": "d"}\n'
        b'{"id": 5, "tags": ["x", null]}'
    }
    path = "manifest.jsonl"
    rows = {
        "manifest.jsonl:1": {"id": "a", "text": "café"},
        "manifest.jsonl:3": None,
        "manifest.jsonl:4": None,
        "manifest.jsonl:5": None,
        "manifest.jsonl:6": None,
        "manifest.jsonl:7": {"id": 5, "tags": ["x", None]},
    }
    cuts = {"SPLIT_BYTES": 20}


class TestCsv(SourceContract):
    name = "csv"
    parameters = {"delimiter": ";", "encoding": "utf-8", "names": ["id", "text"]}
    files = {
        "a.csv": b"\xef\xbb\xbfa;caf\xc3\xa9\r\n"
        b"\n"
        b'b;"two\nlines; ""quoted"""\n'
        b'c;"never closed\n'
        b"d;\n"
        b"e;\xff\n"
        b"f\n"
        b'g;"x"y\n'
        b"h;last",
        "deep/b.csv": b"i;another\n",
    }
    path = ""
    rows = {
        "a.csv:1": {"id": "a", "text": "café"},
        "a.csv:3": {"id": "b", "text": 'two\nlines; "quoted"'},
        "a.csv:5": None,
        "a.csv:6": {"id": "d", "text": None},
        "a.csv:7": None,
        "a.csv:8": None,
        "a.csv:9": None,
        "a.csv:10": {"id": "h", "text": "last"},
        "deep/b.csv:1": {"id": "i", "text": "another"},
    }
    cuts = {"SPLIT_BYTES": 10}


class TestParquetSource(SourceContract):
    name = "parquet"
    files = {
        "rows.parquet": table_with_a_damaged_group(
            [{"id": f"id {number}", "n": [None, float("nan"), 0.5, 1.0, 2.0][number]} for number in range(5)], 1
        )
    }
    path = "rows.parquet"
    rows = {
        "rows.parquet:1": {"id": "id 0", "n": None},
        "rows.parquet:2": {"id": "id 1", "n": None},
        "rows.parquet:3": None,
        "rows.parquet:4": None,
        "rows.parquet:5": {"id": "id 4", "n": 2.0},
    }
    cuts = {"SPLIT_ROWS": 2}


class TestTfrecord(SourceContract):
    name = "tfrecord"
    parameters = {"lists": ["tags"]}
    files = {
        "rows.tfrecord": frame(example(b"tags", b"one"))
        + frame(example(b"id", b"a"), error=1)
        + frame(b"no example")
        + frame(example(b"id", b"b", b"c"))
        + frame(example(b"image", b"\xff\xfe"))
        + b"\xff" * 40
    }
    path = "rows.tfrecord"
    rows = {
        "rows.tfrecord:1": {"tags": ["one"]},
        "rows.tfrecord:2": None,
        "rows.tfrecord:3": None,
        "rows.tfrecord:4": {"id": ["b", "c"]},
        "rows.tfrecord:5": {"image": b"\xff\xfe"},
        "rows.tfrecord:6": None,
    }
    cuts = {"SPLIT_BYTES": 60}


class TestWebdataset(SourceContract):
    name = "webdataset"
    files = {
        "shard.tar": archive(
            {
                "a/1.png": PNG,
                "a/1.json": b'{"id": 1}',
                "a/2.txt": b"\xff",
                "a/3.txt": b"three",
                "a/3.json": b"{",
                "a/4.cls": b"cat",
            }
        ).rstrip(b"\0")
        + bytes(509)
        + b"damaged" * 100
    }
    path = "shard.tar"
    rows = {
        "shard.tar/a/1": {"__key__": "a/1", "image": PNG, "id": 1},
        "shard.tar/a/2": None,
        "shard.tar/a/3": None,
        "shard.tar/a/4": {"__key__": "a/4", "category": "cat"},
        "shard.tar/record 5": None,
    }
    cuts = {"SPLIT_BYTES": 1}


class TestImageFolder(SourceContract):
    name = "image_folder"
    files = {
        "cats/1.png": b"",
        "cats/2.PNG": b"",
        "cats/old/3.jpg": b"",
        "cats/notes.txt": b"",
        "dogs/1.jpeg": b"",
        ".hidden/1.png": b"",
        "top.webp": b"",
    }
    path = ""
    rows = {
        "top.webp": {"image": "top.webp", "category": None},
        "cats/1.png": {"image": "cats/1.png", "category": "cats"},
        "cats/2.PNG": {"image": "cats/2.PNG", "category": "cats"},
        "cats/old/3.jpg": {"image": "cats/old/3.jpg", "category": "cats", "category_2": "old"},
        "dogs/1.jpeg": {"image": "dogs/1.jpeg", "category": "dogs"},
    }
    cuts = {"SPLIT_ROWS": 2}


class TestParquetSink(SinkContract):
    name = "parquet"


class TestCsvSink(SinkContract):
    name = "csv"


class TestJsonlSink(SinkContract):
    name = "jsonl"
