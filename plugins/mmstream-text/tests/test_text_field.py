"""The text field: any text becomes ids of the fitted vocabulary, and its normalised form is kept."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from mmstream_text.field import Text
from mmstream_text.tokens import normalise, tokenise

from mmstream.interfaces import END, RESERVED_IDS, UNKNOWN, Fitted, TensorSpec
from mmstream.testing.fields import FIELD, fit

FITTED = ["a cat and a dog", "a cat, a cat!", "a dog", "猫と犬", "Cat", None, "", "\u200b"]


@pytest.fixture(scope="module")
def preprocessor(tmp_path_factory):
    return fit("text", {"length": 8}, FITTED, tmp_path_factory.mktemp("transform"))


@pytest.fixture
def ids_of(preprocessor):
    def ids(*texts):
        tensors = preprocessor.tensors([preprocessor.decode({FIELD: text}) for text in texts])[FIELD]
        assert set(tensors) == {"ids", "present"}
        assert tensors["present"].tolist() == [float(text is not None and bool(normalise(text))) for text in texts]
        return [tuple(row) for row in tensors["ids"].tolist()]

    return ids


def test_the_vocabulary_holds_the_tokens_of_the_fitted_texts_the_most_frequent_first(preprocessor):
    vocabulary = preprocessor.fitted[FIELD].vocabulary
    assert vocabulary[:2] == (" a", " cat")
    assert set(vocabulary) == {token for text in FITTED if text for token in tokenise(normalise(text))}


def test_ids_are_those_of_the_tokens_then_the_end_then_padding(preprocessor, ids_of):
    place = {token: RESERVED_IDS + n for n, token in enumerate(preprocessor.fitted[FIELD].vocabulary)}
    assert ids_of("a  dog!", "犬") == [
        (place[" a"], place[" dog"], place["!"], END, 0, 0, 0, 0),
        (place["犬"], END, 0, 0, 0, 0, 0, 0),
    ]


def test_a_token_that_was_not_fitted_is_unknown_and_costs_no_other(ids_of):
    ((first, second, third, *rest),) = ids_of("a zebra dog")
    assert (second, *rest) == (UNKNOWN, END, 0, 0, 0, 0)
    assert min(first, third) >= RESERVED_IDS
    assert ids_of("zebra")[0][:2] == (UNKNOWN, END)


def test_a_text_that_is_too_long_is_cut_off_and_has_no_end(ids_of):
    seven, eight, nine = ids_of("a " * 7, "a " * 8, "a " * 9)
    assert seven == (RESERVED_IDS,) * 7 + (END,)
    assert eight == nine == (RESERVED_IDS,) * 8


def test_an_absent_text_is_all_padding_also_where_all_are_absent(ids_of):
    padding = (0,) * 8
    assert ids_of(None, "") == [padding, padding]
    assert ids_of("a", None, " \n", "\u200b")[1:] == [padding] * 3


@pytest.mark.slow
def test_a_token_seen_too_rarely_or_beyond_the_largest_vocabulary_is_unknown(tmp_path):
    texts = ["a a a b b c"] * 2 + ["d"]
    assert fit("text", {"length": 4, "min_count": 2}, texts, tmp_path / "a").fitted[FIELD].vocabulary == (
        " a",
        " b",
        " c",
    )
    assert fit("text", {"length": 4, "max_vocabulary": 2}, texts, tmp_path / "b").fitted[FIELD].vocabulary == (
        " a",
        " b",
    )


@settings(max_examples=200, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=50))
def test_the_normalised_text_is_kept_whole(text):
    decoded = Text(length=2).decode(text)
    assert (decoded is None) == (normalise(text) == "")
    if decoded is not None:
        assert Text(length=2).text(decoded) == normalise(text)


def test_every_naughty_string_is_decoded_and_kept(shared_data):
    field = Text(length=4, lowercase=True)
    for text in json.loads((shared_data / "odd_text/blns.json").read_text(encoding="utf-8")):
        decoded = field.decode(text)
        assert decoded is None or field.decode(field.text(decoded)) == decoded


@pytest.mark.parametrize("text", ["", " ", "\n\t", "\0", "\u200b"])
def test_a_text_without_a_token_is_absent(text):
    assert Text(length=4).decode(text) is None


def test_a_lone_surrogate_is_refused():
    with pytest.raises(ValueError, match="not valid Unicode: surrogates not allowed at character 2"):
        Text(length=4).decode("a \ud83d cat")


@pytest.mark.parametrize("value", [1, 0.5, True, b"cat", ["cat"], {"text": "cat"}])
def test_a_value_that_is_no_text_is_refused_with_its_type(value):
    with pytest.raises(TypeError, match=f"expected text; found {type(value).__name__}: "):
        Text(length=4).decode(value)


def test_capitals_are_kept_unless_they_are_to_be_folded():
    assert Text(length=4).decode("Big CAT") == {"tokens": [" Big", " CAT"]}
    assert Text(length=4, lowercase=True).decode("Big CAT") == {"tokens": [" big", " cat"]}
    assert Text(length=4, lowercase=True).decode("İ ΑΣ") == {"tokens": [" i\u0307", " ας"]}


def test_text_written_with_other_code_points_is_the_same_text():
    assert Text(length=4).decode("cafe\u0301") == Text(length=4).decode("caf\u00e9")


def test_the_length_is_that_of_the_ids():
    assert Text(length=7).spec(Fitted()) == {"ids": TensorSpec((7,), "int64")}


def test_equal_texts_have_equal_ids_in_any_batch(preprocessor, ids_of):
    texts = ["a cat", "犬", None, "a dog and a cat and a dog"]
    assert ids_of(*texts) == [ids_of(text)[0] for text in texts]
    decoded = [preprocessor.decode({FIELD: text}) for text in texts]
    assert not np.any(preprocessor.tensors(decoded, 9)[FIELD]["ids"][4:])


def test_a_text_that_is_said_to_be_missing_is_absent_also_where_it_is_served():
    field = Text(length=4, missing=("NA", "-"))
    assert field.decode(" NA\n") is None
    assert field.decode("NA or - here") is not None
    assert field.serve(tf.constant([" NA\n", "-", "a-b"]))["tokens"].row_lengths().numpy().tolist()[:2] == [0, 0]
    several = Text(columns=["a", "b"], length=4, missing=("NA",))
    tokens = several.decode(["NA", "cat"])["tokens"]
    assert tokens == several.decode([None, "cat"])["tokens"]
    assert several.serve(tf.constant([["NA", "cat"]]))["tokens"].to_list() == [[token.encode() for token in tokens]]
