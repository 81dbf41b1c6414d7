"""The normal form C is that of `unicodedata`, in work that grows as the text does."""

from __future__ import annotations

import doctest
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmstream.text import normal_form
from mmstream.text.normal_form import nfc

MARKS = [c for c in map(chr, range(0x300, 0x110000)) if unicodedata.combining(c)]
OF_MARKS = ["\u0344", "\u0f73", "\u0f75", "\u0f81"]
"""Characters that are made of marks alone once they are decomposed; most are no marks themselves."""
texts = st.lists(
    st.one_of(
        st.lists(st.sampled_from(MARKS), max_size=60).map("".join),
        st.lists(st.sampled_from(["\u0316", "\u0301", "\u0323", "\u3099", "\u094d", *OF_MARKS]), max_size=60).map(
            "".join
        ),
        st.sampled_from(["a", "e\u0301", "ế", "क", "か", "ᄀ", "\u1161", "가", "\u0958", "😀", "\u200d", "\u212b"]),
        st.text(max_size=5),
    ),
    max_size=6,
).map("".join)


@settings(max_examples=500, deadline=None)
@given(texts)
def test_the_form_is_the_standard_one(text):
    assert nfc(text) == unicodedata.normalize("NFC", text)


@pytest.mark.parametrize(
    "unit", ["\u0316\u0301", "\u0301\u0316", "\u0f73", "\u0344\u0316", "\u0f81\u0f73", "\u0301\u0f73"]
)
def test_python_is_never_given_long_runs_of_marks_to_put_into_order(monkeypatch, unit):
    given = []
    normalize = unicodedata.normalize
    monkeypatch.setattr(
        normal_form.unicodedata, "normalize", lambda form, text: given.append(text) or normalize(form, text)
    )
    text = "ế" + unit * 200 + "a" + unit * 10
    assert nfc(text) == normalize("NFC", text)
    monkeypatch.undo()
    raw = ["".join(normalize("NFD", c) for c in each) for each in given if len(each) > 1]
    assert sum(map(_moves, raw)) < 2_000


def _moves(text: str) -> int:
    """How often marks of a decomposed text stand before those that belong before them."""
    moves, before = 0, []
    for character in text:
        order = unicodedata.combining(character)
        moves += sum(order < other for other in before) if order else 0
        before = [*before, order] if order else []
    return moves


def test_the_examples_in_the_documentation_hold():
    assert doctest.testmod(normal_form).failed == 0
