"""What crosses a shuffle is small, and what is said of a record is the same as if it were whole."""

from __future__ import annotations

import base64
import pickle
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmstream.config.schema import FieldConfig
from mmstream.errors import RecordError
from mmstream.inputs.input import Input, pieces_of, rows_of
from mmstream.inputs.items import first_of_each, item_of, without_media
from mmstream.interfaces import Row
from mmstream.preprocessing.preprocessor import Preprocessor
from mmstream.records.media import Media
from mmstream.records.record import Record, dead_letter, digest_of, strong_digest_of
from mmstream.records.spool import Spooled

SIGNS = ["a", "é", "猫", "😀", "\ud800"]


@given(st.sampled_from(SIGNS), st.sampled_from([1, 16_384, 16_385, 21_846, 32_768, 32_769, 65_536, 65_537, 200_000]))
def test_a_large_text_does_not_travel_and_neither_digest_nor_letter_changes(tmp_path_factory, sign, count):
    record = Record("1", "a.csv:2", {"id": "1", "text": sign * count, "read": sign * count, "n": 5})
    small = without_media(record, {"read": False}, str(tmp_path_factory.mktemp("spool")))
    assert digest_of(small.columns) == digest_of(record.columns)
    assert strong_digest_of(small.columns) == strong_digest_of(record.columns)
    error = RecordError("it is bad", stage="decode")
    letters = [dead_letter(each, error, "digest", "fingerprint").to_json() for each in (small, record)]
    assert letters[0] == letters[1]
    is_large = len((sign * count).encode("utf-8", "surrogatepass")) > 64 * 1024
    assert len(pickle.dumps(small)) < 150_000
    assert isinstance(small.columns["text"], Spooled) == isinstance(small.columns["read"], Spooled) == is_large
    if is_large:
        assert small.columns["read"].text() == sign * count
        assert small.columns["text"].path == ""


@pytest.mark.parametrize("resume", ["values", "metadata", "content"])
@pytest.mark.parametrize("size", [10, 20_000, 150_000])
def test_what_is_preprocessed_is_the_same_wherever_the_text_lies(tmp_path, resume, size):
    fields = {
        "text": FieldConfig(use="text", length=8),
        "image": FieldConfig(use="image", size=[8, 8]),
        "both": FieldConfig(use="text", columns=["text", "more"], length=8),
    }
    preprocessor, media = Preprocessor(fields, resume=resume), Media(str(tmp_path))
    row = Row("a.csv:2", {"id": "1", "text": "cat " * size, "more": "dog " * size, "image": "x" * size})
    whole = item_of(row, Input("csv", {}, "a.csv", "id"), {}, "")
    small = item_of(row, Input("csv", {}, "a.csv", "id"), preprocessor.reads(), str(tmp_path / "spool"))
    record = Record("1", "a.csv:2", row.columns)
    assert isinstance(whole, Record)
    assert preprocessor.digest(small, media) == preprocessor.digest(record, media)
    loaded, expected = preprocessor.load(small, media), preprocessor.load(record, media)
    assert (loaded.digest, str(loaded.error)) == (expected.digest, str(expected.error))
    for each in (loaded, expected):
        each.values["image"] = None
    assert preprocessor.decode(loaded.values) == preprocessor.decode(expected.values)


def test_an_id_that_is_too_large_is_none():
    row = Row("a.csv:2", {"id": "x" * 20_000})
    letter = item_of(row, Input("csv", {}, "a.csv", "id"), {}, "")
    assert letter.message == "the id has 20,000 bytes; the limit is 16,384"


@pytest.mark.parametrize("text", ["", "short", "x" * 1000])
def test_small_texts_stay(text):
    record = Record("1", "a.csv:2", {"text": text})
    assert without_media(record, {}, "") == record


@pytest.mark.parametrize("resume", ["values", "metadata", "content"])
@pytest.mark.parametrize("size", [300, 100_000])
def test_a_picture_that_stands_in_a_row_as_text_is_read_behind_a_shuffle(tmp_path, resume, size):
    preprocessor = Preprocessor({"image": FieldConfig(use="image", column="image", size=[8, 8])}, resume=resume)
    data = b"\x89PNG\r\n\x1a\n" + bytes(size)
    text = base64.b64encode(data).decode()
    for each in (text, f"data:image/png;base64,{text}"):
        record = Record("1", "a.csv:2", {"id": "1", "image": each})
        small = without_media(record, preprocessor.reads(), str(tmp_path / "spool"))
        loaded = preprocessor.load(small, Media(str(tmp_path)))
        assert loaded.error is None
        assert loaded.values["image"] == data
        assert loaded.digest == preprocessor.load(record, Media(str(tmp_path))).digest
        assert len(pickle.dumps(small)) < 100_000


def test_a_letter_does_not_repeat_a_long_value():
    letters = [item_of(Row("a", None, "raw", ValueError("x" * 300_000)), Input("csv", {}, "a.csv"), {}, "")]
    records = [Record("y" * 10_000, origin, {}) for origin in "ab"]
    letters += first_of_each(records)[1]
    assert [len(letter.message) < 600 for letter in letters] == [True, True]


def limited(path, limit):
    job_input = Input("jsonl", {}, str(path), "id", limit=limit)
    pieces = pieces_of(job_input)
    assert sum(piece.rows for piece in pieces) == min(limit, 1000)
    return [row.columns["id"] for row in rows_of(job_input, pieces)]


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 99, 256, 999, 1000, 5000])
def test_a_limit_takes_rows_evenly_from_all_of_the_input(tmp_path, limit):
    for name, count in (("a", 600), ("b", 1), ("c", 399)):
        (tmp_path / f"{name}.jsonl").write_text("".join(f'{{"id": {n + ord(name) * 1000}}}\n' for n in range(count)))
    found = limited(tmp_path, limit)
    assert len(set(found)) == min(limit, 1000)
    assert found == limited(tmp_path, limit)
    of_a = sum(number < 98_000 for number in found)
    assert abs(of_a - 0.6 * min(limit, 1000)) <= 1
    if 7 <= limit < 1000:
        assert max(found) >= 99_000 + 399 - 2 * 1000 // limit
    if limit == 256:
        steps = [later - earlier for earlier, later in pairwise(found) if later < 98_000]
        assert set(steps) == {3, 4}


def test_of_many_rows_a_part_is_looked_through(tmp_path, monkeypatch):
    monkeypatch.setattr("mmstream.inputs.input._LOOKED_THROUGH", 100)
    (tmp_path / "rows.jsonl").write_text("".join(f'{{"id": {n}}}\n' for n in range(1000)))
    assert limited(tmp_path / "rows.jsonl", 10) == list(range(9, 100, 10))
