"""Sources and sinks that come with mmstream."""

from __future__ import annotations

from mmstream.hookspecs import hookimpl


@hookimpl
def register_sources() -> dict[str, str]:
    """Sources by the name that a config uses."""
    return {
        "jsonl": "mmstream_io.jsonl:Jsonl",
        "image_folder": "mmstream_io.image_folder:ImageFolder",
    }


@hookimpl
def register_sinks() -> dict[str, str]:
    """Sinks by the name that a config uses."""
    return {
        "parquet": "mmstream_io.parquet:Parquet",
    }
