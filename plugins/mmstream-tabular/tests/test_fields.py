"""The category and tags fields: values of a fitted set, in whatever way they are written."""

from __future__ import annotations

import json

import pytest
import tensorflow as tf
from mmstream_tabular.category import Category
from mmstream_tabular.lists import list_in
from mmstream_tabular.tags import Tags

from mmstream.interfaces import RESERVED_IDS, UNKNOWN, Fitted, TensorSpec
from mmstream.testing.fields import FIELD, fit

CATEGORIES = ["dog", "cat", "cat", "cat", "dog", "cafe\u0301", " ", None, "猫", "new\nline", "a b", 7, True]
TAGS = [["a", "b"], ["a"], [], None, ["a", "c"], ["b", "猫"], [" x  y "], [1, False]]


@pytest.fixture(scope="module")
def category(tmp_path_factory):
    return fit("category", {}, CATEGORIES, tmp_path_factory.mktemp("transform"))


@pytest.fixture(scope="module")
def tags(tmp_path_factory):
    return fit("tags", {}, TAGS, tmp_path_factory.mktemp("transform"))


def tensors_of(preprocessor, *values, size=None):
    tensors = preprocessor.tensors([preprocessor.decode({FIELD: value}) for value in values], size)[FIELD]
    return {name: array.tolist() for name, array in tensors.items()}


# Category


def test_the_values_of_a_category_are_those_that_were_fitted_the_most_frequent_first(category):
    vocabulary = category.fitted[FIELD].vocabulary
    assert vocabulary[:2] == ("cat", "dog")
    assert sorted(vocabulary[2:]) == sorted(["café", "猫", "new line", "a b", "7", "true"])


def test_each_value_of_a_category_has_its_id(category):
    vocabulary = category.fitted[FIELD].vocabulary
    found = tensors_of(category, *vocabulary)
    assert found == {"id": [RESERVED_IDS + n for n in range(len(vocabulary))], "present": [1.0] * len(vocabulary)}


def test_a_value_that_was_not_fitted_is_unknown_and_one_that_is_missing_absent(category):
    assert tensors_of(category, "zebra", None, "cat", "", " \n") == {
        "id": [UNKNOWN, 0, RESERVED_IDS, 0, 0],
        "present": [1.0, 0.0, 1.0, 0.0, 0.0],
    }
    assert tensors_of(category, None, None, size=3) == {"id": [0, 0, 0], "present": [0.0, 0.0, 0.0]}


@pytest.mark.parametrize(
    ("value", "same"),
    [("caf\u00e9", "cafe\u0301"), (" cat ", "cat"), ("a \t\n b", "a b"), (7, "7"), (True, "true"), ("a\0b", "a b")],
)
def test_a_category_is_the_same_however_it_is_written(value, same):
    assert Category().decode(value) == Category().decode(same)


def test_categories_in_other_scripts_case_and_signs_stay_apart():
    values = ["猫", "貓", "Cat", "cat", "ﬁ", "fi", "😀", "😀\ufe0f", "e", "é", "1", "１"]
    assert len({Category().decode(value)["value"][0] for value in values}) == len(values)


@pytest.mark.parametrize("value", [b"cat", ["cat"], {"cat": 1}, 1j])
def test_a_category_of_another_type_is_refused_with_its_type(value):
    with pytest.raises(
        TypeError, match=f"expected text, a number, a boolean or a date; found {type(value).__name__}: "
    ):
        Category().decode(value)


def test_what_is_said_to_be_missing_is_absent():
    assert Category(missing=("NA", "-")).decode(" NA") is None
    assert Category(missing=("NA",)).decode("na") == {"value": ["na"], "place": [0]}
    assert Category(columns=["a", "b"], missing=("-",)).decode(["-", "x"]) == {"value": ["b=x"], "place": [1]}
    assert Tags(missing=("NA",)).decode("NA") is None
    served = Category(missing=("NA", "-")).serve(tf.constant([" NA ", "-", "x", ""]))
    assert served["value"].to_list() == [[], [], [b"x"], []]


