"""Text becomes tokens and comes back, in any script, and alike in an exported graph."""

from __future__ import annotations

import doctest
import json
import unicodedata

import mmstream_text.tokens
import pytest
import tensorflow as tf
from hypothesis import example, given, settings
from hypothesis import strategies as st
from mmstream_text.serving import tokens
from mmstream_text.tokens import detokenise, normalise, tokenise

from mmstream.text.graph_text import CHARACTERS, in_normal_form

SCRIPTS = {
    "Chinese": "我有一只黑色的小猫，它很可爱。",
    "Japanese": "私は東京タワーが大好きです。",
    "Thai": "ฉันรักแมวตัวเล็ก",
    "Lao": "ຂ້ອຍຮັກແມວ",
    "Khmer": "ខ្ញុំស្រឡាញ់ឆ្មា",
    "Burmese": "ကျွန်တော် ကြောင်ကို ချစ်တယ်",
    "Tibetan": "ང་ཞི་མི་ལ་དགའ།",
}
SPACED = {
    "English": "It's a black cat",
    "German": "Die größte Straße überhaupt",
    "Greek": "Η μαύρη γάτα",
    "Russian": "Чёрная кошка спит",
    "Arabic": "قطة سوداء صغيرة",
    "Hebrew": "חָתוּל שָׁחֹר קָטָן",
    "Hindi": "काली बिल्ली सोती है",
    "Tamil": "கருப்பு பூனை",
    "Korean": "검은 고양이가 잔다",
    "Persian": "می‌خواهم گربه",
    "Vietnamese": "Con mèo đen nhỏ",
}
anything = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
mixtures = st.lists(
    st.sampled_from(
        [
            *(" ", "  ", "\n", "\r\n", "\t", "\0", "\x85", "\u2028", "\u3000", "\u00a0"),
            *("\u200b", "\u200c", "\u200d", "\ufeff", "\u00ad", "\u034f", "\u115f"),
            *("\u0301", "\u0e31", "\u093f", "\u3099", "\u1161", "\U0001f3fd", "\u20e3", "\ufe0f", "\U000e0067"),
            *("a", "é", "ß", "İ", "ﬁ", "猫", "が", "カ", "ー", "々", "ก", "ำ", "각", "ᄀ", "क", "ب"),
            *("1", "٣", "-", "'", "’", ".", "😀", "🇩"),
        ]
    ),
    max_size=12,
).map("".join)


def check_comes_back(text: str) -> None:
    normal = normalise(text)
    tokens = tokenise(normal)
    assert detokenise(tokens) == normal
    assert all(tokens)
    assert bool(tokens) == bool(normal)


@settings(max_examples=300, deadline=None)
@given(st.one_of(anything, mixtures))
@example(" \u0301")
@example("a \u0301b")
@example("\u1100\u1161\u11a8 \u1100")
def test_the_tokens_of_any_text_give_the_normalised_text_back(text):
    check_comes_back(text)


@settings(max_examples=200, deadline=None)
@given(st.one_of(anything, mixtures))
def test_a_normalised_text_is_in_normal_form_on_one_line_and_stays_so(text):
    normal = normalise(text)
    assert normalise(normal) == normal
    assert normal == normal.strip()
    assert "  " not in normal
    assert unicodedata.is_normalized("NFC", normal)
    assert not any(unicodedata.category(sign) == "Cc" for sign in normal)


@settings(max_examples=150, deadline=None)
@given(st.one_of(anything, mixtures))
def test_a_text_written_with_other_code_points_or_blanks_gives_the_same_tokens(text):
    tokens = tokenise(normalise(text))
    assert tokenise(normalise(f"\n {unicodedata.normalize('NFD', text)}\t")) == tokens


def test_every_naughty_string_comes_back(shared_data):
    texts = json.loads((shared_data / "odd_text/blns.json").read_text(encoding="utf-8"))
    lines = (shared_data / "odd_text/blns.txt").read_text(encoding="utf-8").split("\n")
    assert len(texts) > 500
    for text in [*texts, *lines]:
        check_comes_back(text)


