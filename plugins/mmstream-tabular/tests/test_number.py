"""The number field: which texts and values say a number, the same on every path."""

from __future__ import annotations

import math
import re
from decimal import Decimal

import numpy as np
import pyarrow
import pytest
from mmstream_tabular.number import Number

from mmstream.testing.fields import FIELD, fit

NUMBERS = {
    **{"3": 3.0, "+3": 3.0, "-3": -3.0, "007": 7.0, "3.5": 3.5, ".5": 0.5, "5.": 5.0, "1e5": 1e5, "-4E-2": -0.04},
    **{" 12 ": 12.0, "\t12\n": 12.0, "\u00a012": 12.0, "1.234": 1.234, "0.0": 0.0},
    **{"true": 1.0, "True": 1.0, "FALSE": 0.0},
}
NO_NUMBERS = {
    **dict.fromkeys(["12_5", "1_000.5", "103_1", "1 234", "1'234"], "nothing may come between digits"),
    **dict.fromkeys(
        ["1,234", "1,234.5", "1.234,5", "1,5", "-1,5", "1'234,5"], "numbers have a decimal point and no commas"
    ),
    **dict.fromkeys(["inf", "-inf", "+Infinity", "INF"], "infinity is not read"),
    **dict.fromkeys(["0x10", "0b1", "-0o7"], "only decimal numbers are read"),
    **dict.fromkeys(["１２", "١٢", "１.5", "²"], "only the digits 0 to 9 are read"),
    **dict.fromkeys(["nan", "NaN", "-nan"], "would make it a missing value"),
    **dict.fromkeys(
        ["n/a", "1e", "e5", ".", "+", "--1", "1.2.3", "12 €", "$5", "5%", "1/2", "yes", "1d5"], "expected a number"
    ),
}


@pytest.mark.parametrize("text", NUMBERS)
def test_a_text_of_this_form_is_a_number(text):
    assert Number().decode(text) == {"value_0": [NUMBERS[text]]}


@pytest.mark.parametrize("text", NO_NUMBERS)
def test_another_text_is_none_and_the_message_says_why(text):
    with pytest.raises(ValueError, match=NO_NUMBERS[text]):
        Number().decode(text)


@pytest.mark.parametrize(
    ("value", "number"),
    [
        *(
            (True, 1.0),
            (np.True_, 1.0),
            (False, 0.0),
            (np.int64(-7), -7.0),
            (np.float32(0.1), 0.1),
            (Decimal("2.50"), 2.5),
        ),
        *((pyarrow.scalar(3), 3.0), (pyarrow.scalar("3.0"), 3.0)),
    ],
)
def test_a_value_of_a_library_is_the_number_that_it_holds(value, number):
    assert Number().decode(value) == {"value_0": [number]}


@pytest.mark.parametrize("value", [math.nan, np.float64("nan"), Decimal("NaN"), pyarrow.scalar(None), "", " "])
def test_what_is_not_there_is_missing(value):
    assert Number().decode(value) is None


def test_a_text_that_means_missing_need_not_be_a_number():
    assert Number(missing=("NaN", "1,5")).decode("NaN") is None
    assert Number(missing=("NaN", "1,5")).decode(" 1,5 ") is None


COMMAS = {
    **{"1.957,75": 1957.75, "-1.234.567,5": -1234567.5, "96,65": 96.65, "7": 7.0, "1234,5": 1234.5, ",5": 0.5},
    **{"1.000": 1000.0, "5,e2": 500.0, "true": 1.0},
}


@pytest.mark.parametrize("text", COMMAS)
def test_a_number_may_have_a_decimal_comma(text):
    assert Number(decimal=",", thousands=".").decode(text) == {"value_0": [COMMAS[text]]}


@pytest.mark.parametrize("blank", [" ", "\u00a0", "\u202f", "\u2009"])
def test_any_blank_that_breaks_no_line_may_stand_between_thousands(blank):
    assert Number(decimal=",", thousands=" ").decode(f"1{blank}957,75") == {"value_0": [1957.75]}
    assert Number(thousands=" ").decode(f"1{blank}957{blank}000") == {"value_0": [1957000.0]}


