"""What crosses a shuffle is small, and what is said of a record is the same as if it were whole."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmstream.config import FieldConfig
from mmstream.errors import RecordError
from mmstream.interfaces import Row
from mmstream.labelling import dead_letter
from mmstream.media import Media
from mmstream.preprocessing import Preprocessor
from mmstream.records import Record, digest_of, strong_digest_of
from mmstream.spool import Spooled
from mmstream.stages.reading import Input, item_of, without_media

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
    assert letter.message == "the id has 20,000 bytes; at most 16,384 are read"


@pytest.mark.parametrize("text", ["", "short", "x" * 1000])
def test_small_texts_stay(text):
    record = Record("1", "a.csv:2", {"text": text})
    assert without_media(record, {}, "") == record
