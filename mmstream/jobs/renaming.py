"""New names for the input's columns: `--column NEW=OLD`, checked before anything is touched."""

from __future__ import annotations

from collections.abc import Iterable

from mmstream.errors import MmstreamError, UsageError, brief, choices
from mmstream.inputs.input import Input
from mmstream.inputs.items import SAMPLE_ROWS
from mmstream.interfaces import Row
from mmstream.trained_model.artefact import TrainedModel


def parse_columns(texts: Iterable[str]) -> dict[str, str]:
    """New column name -> its name in the input, from texts such as "image=path".

    Raises:
        UsageError: one is malformed, or two name the same new column.
    """
    rename: dict[str, str] = {}
    for text in texts:
        new, separator, old = text.partition("=")
        if not (new and separator and old):
            raise UsageError(f"--column {brief(text)}: expected NEW=OLD, such as image=path")
        if new in rename:
            raise UsageError(f"--column {brief(new)} is given twice; only one column can have this name")
        rename[new] = old
    return rename


def check_wanted(model: TrainedModel, rename: Iterable[str]) -> None:
    """Check that the model reads every column that gets a new name.

    Args:
        model: the model that is to label.
        rename: new column names.

    Raises:
        MmstreamError: a new name is neither the id nor a column of a field that a head reads.
    """
    read = {*model.preprocessor.reads(), *filter(None, [model.config.source.id])}
    for new in rename:
        if new not in read:
            raise MmstreamError(
                f"--column {brief(new)}=…: the model reads no column of that name. {choices(new, read)}"
            )


def check_given(job_input: Input, rows: Iterable[Row]) -> None:
    """Check that every column that gets a new name occurs in some row.

    Rows are read until all these columns have been seen. A row need not have all columns, as in JSON lines, so a column
    is refused only when no row has it.

    Args:
        job_input: the input, with the new names.
        rows: all rows that exist so far.

    Raises:
        MmstreamError: no row has one of them, though rows can be read.
    """
    missing = {old: new for new, old in job_input.rename.items()}
    seen: set[str] = set()
    readable = (row.columns for row in (rows if missing else ()) if row.columns is not None)
    for number, columns in enumerate(readable):
        missing = {old: new for old, new in missing.items() if old not in columns}
        if not missing:
            return
        if number < SAMPLE_ROWS:
            seen |= columns.keys()
    if seen:
        old, new = next(iter(missing.items()))
        raise MmstreamError(
            f"--column {brief(new)}={brief(old)}: no row of {job_input.path} has a column {brief(old)}. "
            f"{choices(old, seen)}"
        )
