"""Fields of tables and the heads that predict them."""

from __future__ import annotations

from mmstream.hookspecs import hookimpl


@hookimpl
def register_fields() -> dict[str, str]:
    """Fields by the name that a config uses."""
    return {
        "category": "mmstream_tabular.fields:Category",
        "tags": "mmstream_tabular.fields:Tags",
    }


@hookimpl
def register_heads() -> dict[str, str]:
    """Heads by the name that a config uses."""
    return {
        "classification": "mmstream_tabular.heads:Classification",
        "tagging": "mmstream_tabular.heads:Tagging",
    }