@pytest.mark.parametrize(
    ("parameters", "text", "message"),
    [
        ({}, "1,5", 'no commas; the parameter `decimal: ","` allows this'),
        ({}, "1,234", 'the parameter `decimal: ","` or `thousands: ","` allows this'),
        ({}, "1.234,5", 'the parameter `decimal: ",", thousands: "."` allows this'),
        ({}, "1 234", 'nothing may come between digits; the parameter `thousands: " "`'),
        ({}, "5%", "percent signs are not read; write the number alone"),
        ({}, "€ 1.200,50", "currency signs are not read"),
        ({"decimal": ","}, "1.5", "the field reads ',' as the decimal separator and no thousands separator"),
        (
            {"decimal": ",", "thousands": "."},
            "1.5",
            "the field reads ',' as the decimal separator and '.' as the thousands separator",
        ),
        ({"decimal": ",", "thousands": "."}, "1.2345,6", "expected a number"),
        ({"thousands": ","}, "0,885", "reads '.' as the decimal separator and ',' as the thousands separator"),
        ({"thousands": ","}, "12,34", "expected a number"),
    ],
)
def test_a_number_in_another_notation_is_refused_with_what_would_read_it(parameters, text, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        Number(**parameters).decode(text)


def test_one_sign_cannot_mean_two_things():
    with pytest.raises(ValueError, match="decimal and thousands: expected different separators; both are ','"):
        Number(decimal=",", thousands=",")


@pytest.mark.parametrize(
    ("texts", "parameters"),
    [
        ([f"{n},5" for n in range(50)], {"decimal": ","}),
        ([f"{n}.957,75" for n in range(1, 50)], {"decimal": ",", "thousands": "."}),
        ([*(f"{n},957" for n in range(50)), "0,12"], {"decimal": ","}),
        ([*(f"{n},957" for n in range(1, 50)), "1,234,567"], {"thousands": ","}),
        ([*(f"{n},957" for n in range(1, 50)), "1,234.5"], {"thousands": ","}),
        ([f"{n}\u202f957,5" for n in range(1, 50)], {"decimal": ",", "thousands": " "}),
        ([f"{n} 957" for n in range(1, 50)], {"thousands": " "}),
        ([f"{n}'957.5" for n in range(1, 50)], {"thousands": "'"}),
        ([*(f"{n},5" for n in range(50)), *["k.A."] * 9], {"missing": ["k.A."], "decimal": ","}),
        ([f"{n}.957" for n in range(1, 50)], {}),
    ],
)
def test_init_sees_how_numbers_are_written(texts, parameters):
    suggestion = Number.suggest(texts)
    assert suggestion.parameters == parameters
    number = Number(**parameters)
    assert all(text in parameters.get("missing", ()) or number.decode(text) for text in texts)


@pytest.mark.parametrize(
    ("texts", "why"),
    [
        ([f"{n},957" for n in range(1, 50)], "commas, such as '1,957', which may separate thousands or decimals"),
        ([f"{n}%" for n in range(50)], "numbers with percent signs, such as '0%': write only the numbers"),
        ([f"${n}" for n in range(50)], "numbers with currency signs, such as '$0'"),
        ([f"{n},50 €" for n in range(50)], "numbers with currency signs, such as '0,50 €'"),
        ([f"{n:05}" for n in range(50)], "begin with a zero, such as '00000', are taken for codes"),
        (
            [*map(str, range(50)), "inf", "inf", "-inf"],
            "numbers, except for 3 of 53 values: 'inf' (2), '-inf' (1); `missing`",
        ),
        ([f"x{n}" for n in range(50)], ""),
        ([f"SKU{n}" for n in range(50)], ""),
        ([{"a": 1}], ""),
    ],
)
def test_init_says_what_keeps_numbers_from_being_read(texts, why):
    assert Number.suggest(texts) is None
    assert (why in Number.why_not(texts)) if why else (Number.why_not(texts) == "")


def test_init_takes_codes_and_truth_values_for_no_numbers():
    codes = [f"{100 + n}_{n}" for n in range(50)]
    assert Number.suggest(codes) is None
    assert Number.suggest([f"{n:05}" for n in range(50)]) is None
    assert Number.suggest(["True", *map(str, range(50))]) is None
    assert Number.suggest([f"{n}.5" for n in range(50)]) is not None


def test_decoded_transformed_and_served_numbers_are_equal(tmp_path):
    import tensorflow as tf

    field = fit("number", {"scale": "none", "clip": None}, list(NUMBERS), tmp_path)
    rows = [field.decode({FIELD: text}) for text in NUMBERS]
    expected = np.array(list(NUMBERS.values()), np.float32)
    np.testing.assert_array_equal(field.tensors(rows)[FIELD]["values"][:, 0], expected)
    served = Number().serve(tf.constant([*expected, math.nan], tf.float32))["value_0"].to_list()
    assert served == [*([float(number)] for number in expected), []]
    for wrong in (math.inf, -math.inf):
        with pytest.raises(tf.errors.InvalidArgumentError, match="too large"):
            Number().serve(tf.constant([wrong], tf.float32))
