"""Similarity hashes of texts: near whatever their case and punctuation, in any script; empty texts have none."""

from __future__ import annotations

import numpy as np
import pytest
from mmstream_text.field import Text

FIELD = Text(length=4)


def hash_of(text: str) -> bytes | None:
    decoded = FIELD.decode(text)
    return None if decoded is None else Text.similarity.hash(decoded)


def are_near(one: str, other: str) -> bool:
    hashes = [np.frombuffer(hash_of(text) or b"", np.uint8)[None] for text in (one, other)]
    near = bool(Text.similarity.are_near(*hashes)[0])
    if near:
        first, second = map(Text.similarity.bands, hashes)
        assert (first == second).any(), "or they would not be compared"
    return near


INSTRUCTIONS = (
    "Lie back on a flat bench using a medium width grip, a grip that creates a 90-degree angle in the middle of the "
    "movement between the forearms and the upper arms. Lift the bar from the rack and hold it straight over you."
)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Stay comfortable, and stay in the race!", "stay comfortable - and stay in the RACE"),
        ("我喜欢猫和狗，也喜欢鸟。", "我喜欢猫和狗！也喜欢鸟"),
        ("ระฆังใบใหญ่", "ระฆังใบใหญ่…"),
        ("yes", "Yes!"),
        ("Ｆｕｌｌ width", "full width"),
        (INSTRUCTIONS, INSTRUCTIONS.replace("flat", "soft")),
        (INSTRUCTIONS, INSTRUCTIONS.removeprefix("Lie back ")),
    ],
)
def test_texts_that_say_the_same_are_near(one, other):
    assert are_near(one, other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("yes", "no"),
        ("man running", "woman running"),
        ("is there a red shape in the image", "is there not a blue shape in the image"),
        ("我喜欢猫和狗", "猫和狗都睡了"),
        ("chapter 1", "chapter 2"),
        (
            INSTRUCTIONS,
            "Sit on a bench with a dumbbell in each hand. Your palms face each other.",
        ),
    ],
)
def test_other_texts_are_not(one, other):
    assert not are_near(one, other)


@pytest.mark.parametrize("text", ["…", "!?", "☺ ☺", "- - -"])
def test_a_text_without_letters_and_digits_has_no_hash(text):
    assert hash_of(text) is None


def test_a_hash_does_not_depend_on_the_machine():
    assert (hash_of("a cat sits on a mat") or b"")[:6].hex() == "e90033b29c05"


def test_a_long_text_takes_no_more_than_its_first_ten_thousand_characters():
    long = "".join(f"line {number} of a long text. " for number in range(2000))
    assert hash_of(long) == hash_of(long[:20_000])
