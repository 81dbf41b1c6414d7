"""Encoders with pretrained weights, and the tokenizers of those that read texts."""

from __future__ import annotations

from mmstream.plugins.hookspecs import hookimpl


@hookimpl
def register_tokenizers() -> dict[str, str]:
    """Tokenizers by the name that a config uses."""
    return {
        "minilm": "mmstream_pretrained.tokenizers:MiniLmTokenizer",
        "multilingual_sentence": "mmstream_pretrained.tokenizers:SentenceTokenizer",
    }


@hookimpl
def register_encoders() -> dict[str, str]:
    """Encoders by the name that a config uses."""
    return {
        "efficientnet_lite": "mmstream_pretrained.efficientnet_lite:EfficientNetLite",
        "minilm": "mmstream_pretrained.minilm:MiniLm",
        "multilingual_sentence": "mmstream_pretrained.multilingual_sentence:MultilingualSentence",
    }