@pytest.mark.parametrize(
    ("text", "tags"),
    [
        ("['cat']", ["cat"]),
        ("['cat', 'new york']", ["cat", "new york"]),
        ('["cat", "it\'s", "\\u00e9"]', ["cat", "it's", "é"]),
        ("['it\\'s', \"x\"]", ["it's", "x"]),
        ("('a', 'b',)", ["a", "b"]),
        ("{'a'}", ["a"]),
        ("['a' 'b'\n 'c']", ["a", "b", "c"]),
        ("[cat, new york]", ["cat", "new york"]),
        ("[1, 2]", ["1", "2"]),
        ("[None, 'a', nan]", ["a"]),
        ("[]", []),
    ],
)
def test_a_text_that_is_a_list_is_read_as_one(text, tags):
    assert Tags().decode(text) == {"values": tags}


@pytest.mark.parametrize("text", ["cat", "cat, dog", "['a'", "[['a']]", "{'a': 1}", "['a'] b", "", "["])
def test_a_text_that_is_no_list_of_tags_is_refused(text):
    with pytest.raises(TypeError, match="expected a list of tags; found str; text needs the parameter `separator`"):
        Tags().decode(text)


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("repeated", "end", "items"), [("'", "'", 0), (" ", "(", 0), ("'a' ", "", 250_000), ("\\", "", 1), (" a", "(", 0)]
)
def test_odd_lists_take_linear_time(repeated, end, items):
    """In quadratic time, a million characters would take hours."""
    text = repeated * (1_000_000 // len(repeated)) + end
    assert len(list_in(f"[{text}]") or []) == items


@pytest.mark.parametrize(
    ("text", "tags"),
    [
        ("{'sea', 'city night'}", ["sea", "city night"]),
        ("set()", []),
        ("{}", []),
        ("frozenset({'a', \"b's\"})", ["a", "b's"]),
        ("frozenset()", []),
        ("{sea, city night}", ["sea", "city night"]),
        ("list(['a'])", ["a"]),
    ],
)
def test_a_set_is_read_as_a_list(text, tags):
    assert Tags().decode(text) == {"values": tags}
    assert list_in("set") is list_in("reset()") is list_in("set('a'") is list_in("{'a': 1}") is None


def test_init_splits_no_text_that_stands_for_a_list_or_a_number():
    sets = [str({"sea", "sun"}) if n % 5 else "set()" for n in range(40)]
    assert Tags.suggest(sets).parameters == {}
    assert Tags.suggest([*sets, "{'broken', 'sea'"]).parameters == {}
    assert Tags.suggest([f"{n % 5},{n % 7}" for n in range(80)]) is None
    assert Tags.suggest([f"{n % 5},{n % 7},{n % 3}" for n in range(80)]).parameters == {"separator": ","}


def test_a_category_with_a_lone_surrogate_is_refused():
    with pytest.raises(ValueError, match="not valid Unicode: surrogates not allowed"):
        Category().decode("a\ud800")


@pytest.mark.parametrize("value", ["", " ", "\n", "\u3000"])
def test_an_empty_category_is_absent(value):
    assert Category().decode(value) is None


@pytest.mark.slow
def test_a_category_seen_too_rarely_is_unknown(tmp_path):
    rare = fit("category", {"min_count": 2}, ["a", "a", "b", "c", "c", "c"], tmp_path)
    assert rare.fitted[FIELD].vocabulary == ("c", "a")
    assert tensors_of(rare, "a", "b")["id"] == [RESERVED_IDS + 1, UNKNOWN]


def test_a_category_is_one_whole_number():
    assert Category().spec(Fitted(("a", "b"))) == {"id": TensorSpec((), "int64")}


# Tags


def test_the_tags_are_those_that_were_fitted_the_most_frequent_first(tags):
    vocabulary = tags.fitted[FIELD].vocabulary
    assert vocabulary[:2] == ("a", "b")
    assert sorted(vocabulary[2:]) == sorted(["c", "猫", "x y", "1", "false"])


def test_each_tag_has_its_place(tags):
    vocabulary = tags.fitted[FIELD].vocabulary
    hot = tensors_of(tags, ["b", "a"], ["猫", "猫"], [])["hot"]
    assert [[vocabulary[n] for n, value in enumerate(row) if value] for row in hot] == [["a", "b"], ["猫"], []]
    assert {value for row in hot for value in row} == {0, 1}


def test_no_tags_at_all_are_a_known_answer_and_missing_ones_are_not(tags):
    found = tensors_of(tags, [], None, [""], ["zebra"])
    assert found["present"] == [1.0, 0.0, 1.0, 1.0]
    assert not any(map(any, found["hot"]))


def test_a_batch_in_which_no_record_has_a_tag_is_all_zeros(tags):
    assert not any(map(any, tensors_of(tags, [], None, size=4)["hot"]))


def test_a_tag_that_was_not_fitted_costs_no_other(tags):
    assert tensors_of(tags, ["zebra", "a", "yak"])["hot"] == tensors_of(tags, ["a"])["hot"]


def test_a_tag_given_twice_or_written_in_another_way_counts_once():
    assert Tags().decode(["a", " a", "b", "a\n", "caf\u00e9", "cafe\u0301"]) == {"values": ["a", "b", "café"]}
    assert Tags().decode(("a", 1, True)) == {"values": ["a", "1", "true"]}


def test_a_text_is_split_only_where_a_separator_is_given():
    assert Tags(separator="|").decode("a| b |a||猫") == {"values": ["a", "b", "猫"]}
    assert Tags(separator="|").decode(["a|b"]) == {"values": ["a|b"]}
    assert Tags(separator=",").decode("") == {"values": []}
    with pytest.raises(TypeError, match="expected a list of tags; found str; text needs the parameter `separator`"):
        Tags().decode("a|b")
    with pytest.raises(ValueError, match="separator may not be empty"):
        Tags(separator="")


@pytest.mark.parametrize("value", [1, 0.5, True, b"a", {"a": 1}, {"a"}])
def test_tags_of_another_type_are_refused_with_their_type(value):
    with pytest.raises(TypeError, match=f"expected a list of tags; found {type(value).__name__}"):
        Tags().decode(value)


@pytest.mark.parametrize("value", [[None], ["a", 1j], [["a"]], [b"a"], [{"a": 1}]])
def test_a_tag_of_another_type_is_refused_with_its_type(value):
    with pytest.raises(TypeError, match=f"found {type(value[-1]).__name__}: "):
        Tags().decode(value)


def test_a_tag_with_a_lone_surrogate_is_refused():
    with pytest.raises(ValueError, match="not valid Unicode"):
        Tags().decode(["a", "\udfff"])


@pytest.mark.slow
def test_only_the_most_frequent_tags_are_kept(tmp_path):
    few = fit("tags", {"max_values": 2}, [["a", "b"], ["a", "b"], ["a", "c"]], tmp_path)
    assert few.fitted[FIELD].vocabulary == ("a", "b")
    assert tensors_of(few, ["a", "c"], ["c"])["hot"] == [[1, 0], [0, 0]]


def test_tags_have_a_place_for_each_value():
    assert Tags().spec(Fitted(("a", "b", "c"))) == {"hot": TensorSpec((3,), "uint8")}


@pytest.mark.parametrize("field", [Category(), Tags(separator="\n")])
def test_any_text_at_all_is_a_value_or_none_that_fits_on_one_line(field, shared_data):
    for text in json.loads((shared_data / "odd_text/blns.json").read_text(encoding="utf-8")):
        for values in [values for raw, values in (field.decode(text) or {}).items() if raw != "place"]:
            assert all(value and value.strip() == value and "\n" not in value for value in values)


def test_a_text_that_is_too_long_for_a_value_and_too_many_tags_are_refused():
    with pytest.raises(
        ValueError, match=r"text of 65,537 characters is too long for a category or tag; the limit is 65,536"
    ):
        Category().decode("x" * 65_537)
    assert Category().decode("x" * 65_536)
    for tags, field in ((["a"] * 65_537, Tags()), ("," * 65_536, Tags(separator=","))):
        with pytest.raises(ValueError, match=r"it holds 65,537 tags; the limit is 65,536"):
            field.decode(tags)


def test_marks_in_any_order_are_put_into_that_of_the_normal_form():
    import unicodedata

    text = "e" + "\u0301\u0316" * 5_000
    assert Category().decode(text)["value"] == [unicodedata.normalize("NFC", text)]
