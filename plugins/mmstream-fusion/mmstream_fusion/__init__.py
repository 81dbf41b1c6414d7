"""Fusions that come with mmstream."""

from __future__ import annotations

from mmstream.plugins.hookspecs import hookimpl


@hookimpl
def register_fusions() -> dict[str, str]:
    """Fusions by the name that a config uses."""
    return {
        "concat": "mmstream_fusion.concat:Concat",
        "attention": "mmstream_fusion.attention:Attention",
        "gated": "mmstream_fusion.gated:Gated",
        "late": "mmstream_fusion.late:Late",
        "cross_attention": "mmstream_fusion.cross_attention:CrossAttention",
    }
