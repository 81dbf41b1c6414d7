"""The text field, its encoder and the caption head keep their contracts."""

from __future__ import annotations

from mmstream.testing import EncoderContract, FieldContract, HeadContract

WORDS = (" cat", " dog", " and", ".", "猫")


def padded(rows: list[list[float]]) -> list[list[float]]:
    """As many n-grams as a text of six tokens has at most."""
    return [row + [0] * (94 - len(row)) for row in rows]


class TestText(FieldContract):
    name = "text"
    parameters = {"length": 6, "lowercase": True}
    values = [
        "A cat and  a Dog.",
        "猫が好き",
        "a much longer text than six tokens, cut off",
        "\U0001f469\u200d\U0001f467 don't",
        "cafe\u0301",
        ".",
    ]
    absent = ["", " \t\n"]
    bad = [7, 1.5, True, b"text", ["a text"], {}, "\ud800"]


class TestGru(EncoderContract):
    name = "gru"
    parameters = {"units": 6, "dropout": 0.2}
    field = "text"
    field_parameters = {"length": 6}
    vocabulary = WORDS
    lengthened = ("ids",)
    tensors = {"ids": [[4, 6, 5, 7, 3, 0], [8, 8, 8, 8, 8, 8], [1, 4, 1, 3, 0, 0], [5, 3, 0, 0, 0, 0], [0] * 6]}


class TestTransformer(EncoderContract):
    name = "transformer"
    parameters = {"units": 8, "layers": 2, "heads": 2, "dropout": 0.2}
    field = "text"
    field_parameters = {"length": 6}
    vocabulary = WORDS
    tensors = TestGru.tensors


class TestBagOfWords(EncoderContract):
    name = "bag_of_words"
    parameters = {"units": 6, "dropout": 0.2}
    field = "text"
    field_parameters = {"length": 6}
    vocabulary = WORDS
    tensors = TestGru.tensors


class TestTextCnn(EncoderContract):
    name = "text_cnn"
    parameters = {"units": 6, "filters": 5, "widths": [2, 3], "dropout": 0.2}
    field = "text"
    field_parameters = {"length": 6}
    vocabulary = WORDS
    tensors = TestGru.tensors


class TestNgrams(EncoderContract):
    name = "ngrams"
    parameters = {"units": 6, "dropout": 0.2}
    field = "text"
    field_parameters = {"length": 6, "ngrams": 40}
    vocabulary = WORDS
    statistics = {"ngram_count": (40.0,)}
    tensors = {
        "ids": TestGru.tensors["ids"][:3],
        "ngrams": padded([[1, 7, 40], [3, 0, 0], [0, 0, 0]]),
        "ngram_weights": padded([[0.6, 0.6, 0.5], [1.0, 0, 0], [0, 0, 0]]),
        "ngram_spreads": padded([[1.0, 0.5, 0.2], [1.0, 0, 0], [0, 0, 0]]),
    }


class TestCaption(HeadContract):
    name = "caption"
    parameters = {"units": 6, "dropout": 0.2}
    field = "text"
    field_parameters = {"length": 6}
    vocabulary = WORDS
    target = {
        "ids": [[4, 6, 5, 7, 3, 0], [8, 8, 8, 8, 8, 8], [1, 4, 1, 3, 0, 0], [1, 1, 3, 0, 0, 0], [0] * 6],
        "present": [1, 1, 1, 1, 0],
    }
    target_mask = [1, 1, 1, 0, 0]
    given = ["cat and dog.", "猫猫猫猫猫猫猫", "a cat here", "never seen", None]


class TestCaptionOfBeams(TestCaption):
    parameters = {"units": 6, "beams": 3}


class TestSampledCaption(TestCaption):
    parameters = {"units": 6, "temperature": 0.7, "seed": 5}
