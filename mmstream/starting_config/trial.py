"""Trying a guessed config before the user gets it: it is composed as in `check`, and decodes a sample of the rows."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from mmstream.config.loading import load_config
from mmstream.errors import ConfigError, MmstreamError, RecordError, brief
from mmstream.preprocessing.preprocessor import Preprocessor
from mmstream.records.media import Media
from mmstream.records.record import Record
from mmstream.starting_config.columns import Column
from mmstream.training.description import compose_unfitted

_ROWS, _FILES = 300, 24
"""How many rows are decoded, and how many if they name files."""
_IN_A_MESSAGE = re.compile(r"\b(?:fields|encoders|heads)\.([a-z0-9_]+)")


def failures(column: Column, records: Sequence[Record], media: Media) -> tuple[int, int, str]:
    """Try to decode a sample of rows with the field of a column.

    Returns:
        how many rows with a value were tried, how many of them fail, and why the first one does.
    """
    preprocessor = Preprocessor({column.field: column.config})
    names = column.columns or (column.name,)
    with_value = [record for record in records if any(record.columns.get(name) is not None for name in names)]
    most = _FILES if column.component.media else _ROWS
    chosen = with_value[:: max(len(with_value) // most, 1)]
    errors = list(_errors(preprocessor, chosen, media))
    return len(chosen), len(errors), errors[0] if errors else ""


def why_refused(text: str) -> dict[str, str]:
    """The fields for which `check` would refuse a config, with its messages; {} if it would accept the config.

    Raises:
        MmstreamError: it would refuse the config, but not because of a field.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "config.yaml"
        path.write_text(text, "utf-8")
        try:
            compose_unfitted(load_config(str(path)))
        except MmstreamError as error:
            lines = str(error).splitlines()[isinstance(error, ConfigError) :]
            by_field = {match[1]: line.strip() for line in lines for match in _IN_A_MESSAGE.finditer(line)}
            if not by_field:
                raise
            return by_field
    return {}


def _errors(preprocessor: Preprocessor, records: Sequence[Record], media: Media) -> Iterator[str]:
    for record in records:
        loaded = preprocessor.load(record, media)
        try:
            if loaded.error:
                raise loaded.error
            preprocessor.decode(loaded.values)
        except RecordError as error:
            yield brief(str(error)).strip("'\"")
