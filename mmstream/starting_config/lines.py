"""A first config as YAML, line by line, with the reason for each guess as a comment."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mmstream.plugins.catalogue import flow
from mmstream.starting_config import recipe
from mmstream.starting_config.columns import Column
from mmstream.starting_config.sampling import Sample
from mmstream.storage import files
from mmstream.text.escapes import escaped

_SMALL = 640
"""With fewer rows than this, an epoch would have fewer than ten batches of 64."""
_LONGEST, _MOST = 200, 50
"""The most characters of a comment, and the most columns that are listed as not read."""


def config_text(
    *,
    use: str,
    path: str,
    folder: str,
    id_column: str | None,
    split: Mapping[str, Any],
    sample: Sample,
    inputs: Sequence[Column],
    targets: Sequence[Column],
    why_targets: str,
    left_out: Mapping[str, str],
) -> str:
    """Write the config.

    Args:
        use: the source component.
        path: the path of the input.
        folder: the folder of the config; the paths in it are relative to this folder.
        id_column: the column that identifies rows; None if none does.
        split: the keys of `split` if the data give the splits; {} if they do not.
        sample: a sample of the input.
        inputs: columns that are read.
        targets: columns that are predicted.
        why_targets: why these are predicted.
        left_out: columns that are not read, and why.
    """
    count, looked_at = sample.count, len(sample.rows)
    return "".join(
        f"{line}\n"
        for line in (
            _comment(f"A first config for {files.name(path)}, guessed by `mmstream init`."),
            _comment(f"{count:,} rows, {looked_at:,} examined; the comments give the reasons. Change what is wrong."),
            *_source_lines(use, path, folder, id_column, sample),
            *_split_lines(split, inputs, count),
            *_field_lines(inputs, targets, count, left_out),
            *_model_lines(inputs, targets, why_targets, sample),
            *_training_lines(inputs, count),
        )
    )


def _comment(text: str) -> str:
    """A comment of one line."""
    line = " ".join(escaped(text).split())
    return f"# {line if len(line) <= _LONGEST else f'{line[:_LONGEST]}…'}"


def _source_lines(use: str, path: str, folder: str, id_column: str | None, sample: Sample) -> list[str]:
    where = path if files.is_remote(path) else os.path.relpath(path, folder)
    settings = {"use": use, "path": where, **sample.parameters, **({"id": id_column} if id_column else {})}
    rows = len(sample.rows)
    why = f"different in all {rows:,} rows" if id_column else "no column identifies a row, so its position does"
    return [f"source: {flow(settings)}  {_comment(f'id: {why}')}"]


def _split_lines(split: Mapping[str, Any], inputs: Sequence[Column], count: int) -> list[str]:
    if split:
        of_files = "the name of the file or its folder" if "by_file" in split else "it"
        return [f"split: {flow(split)}  # {of_files} says train, validation or test"]
    shares = {"validation": 0.1, "test": 0.1} if count >= _SMALL else {"validation": 0.2, "test": 0.2}
    for one in inputs:
        if one.component.media and one.same > 0.1:
            why = _comment(f"rows with the same {one.name} stay together")
            return [f"split: {flow({**shares, 'group': one.name})}  {why}"]
    return [f"split: {flow(shares)}  # by a hash of the id"]


def _field_lines(
    inputs: Sequence[Column], targets: Sequence[Column], count: int, left_out: Mapping[str, str]
) -> Iterator[str]:
    yield "fields:"
    for column in inputs:
        settings = {**column.settings, **recipe.parameters_of(column, count)}
        yield f"  {column.field}: {flow(settings)}  {_comment(column.suggestion.why)}"
    for column in targets:
        yield f"  {column.field}: {flow(column.settings)}  {_comment(column.suggestion.why)}"
    for number, (name, why) in enumerate(left_out.items()):
        if number == _MOST:
            yield f"  # {len(left_out) - _MOST:,} more columns are not read"
            return
        yield f"  {_comment(f'{name} is not read: {why}')}"


def _model_lines(inputs: Sequence[Column], targets: Sequence[Column], why: str, sample: Sample) -> Iterator[str]:
    readable = _readable(inputs)
    yield "model:"
    yield "  width: 128"
    yield "  encoders:"
    for column in readable:
        yield f"    {column.field}: {flow({'use': column.encoded_by})}"
    for key, value, reason in recipe.model(readable):
        yield f"  {key}: {value}  # {reason}"
    reads = {"reads": readable[0].field} if len(readable) == 1 else {}
    yield "  heads:"
    for column in targets:
        choice = recipe.head(column, sample.columns[column.name])
        settings = {"use": column.component.predicted_by, **reads, **choice.keys}
        yield f"    {column.field}: {flow(settings)}  {_comment('; '.join([why, *choice.why]))}"


def _training_lines(inputs: Sequence[Column], count: int) -> Iterator[str]:
    choice = recipe.training(_readable(inputs), count)
    why = f"  {_comment('; '.join(choice.why))}" if choice.why else ""
    yield f"training: {flow(choice.keys)}{why}"


def _readable(inputs: Sequence[Column]) -> list[Column]:
    return [column for column in inputs if column.encoded_by]
