"""Objectives that align fields in the shared space."""

from __future__ import annotations

from mmstream.hookspecs import hookimpl


@hookimpl
def register_objectives() -> dict[str, str]:
    """Objectives by the name that a config uses."""
    return {
        "contrastive": "mmstream_align.contrastive:Contrastive",
    }
