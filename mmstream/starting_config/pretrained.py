"""Inputs that encoders with pretrained weights read, for `mmstream init --pretrained`."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

from mmstream.errors import MmstreamError
from mmstream.interfaces import Suggestion
from mmstream.plugins import registry
from mmstream.starting_config.columns import Column, with_distinct_names
from mmstream.starting_config.sampling import Sample


def with_pretrained(inputs: Sequence[Column], sample: Sample) -> list[Column]:
    """The inputs, read by pretrained encoders where one suits them.

    Media are read by such an encoder instead of another; a text is read by both, as a word may say more than a meaning.

    Raises:
        MmstreamError: none suits any of them, or the weights of the best one are not installed.
    """
    found: list[Column] = []
    for column in inputs:
        best = max(_suggestions(column, sample), key=lambda pair: pair[1].fit, default=None)
        if best is None:
            found.append(column)
            continue
        encoder, suggestion = best
        parameters = {**column.suggestion.parameters, **suggestion.parameters}
        read = dataclasses.replace(suggestion, parameters=parameters)
        other = dataclasses.replace(column, encoder=encoder, suggestion=read)
        if column.component.media:
            found.append(other)
        else:
            found += [column, dataclasses.replace(other, field=f"{column.field}_{encoder}")]
    if not any(column.encoder for column in found):
        raise MmstreamError(
            "--pretrained: no installed encoder has pretrained weights for these inputs; the plugin "
            "mmstream-pretrained has some for pictures and texts"
        )
    return with_distinct_names(found)


def _suggestions(column: Column, sample: Sample) -> Iterator[tuple[str, Suggestion]]:
    """The encoders that would read a column, and how."""
    values: Sequence[Any] = () if column.columns else sample.columns[column.name]
    for name in registry.names("encoder"):
        suggest = getattr(registry.find("encoder", name), "suggest", None)
        suggestion = suggest(column.use, values) if suggest else None
        if suggestion is not None:
            yield name, suggestion
