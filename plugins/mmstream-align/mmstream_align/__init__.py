"""Objectives that align fields in the shared space."""

from __future__ import annotations

from mmstream.plugins.hookspecs import hookimpl


@hookimpl
def register_objectives() -> dict[str, str]:
    """Objectives by the name that a config uses."""
    return {
        "contrastive": "mmstream_align.contrastive:Contrastive",
        "matching": "mmstream_align.matching:Matching",
        "sigmoid_contrastive": "mmstream_align.sigmoid_contrastive:SigmoidContrastive",
    }