@pytest.mark.parametrize("text", SCRIPTS.values(), ids=SCRIPTS)
def test_a_script_without_spaces_gives_a_token_for_each_sign_and_comes_back_whole(text):
    tokens = tokenise(normalise(text))
    assert len(tokens) >= 5
    assert detokenise(tokens) == text
    assert max(len(token) for token in tokens) < len(text) / 2


@pytest.mark.parametrize("text", SPACED.values(), ids=SPACED)
def test_a_script_with_spaces_gives_a_token_for_each_word(text):
    assert tokenise(normalise(text)) == [f" {word}" for word in unicodedata.normalize("NFC", text).split()]


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("Two  cats, 3 mice", [" Two", " cats", ",", " 3", " mice"]),
        ("don’t 'stop' rock'n'roll", [" don’t", " '", "stop", "'", " rock'n'roll"]),
        ("state-of-the-art", [" state", "-", "of", "-", "the", "-", "art"]),
        ("1984", ["1", "9", "8", "4"]),
        ("snake_case a@b.c", [" snake", "_", "case", " a", "@", "b", ".", "c"]),
        ("猫cat猫", ["猫", "cat", "猫"]),
        ("👩‍👩‍👧 🇩🇪🇫🇷 👍🏽", ["👩‍👩‍👧", " 🇩🇪", "🇫🇷", " 👍🏽"]),
        ("e\u0301te\u0301", [" été"]),
        ("...", [".", ".", "."]),
    ],
)
def test_words_signs_digits_and_emoji_are_tokens_with_the_blank_before_them(text, tokens):
    assert tokenise(normalise(text)) == tokens


def test_a_word_is_the_same_token_at_the_beginning_and_within():
    assert tokenise("cat and cat") == [" cat", " and", " cat"]


@pytest.mark.parametrize(
    "text", ["", " ", "\n\t\r\n", "\u3000\u2003", "\0\x1f\x7f\x85", "\u2028\u2029", "\u200b", "\ufeff \u00ad"]
)
def test_a_text_in_which_nothing_can_be_seen_has_no_token(text):
    assert tokenise(normalise(text)) == []


@pytest.mark.parametrize("text", ["\ud800", "a\udfffb", "猫 \ud83d 猫"])
def test_a_lone_surrogate_is_refused_with_its_place(text):
    with pytest.raises(ValueError, match=rf"not valid Unicode: surrogates not allowed at character {len(text) // 2}"):
        normalise(text)


def test_a_very_long_text_is_no_trouble():
    for text in ("a" * 200_000, "\u0301" * 200_000, "猫 " * 100_000, "'a" * 100_000, " ".join("x" * 100_000)):
        check_comes_back(text)


FLAGS = ["🇩", "🇩🇪", "🇩🇪" * 8, "🇫🇷" * 16 + "🇩", "🇩🇪" * 40, "🇩🇪" * 50 + "🇩"]
around_flags = st.lists(
    st.sampled_from(
        [
            *FLAGS,
            *FLAGS,
            *(
                " ",
                "a",
                "é",
                "猫",
                "1",
                "\u0301",
                "\u200d",
                "\u0600",
                "\u0e33",
                "😀",
                "\u094d",
                "क",
                "가",
                "ᄀ",
                "\u200b",
            ),
        ]
    ),
    max_size=12,
).map("".join)


@settings(max_examples=400, deadline=None)
@given(st.one_of(around_flags, mixtures, anything))
def test_a_text_with_many_flags_has_the_tokens_that_it_has_in_one_piece(text):
    normal = normalise(text)
    whole = mmstream_text.tokens._TOKEN.findall(normal)
    if whole and mmstream_text.tokens._WORD.match(whole[0]):
        whole[0] = " " + whole[0]
    assert tokenise(normal) == whole


class Counting:
    """A pattern that counts the pairs of flags in what it is given, as the library does to see where one ends."""

    def __init__(self, pattern) -> None:
        self.pattern = pattern
        self.looked = 0

    def findall(self, text: str) -> list[str]:
        runs = mmstream_text.tokens.regex.findall(r"\p{RI}+", text)
        self.looked += len(text) + sum(len(run) ** 2 for run in runs)
        return self.pattern.findall(text)


