"""TFRecord: what TensorFlow writes comes back, and damage costs what it must and no more."""

from __future__ import annotations

import gzip
import pickle
import re
import struct

import google_crc32c
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mmstream_io import limits, tfrecord
from mmstream_io.tfrecord import Tfrecord

from mmstream.errors import MmstreamError
from mmstream.interfaces import Row


@pytest.fixture
def read(tmp_path):
    """Write bytes to a file and read them as a job does, split by split."""

    def write_and_read(data: bytes, name: str = "rows.tfrecord", **parameters) -> list[Row]:
        path = tmp_path / name
        path.write_bytes(data)
        return rows_of(str(path), **parameters)

    return write_and_read


def rows_of(path: str, **parameters) -> list[Row]:
    source = Tfrecord(**parameters)
    splits = pickle.loads(pickle.dumps(source.splits(path)))
    rows = [list(source.read(split)) for split in splits]
    assert [split.rows for split in splits] == [len(found) for found in rows]
    return [row for found in rows for row in found]


def comparable(rows: list[Row]) -> list[tuple]:
    return [(row.origin, row.columns, row.raw, str(row.error)) for row in rows]


def masked(data: bytes) -> bytes:
    checksum = google_crc32c.value(data)
    return struct.pack("<I", ((checksum >> 15 | checksum << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def frame(data: bytes) -> bytes:
    length = struct.pack("<Q", len(data))
    return length + masked(length) + data + masked(data)


def example(**features) -> bytes:
    """A serialised `tf.train.Example` of TensorFlow's: its features lists of bytes, of floats or of integers."""
    import tensorflow as tf

    kinds = {
        bytes: lambda v: tf.train.Feature(bytes_list=tf.train.BytesList(value=v)),
        float: lambda v: tf.train.Feature(float_list=tf.train.FloatList(value=v)),
        int: lambda v: tf.train.Feature(int64_list=tf.train.Int64List(value=v)),
    }
    feature = {name: kinds[type(v[0])](v) if v else tf.train.Feature() for name, v in features.items()}
    return tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString()


def written(path, records: list[bytes], compression: str = "") -> str:
    import tensorflow as tf

    with tf.io.TFRecordWriter(str(path), tf.io.TFRecordOptions(compression_type=compression)) as writer:
        for record in records:
            writer.write(record)
    return str(path)


@pytest.mark.parametrize(("name", "compression"), [("rows.tfrecord", ""), ("rows.tfrecords.gz", "GZIP")])
def test_what_tensorflow_writes_comes_back(tmp_path, name, compression):
    records = [
        example(text=["猫".encode()], image=[b"\xff\xd8"], n=[-7], x=[0.5]),
        example(text=[b"a", b"\xff"], n=[1, 2, 2**63 - 1], x=[1.0, -2.0], none=[]),
        example(),
    ]
    assert rows_of(written(tmp_path / name, records, compression)) == [
        Row(f"{name}:1", {"image": b"\xff\xd8", "n": -7, "text": "猫", "x": 0.5}),
        Row(f"{name}:2", {"n": [1, 2, 2**63 - 1], "none": None, "text": ["a", b"\xff"], "x": [1.0, -2.0]}),
        Row(f"{name}:3", {}),
    ]


def test_an_empty_list_of_tensorflow_is_none_and_an_empty_text_is_a_text(read):
    import tensorflow as tf

    features = {"none": tf.train.Feature(bytes_list=tf.train.BytesList()), "text": tf.train.Feature()}
    features["text"].bytes_list.value.append(b"")
    data = tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()
    assert [row.columns for row in read(frame(data))] == [{"none": None, "text": ""}]


def test_lists_are_lists_however_many_values_they_have(read):
    data = b"".join(map(frame, (example(tags=[b"a"], n=[1]), example(tags=[], n=[1]), example(tags=[b"a", b"b"]))))
    rows = read(data, lists=("tags",))
    assert [row.columns for row in rows] == [{"tags": ["a"], "n": 1}, {"tags": [], "n": 1}, {"tags": ["a", "b"]}]


def test_floats_are_the_shortest_decimals_that_stand_for_them(read):
    values = [0.1, 3.3, 1e-45, 16777216.0, 3.4028235e38, -0.0]
    (row,) = read(frame(example(x=values)))
    assert [repr(value) for value in row.columns["x"]] == [repr(value) for value in values]
    assert np.array_equal(np.float32(row.columns["x"]), np.float32(values))


def test_nan_is_none_and_infinity_itself(read):
    (row,) = read(frame(example(x=[float("nan")], y=[float("inf"), float("nan")])))
    assert row.columns == {"x": None, "y": [float("inf"), None]}


def test_a_record_whose_data_are_damaged_costs_no_other(read):
    bad = bytearray(frame(example(text=[b"a" * 2000])))
    bad[500] ^= 1
    rows = read(frame(example(n=[1])) + bytes(bad) + frame(example(n=[2])))
    assert [row.columns for row in rows] == [{"n": 1}, None, {"n": 2}]
    assert [row.origin for row in rows] == [f"rows.tfrecord:{number}" for number in (1, 2, 3)]
    assert str(rows[1].error) == "the checksum of the record does not match"
    assert rows[1].raw == bytes(bad)[12:][:1024]


@pytest.mark.parametrize("data", [b"no example", b'{"a": 1}', b"\x0a\x05ab", b"\x0a\x04\x0a\x02\xff\xff"])
def test_a_record_that_is_no_example_costs_no_other(read, data):
    rows = read(frame(data) + frame(example(n=[2])))
    assert [row.columns for row in rows] == [None, {"n": 2}]
    assert "not a tf.train.Example" in str(rows[0].error)
    assert rows[0].raw == data


def test_a_sequence_example_is_refused_for_half_of_it_would_be_lost(read):
    import tensorflow as tf

    sequence = tf.train.SequenceExample()
    sequence.context.feature["id"].bytes_list.value.append(b"a")
    sequence.feature_lists.feature_list["words"].feature.add().bytes_list.value.append(b"cat")
    (row,) = read(frame(sequence.SerializeToString()))
    assert "holds something other than features" in str(row.error)


def test_a_record_that_is_too_large_costs_no_other(read, monkeypatch):
    small = example(n=[1])
    monkeypatch.setattr(limits, "MAX_ROW_BYTES", len(small))
    rows = read(frame(small) + frame(b"x" * 3_000_000) + frame(small))
    assert [row.columns for row in rows] == [{"n": 1}, None, {"n": 1}]
    assert f"3,000,000 bytes, more than the limit of {len(small)}" in str(rows[1].error)
    assert rows[1].raw == b"x" * 1024


def field(number: int, *data: bytes) -> bytes:
    """A field of a protocol buffer that holds another, or bytes."""
    size, digits = sum(map(len, data)), b""
    while size > 127:
        digits, size = digits + bytes([size & 127 | 128]), size >> 7
    return b"".join([bytes([number << 3 | 2]), digits, bytes([size]), *data])


def of_feature(*data: bytes) -> bytes:
    """An Example of one feature, called n."""
    return field(1, field(1, field(1, b"n"), field(2, *data)))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (of_feature(field(3, field(1, b"\1" * 20_000_000))), "values"),  # eight bytes each in memory, and a pointer
        (of_feature(field(3, b"\x08\1" * 5_000_000)), "values"),
        (of_feature(field(3, field(1) * 5_000_000)), "values"),
        (of_feature(field(2, field(1, bytes(40_000_000)))), "values"),
        (of_feature(field(1, field(1) * 5_000_000)), "values"),
        (of_feature(field(1, field(1, b"\x80")) * 2_000_000), "values"),
        (of_feature(field(1) * 5_000_000), "values"),
        (field(1, field(1, field(2) * 5_000_000)), "values"),
        (field(1) * 5_000_000, "values"),
        (field(1, field(1) * 5_000_000), "features"),
        (field(1, field(1)) * 5_000_000, "features"),
        (field(1, *(field(1, field(1, b"%d" % n)) for n in range(100_000))), "features"),
        (field(1, *(field(1, field(1, b"%d" % n)) for n in range(17_000))), "features"),
    ],
)
def test_a_record_of_too_many_features_or_values_costs_no_other(read, data, message):
    rows = read(frame(example(n=[1])) + frame(data) + frame(example(n=[2])))
    assert [row.columns for row in rows] == [{"n": 1}, None, {"n": 2}]
    assert message in str(rows[1].error)
    assert re.search("more than the limit of|the limit is 16,384", str(rows[1].error))


@pytest.mark.parametrize(
    "features",
    [
        {"image": [b"\xff" * 2_000_000], "tags": [b"a"] * 1000},
        {"n": [2**63 - 1] * 200_000, "x": [0.5] * 300_000},
        {f"column {number}": [b"x" * 200] for number in range(10_000)},
    ],
)
def test_a_large_record_within_the_limits_is_read(read, features):
    (row,) = read(frame(example(**features)))
    assert row.error is None
    assert row.columns.keys() == features.keys()


@pytest.mark.parametrize("length", [1 << 20, 1 << 40, (1 << 64) - 1])
def test_a_length_beyond_the_end_of_the_file_is_one_bad_row(read, length):
    header = struct.pack("<Q", length)
    rows = read(frame(example(n=[1])) + header + masked(header) + b"x" * 100)
    assert [row.columns for row in rows] == [{"n": 1}, None]
    assert str(rows[1].error) == "the file ends within a record"


def test_a_damaged_length_makes_the_rest_of_the_file_one_bad_row(read):
    bad = bytearray(frame(example(n=[2])))
    bad[0] ^= 1
    rows = read(frame(example(n=[1])) + bytes(bad) + frame(example(n=[3])) * 5)
    assert [(row.origin, row.columns) for row in rows] == [("rows.tfrecord:1", {"n": 1}), ("rows.tfrecord:2", None)]
    assert "what follows cannot be read" in str(rows[1].error)
    assert rows[1].raw == bytes(bad)[:12]


def test_wherever_a_file_is_cut_off_what_is_whole_is_read_and_the_rest_is_one_bad_row(read):
    one, two = frame(example(n=[1])), frame(example(n=[2]))
    for length in range(len(one) + len(two)):
        rows = read((one + two)[:length])
        good, rest = divmod(length, len(one))
        assert [row.columns for row in rows] == [{"n": 1}] * good + [None] * bool(rest)
        assert all(str(row.error) == "the file ends within a record" for row in rows[good:])


def test_an_empty_file_gives_no_rows(read):
    assert read(b"") == []


def test_what_is_no_tfrecord_is_one_bad_row(read):
    (row,) = read(b'{"id": 1}\n' * 10)
    assert "no record begins here" in str(row.error)


def test_a_packed_file_that_is_cut_off_is_an_error_that_names_it(tmp_path):
    path = tmp_path / "rows.tfrecord.gz"
    path.write_bytes(gzip.compress(frame(example(n=[1])) * 100)[:-20])
    with pytest.raises(MmstreamError, match=r"cannot read .*rows\.tfrecord\.gz"):
        Tfrecord().splits(str(path))


def test_a_large_file_is_cut_between_records(tmp_path, monkeypatch):
    path = tmp_path / "rows.tfrecord"
    one = frame(example(n=[1]))
    path.write_bytes(one * 100)
    monkeypatch.setattr(tfrecord, "SPLIT_BYTES", len(one) * 10)
    splits = Tfrecord().splits(str(path))
    assert [split.rows for split in splits] == [10] * 10
    assert [split.first for split in splits] == list(range(1, 101, 10))
    assert [split.start for split in splits] == [len(one) * number for number in range(0, 100, 10)]
    packed = tmp_path / "rows.tfrecord.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert [split.rows for split in Tfrecord().splits(str(packed))] == [100]


PIECES = [
    frame(b""),
    frame(b"\x0a\x0d\x0a\x0b\x0a\x01n\x12\x06\x1a\x04\x0a\x02\x07\x08"),
    frame(b"no example"),
    frame(b"x" * 50)[:-1] + b"?",
    frame(b"x" * 300),
    b"\0" * 12,
    b"rest",
]


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    data=st.lists(st.sampled_from(PIECES), max_size=12).map(b"".join),
    split_bytes=st.integers(1, 200),
    name=st.sampled_from(["rows.tfrecord", "rows.tfrecord.gz"]),
)
def test_where_a_file_is_cut_never_changes_its_rows(tmp_path, data, split_bytes, name):
    path = tmp_path / name
    path.write_bytes(gzip.compress(data) if name.endswith("gz") else data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(limits, "MAX_ROW_BYTES", 200)
        whole = comparable(rows_of(str(path)))
        patch.setattr(tfrecord, "SPLIT_BYTES", split_bytes)
        assert comparable(rows_of(str(path))) == whole


def test_all_files_of_a_folder_or_a_pattern_are_read_in_order(tmp_path):
    (tmp_path / "b").mkdir()
    one, two, three = (frame(example(n=[number])) for number in (1, 2, 3))
    (tmp_path / "a.tfrecord").write_bytes(one)
    (tmp_path / "b" / "a.tfrecords.gz").write_bytes(gzip.compress(two))
    (tmp_path / "c.tfrecord-00000-of-00001").write_bytes(three)
    first, shard = Row("a.tfrecord:1", {"n": 1}), Row("c.tfrecord-00000-of-00001:1", {"n": 3})
    assert rows_of(str(tmp_path)) == [first, shard, Row("b/a.tfrecords.gz:1", {"n": 2})]
    assert rows_of(str(tmp_path / "*.tfrecord*")) == [first, shard]
    with pytest.raises(MmstreamError, match="no file matches"):
        Tfrecord().splits(str(tmp_path / "*.records"))


def test_a_file_on_another_filesystem_is_read_through_beam(memory_files, monkeypatch):
    monkeypatch.setattr(tfrecord, "SPLIT_BYTES", 10)
    memory_files["memory://bucket/rows.tfrecord"] = frame(example(n=[1])) + frame(b"bad") + frame(example(n=[2]))
    rows = rows_of("memory://bucket/rows.tfrecord")
    assert [(row.origin, row.columns) for row in rows] == [
        ("rows.tfrecord:1", {"n": 1}),
        ("rows.tfrecord:2", None),
        ("rows.tfrecord:3", {"n": 2}),
    ]
    assert len(Tfrecord().splits("memory://bucket/rows.tfrecord")) == 3
