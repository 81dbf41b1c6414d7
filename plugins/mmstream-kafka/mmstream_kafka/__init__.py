"""Kafka: a source that reads topics, and a publisher of labels."""

from __future__ import annotations

from mmstream.plugins.hookspecs import hookimpl


@hookimpl
def register_sources() -> dict[str, str]:
    """Sources by the name that a config uses."""
    return {"kafka": "mmstream_kafka.source:Kafka"}


@hookimpl
def register_publishers() -> dict[str, str]:
    """Publishers by name."""
    return {"kafka": "mmstream_kafka.publisher:KafkaPublisher"}
