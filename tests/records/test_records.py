"""Records have digests and splits that never change, and dead letters that can always be written and read back."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmstream.records import spool
from mmstream.records.record import (
    DeadLetter,
    digest_of,
    digest_of_bytes,
    from_printable,
    hash_fraction,
    origin_key,
    printable,
    split_named,
    split_of,
)

ANY_TEXT = st.text(st.characters() | st.characters(categories=["Cs"]))  # half surrogate pairs, as in names of files
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.binary() | ANY_TEXT
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner) | st.dictionaries(ANY_TEXT | st.integers(), inner), max_leaves=10
)


def nested(depth):
    value = 1
    for level in range(depth):
        value = [value] if level % 2 else {"a": value}
    return value


def letter(**changed):
    about = {
        "id": "a",
        "origin": "m.jsonl:3",
        "stage": "decode",
        "field": "image",
        "component": "field:image",
        "error": "ValueError",
        "message": "not an image",
        "row": {"id": "a"},
        "digest": "d" * 32,
    }
    return DeadLetter(**{**about, **changed})


@given(VALUES)
def test_whatever_a_row_holds_it_can_be_printed_as_json_and_has_a_digest(value):
    line = json.dumps(printable(value), ensure_ascii=False, allow_nan=False).encode("utf-8")
    assert json.loads(line) == printable(value)
    assert printable(from_printable(json.loads(line))) == printable(value)
    assert len(digest_of(value)) == 32


@given(st.dictionaries(st.text(), SCALARS))
def test_a_digest_does_not_depend_on_the_order_of_columns(row):
    assert digest_of(dict(reversed(row.items()))) == digest_of(row)


def test_a_digest_tells_values_and_media_apart():
    different = [
        digest_of({"a": 1}),
        digest_of({"a": "1"}),
        digest_of({"a": True}),
        digest_of({"a": None}),
        digest_of({}),
        digest_of({"a": [1]}),
        digest_of_bytes(b"x"),
        digest_of_bytes(b""),
    ]
    assert len(set(different)) == len(different)


def test_a_digest_stays_the_same_from_release_to_release():
    row = {"id": "é", "n": 1.5, "tags": ["a", None], "b": b"\xff"}
    assert digest_of(row) == "346c1f58f3a09f96194c0f9b2a32b159"
    assert digest_of_bytes(b"media") == "30b75d6c88ba65e633b37a8ffc0508cb"


def test_a_row_nested_however_deeply_has_a_digest_of_all_that_it_holds():
    for depth in (30, 200, 900):
        assert digest_of(nested(depth)) == digest_of(nested(depth))
        assert digest_of(nested(depth)) != digest_of(nested(depth + 1))
    assert digest_of(nested(100_000))


def test_numbers_that_json_cannot_hold_become_text():
    assert printable([math.nan, math.inf, -math.inf]) == ["nan", "inf", "-inf"]
    assert printable(10**5000) == hex(10**5000)
    assert printable(2**64) == 2**64


def test_a_long_value_is_kept_as_its_digest():
    limit = spool.LARGE_BYTES
    assert printable("x" * limit) == "x" * limit
    assert printable("x" * (limit + 1))["bytes"] == limit + 1
    assert printable("é" * limit)["bytes"] == 2 * limit
    assert printable(b"x" * (limit + 1))["bytes"] == limit + 1
    assert digest_of("x" * (limit + 1)) != digest_of("x" * limit + "y")


@given(VALUES, ANY_TEXT, ANY_TEXT)
def test_a_dead_letter_is_one_line_of_utf8_and_comes_back_equal(row, name, message):
    before = letter(id=name, origin=f"{name}.png", message=message, row=printable(row))
    line = before.to_json()
    assert "\n" not in line
    assert DeadLetter.from_json(line.encode("utf-8").decode("utf-8")) == before


def test_half_a_surrogate_pair_does_not_keep_a_letter_from_being_written():
    name = b"\xff.png".decode("utf-8", "surrogateescape")
    before = letter(id=name, origin=name, message=f"no such file: {name}", row=printable({name: [name]}))
    assert DeadLetter.from_json(before.to_json().encode("utf-8").decode("utf-8")) == before
    assert before.row == {"\\udcff.png": ["\\udcff.png"]}
    assert digest_of({name: 1}) != digest_of({"\udcfe.png": 1})


def test_equal_letters_are_equal_bytes():
    assert letter(row={"a": 1, "b": 2}).to_json() == letter(row={"b": 2, "a": 1}).to_json()


def test_a_record_keeps_its_split_from_release_to_release():
    splits = [split_of(f"record-{n}", 0.25, 0.25) for n in range(6)]
    assert splits == ["test", "train", "train", "train", "validation", "test"]
    assert hash_fraction("split", "record-0") != hash_fraction("part", "record-0")


@given(ANY_TEXT, st.floats(0, 0.5), st.floats(0, 0.49))
def test_a_larger_test_split_takes_from_training_alone(key, validation, test):
    before, after = split_of(key, validation, test / 2), split_of(key, validation, test)
    assert before == after or (before, after) == ("train", "test")
    assert (split_of(key, 0.0, 0.0), split_of(key, 1.0, 0.0), split_of(key, 0.0, 1.0)) == (
        "train",
        "validation",
        "test",
    )


def test_splits_have_the_shares_that_were_asked_for():
    splits = [split_of(str(n), 0.1, 0.2) for n in range(10_000)]
    assert abs(splits.count("validation") / 10_000 - 0.1) < 0.02
    assert abs(splits.count("test") / 10_000 - 0.2) < 0.02


def test_origins_are_sorted_by_file_and_then_by_line():
    origins = ["b:2:10", "b:2:9", "a.jsonl:10", "a.jsonl:9", "a\nb:1", "c"]
    assert sorted(origins, key=origin_key) == ["a\nb:1", "a.jsonl:9", "a.jsonl:10", "b:2:9", "b:2:10", "c"]


@pytest.mark.parametrize(
    ("split", "spellings"),
    [
        (
            "train",
            [
                "train",
                "Train",
                "TRAINING",
                " train ",
                "train_set",
                "train2017",
                "training-data",
                "train_images",
                "01_train",
            ],
        ),
        (
            "validation",
            ["val", "valid", "validation", "dev", "Development", "val2017", "validation set", "02 valid", "PublicTest"],
        ),
        (
            "test",
            [
                "test",
                "testing",
                "TEST",
                "eval",
                "evaluation",
                "holdout",
                "testset",
                "seg_test",
                "private_test",
                "seg_pred",
            ],
        ),
        (
            None,
            [
                "trained",
                "cat",
                "tests",
                "",
                "train val",
                "train_test_split",
                "1" * 60,
                1,
                None,
                ["train"],
                "value",
                "device",
            ],
        ),
    ],
)
def test_a_split_has_many_spellings(split, spellings):
    assert {split_named(value) for value in spellings} == {split}
