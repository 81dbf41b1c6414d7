"""The text field, its encoders and the caption head."""

from __future__ import annotations

from mmstream.plugins.hookspecs import hookimpl


@hookimpl
def register_fields() -> dict[str, str]:
    """Fields by the name that a config uses."""
    return {
        "text": "mmstream_text.field:Text",
    }


@hookimpl
def register_encoders() -> dict[str, str]:
    """Encoders by the name that a config uses."""
    return {
        "gru": "mmstream_text.gru:Gru",
        "transformer": "mmstream_text.transformer:Transformer",
        "bag_of_words": "mmstream_text.bag_of_words:BagOfWords",
        "ngrams": "mmstream_text.ngrams:Ngrams",
        "text_cnn": "mmstream_text.text_cnn:TextCnn",
    }


@hookimpl
def register_heads() -> dict[str, str]:
    """Heads by the name that a config uses."""
    return {
        "caption": "mmstream_text.caption:Caption",
    }
