"""What crosses a shuffle is small, and what is said of a record is the same as if it were whole."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmstream.errors import RecordError
from mmstream.interfaces import Row
from mmstream.labelling import dead_letter
from mmstream.records import Large, Record, digest_of, strong_digest_of
from mmstream.stages.reading import Input, item_of, without_media

SIGNS = ["a", "é", "猫", "😀", "\ud800"]


@given(st.sampled_from(SIGNS), st.sampled_from([1, 16_384, 16_385, 21_846, 32_768, 32_769, 65_536, 65_537, 200_000]))
def test_a_large_text_that_nobody_reads_is_left_out_and_neither_digest_nor_letter_changes(sign, count):
    record = Record("1", "a.csv:2", {"id": "1", "text": sign * count, "read": sign * count, "n": 5})
    small = without_media(record, {"read": False}, "")
    assert digest_of(small.columns) == digest_of(record.columns)
    assert strong_digest_of(small.columns) == strong_digest_of(record.columns)
    error = RecordError("it is bad", stage="decode")
    letters = [dead_letter(each, error, "digest", "fingerprint").to_json() for each in (small, record)]
    assert letters[0] == letters[1]
    assert small.columns["read"] == record.columns["read"]
    is_large = len((sign * count).encode("utf-8", "surrogatepass")) > 64 * 1024
    assert isinstance(small.columns["text"], Large) == is_large


def test_a_text_that_somebody_reads_stays_however_large_it_is():
    row = Row("a.csv:2", {"id": "1", "text": "x" * 1_000_000, "other": "y" * 1_000_000})
    found = item_of(row, Input("csv", {}, "a.csv", "id"), {"text": False}, "")
    assert found.columns["text"] == "x" * 1_000_000
    assert found.columns["other"] == Large(digest_of_text("y" * 1_000_000), 1_000_000)


def digest_of_text(text: str) -> str:
    import hashlib

    return hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.parametrize("text", ["", "short", "x" * 1000])
def test_small_texts_stay(text):
    record = Record("1", "a.csv:2", {"text": text})
    assert without_media(record, {}, "") == record