@pytest.mark.parametrize("unit", ["🇩🇪", "🇩", " 🇩🇪", "🇩🇪" * 20 + "a", "🇩🇪" * 17 + "\u0301"])
def test_the_work_for_flags_grows_as_their_number(monkeypatch, unit):
    looked = []
    for count in (500, 5_000):
        counting = Counting(mmstream_text.tokens._TOKEN)
        with monkeypatch.context() as patch:
            patch.setattr(mmstream_text.tokens, "_TOKEN", counting)
            check_comes_back(unit * count)
        looked.append(counting.looked)
    assert looked[1] < 11 * looked[0]


def test_a_text_of_too_many_characters_or_tokens_is_refused(monkeypatch):
    with pytest.raises(ValueError, match=r"the text has 4,194,305 characters; the limit is 4,194,304"):
        normalise("a" * 4_194_305)
    for text in ("1" * 1_048_577, "猫" * 1_048_577, "🇩🇪" * 1_048_577):
        with pytest.raises(ValueError, match="the text has more than the limit of 1,048,576 words and symbols"):
            tokenise(text)
    assert len(tokenise("猫" * 1_048_576)) == len(tokenise("word 猫" * 524_288)) == 1_048_576


def test_the_examples_in_the_documentation_hold():
    assert doctest.testmod(mmstream_text.tokens).failed == 0


# In a graph

MARKS = [c for c in CHARACTERS if unicodedata.combining(c)]
COMPOSING = [c for c in CHARACTERS if unicodedata.decomposition(c)]


def check_tokens(texts: list[str], lowercase: bool = False) -> None:
    normal = [unicodedata.normalize("NFC", text) for text in texts]
    found = [[token.decode() for token in row] for row in tokens(tf.constant(normal), lowercase=lowercase).to_list()]
    for text, row in zip(normal, found, strict=True):
        clean = normalise(text)
        assert row == tokenise(normalise(clean.lower()) if lowercase else clean), ascii(text)


@pytest.mark.parametrize("text", [*SCRIPTS.values(), *SPACED.values()], ids=[*SCRIPTS, *SPACED])
def test_every_script_is_cut_alike(text):
    check_tokens([text, f"{text} {text}", text[1:], text[::-1], f"1{text[::-1]}"])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.one_of(anything, mixtures), min_size=1, max_size=40))
def test_any_texts_are_cut_alike(texts):
    check_tokens(texts)


def test_every_character_is_cut_alike_alone_and_between_letters():
    characters = [c for c in CHARACTERS if unicodedata.category(c) not in ("Cn", "Co")]
    for start in range(0, len(characters), 5000):
        some = characters[start : start + 5000]
        check_tokens([*some, *(f"a{c}b" for c in some), *(f"\u0915{c}\u0915" for c in some)])


def test_capitals_are_folded_alike():
    check_tokens(["A CAT", "ÉCOLE", "ΟΔΟΣ ΣΑΣ ΣΑΣ.", "ЁЖ", "ẞ", "İ I", "ǅ"], lowercase=True)


@pytest.mark.parametrize("text", ["cafe\u0301", b"\xff", "\u212b", "\u1100\u1161"])
def test_a_text_in_another_form_is_an_error(text):
    with pytest.raises(tf.errors.InvalidArgumentError):
        tokens(tf.constant([text]), lowercase=False)


accented = st.lists(
    st.one_of(st.sampled_from(MARKS), st.sampled_from(COMPOSING), st.characters(exclude_categories=["Cs"])), max_size=5
).map("".join)


@settings(max_examples=60, deadline=None)
@given(st.lists(accented, min_size=1, max_size=60))
def test_the_normal_form_is_told_as_unicodedata_tells_it(texts):
    texts += [unicodedata.normalize("NFC", text) for text in texts]
    expected = [unicodedata.is_normalized("NFC", text) for text in texts]
    assert in_normal_form(tf.constant(texts)).numpy().tolist() == expected


def test_the_normal_form_of_every_character_and_every_pair_that_composes():
    decomposed = [unicodedata.normalize("NFD", c) for c in CHARACTERS]
    texts = [*CHARACTERS, *decomposed]
    expected = [unicodedata.is_normalized("NFC", text) for text in texts]
    assert in_normal_form(tf.constant(texts)).numpy().tolist() == expected
