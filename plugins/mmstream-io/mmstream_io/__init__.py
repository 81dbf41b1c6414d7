"""Sources and sinks that come with mmstream."""

from __future__ import annotations

from mmstream.plugins.hookspecs import hookimpl


@hookimpl
def register_sources() -> dict[str, str]:
    """Sources by the name that a config uses."""
    return {
        "jsonl": "mmstream_io.jsonl:Jsonl",
        "csv": "mmstream_io.csv:Csv",
        "parquet": "mmstream_io.parquet:Parquet",
        "tfrecord": "mmstream_io.tfrecord:Tfrecord",
        "webdataset": "mmstream_io.webdataset:Webdataset",
        "image_folder": "mmstream_io.image_folder:ImageFolder",
    }


@hookimpl
def register_sinks() -> dict[str, str]:
    """Sinks by the name that a config uses."""
    return {
        "parquet": "mmstream_io.parquet:ParquetSink",
        "jsonl": "mmstream_io.jsonl:JsonlSink",
        "csv": "mmstream_io.csv_sink:CsvSink",
    }
