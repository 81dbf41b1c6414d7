"""The encoders with pretrained weights keep the contract, with random weights."""

from __future__ import annotations

import pytest

from mmstream.testing import EncoderContract, TokenizerContract

PIECES = [
    [102, 2004, 103, 0, 0, 0],
    [102, 2005, 30, 103, 0, 0],
    [102, 7, 8, 9, 10, 103],
    [0] * 6,
    [102, 103, 0, 0, 0, 0],
]


class TestMiniLmTokenizer(TokenizerContract):
    name = "minilm"


class TestSentenceTokenizer(TokenizerContract):
    name = "multilingual_sentence"


class TestEfficientNetLite(EncoderContract):
    name = "efficientnet_lite"
    parameters = {"tokens": "pooled", "dropout": 0.1}
    field = "image"
    field_parameters = {"size": [32, 32]}


class TestGridOfEfficientNetLite(EncoderContract):
    name = "efficientnet_lite"
    parameters = {"tokens": "grid"}
    field = "image"
    field_parameters = {"size": [64, 40]}


@pytest.mark.slow
class TestMiniLm(EncoderContract):
    name = "minilm"
    parameters = {"tokens": "pooled", "dropout": 0.2}
    field = "text"
    field_parameters = {"length": 6, "tokens": {"preset": "minilm", "length": 6}}
    tensors = {"ids": [[4, 3, 0, 0, 0, 0]] * 5, "minilm_pieces": PIECES}


@pytest.mark.slow
class TestPiecesOfMiniLm(TestMiniLm):
    parameters = {"tokens": "all"}
    lengthened = ("minilm_pieces",)


@pytest.mark.slow
class TestMultilingualSentence(EncoderContract):
    name = "multilingual_sentence"
    parameters = {"dropout": 0.2}
    field = "text"
    field_parameters = {"length": 6, "tokens": {"preset": "multilingual_sentence", "length": 6}}
    tensors = {"ids": [[4, 3, 0, 0, 0, 0]] * 5, "sentence_pieces": PIECES}
