"""Fields of tables, their encoders and the heads that predict them."""

from __future__ import annotations

from mmstream.plugins.hookspecs import hookimpl


@hookimpl
def register_fields() -> dict[str, str]:
    """Fields by the name that a config uses."""
    return {
        "category": "mmstream_tabular.category:Category",
        "tags": "mmstream_tabular.tags:Tags",
        "number": "mmstream_tabular.number:Number",
    }


@hookimpl
def register_encoders() -> dict[str, str]:
    """Encoders by the name that a config uses."""
    return {
        "embedding": "mmstream_tabular.encoders:Embedding",
        "bag_of_tags": "mmstream_tabular.encoders:BagOfTags",
        "mlp": "mmstream_tabular.encoders:Mlp",
    }


@hookimpl
def register_heads() -> dict[str, str]:
    """Heads by the name that a config uses."""
    return {
        "classification": "mmstream_tabular.heads:Classification",
        "tagging": "mmstream_tabular.heads:Tagging",
        "regression": "mmstream_tabular.regression:Regression",
    }
