"""`mmstream init`: a first config for data that nobody has described, with the reason for each guess beside it."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, cast

from mmstream import components, files, plugins
from mmstream.catalogue import flow
from mmstream.errors import MmstreamError, listed
from mmstream.interfaces import Field, Source, Suggestion
from mmstream.media import Media
from mmstream.records import SPLITS
from mmstream.sources import source_for

_ROWS, _SPLITS, _STEP, _FILES = 5_000, 200, 8, 16
_BYTES = 256 * 1024 * 1024
"""So much is looked at: rows, from so many pieces, every eighth at least; files of a column that names them; bytes."""
_IDS = ("id", "_id", "uid", "uuid", "key", "__key__", "image_id", "item_id", "record_id", "sku")
_SPLIT_NAMES = ("split", "subset", "fold", "set", "partition")
_TARGETS = (
    *("answer", "category", "class", "cls", "coarse", "fine", "group", "label", "labels", "target", "y"),
    *("keywords", "tags", "genre", "genres", "attributes", "categories", "sentiment", "topic"),
    *("price", "rating", "score", "stars", "value"),
)
_NOT_A_NAME = re.compile(r"[^a-z0-9_]+")
_SMALL = 640
"""With fewer rows than this, ten batches do not fill an epoch."""


@dataclasses.dataclass(frozen=True)
class _Column:
    """What a column seems to be.

    Attributes:
        name: in the data.
        field: name of the field.
        use: the field component; "" where none reads it.
        suggestion: how it would read the column.
        same: the share of rows whose value another row has, too.
    """

    name: str
    field: str
    use: str
    suggestion: Suggestion
    same: float

    @property
    def reads_several(self) -> bool:
        """Whether such columns can be read together as one field."""
        return not self.suggestion.parameters and "columns" in components.configurable(self.component)

    @property
    def component(self) -> type[Field]:
        return cast("type[Field]", plugins.find("field", self.use))


def starting_config(path: str, config_folder: str) -> str:
    """A commented config for an input, as YAML.

    Args:
        path: file, folder or pattern.
        config_folder: where the config will lie, from which its paths are taken.

    Raises:
        MmstreamError: the input cannot be read, has no rows, or nothing in it is of a kind that a field reads.
    """
    use = source_for(path)
    source = cast(Source, components.build("source", use, {}))
    rows, count = _sample(source, path)
    found: dict[str, list[Any]] = {}
    for row in rows:
        for name, value in row.items():
            if value is not None:
                found.setdefault(name, []).append(value)
    if not found:
        raise MmstreamError(f"{path} has no row that can be read")
    id_column = _id_of(found, len(rows))
    split_column = _split_of(found)
    media = Media(files.base(path), anywhere=not files.is_remote(path))
    columns = [
        column
        for name, values in found.items()
        if name not in (id_column, split_column) and (column := _look_at(name, values, media)) is not None
    ]
    columns = _with_distinct_names(columns)
    if not columns:
        raise MmstreamError(f"nothing in {path} looks like what a field reads; its columns: {listed(sorted(found))}")
    targets, why_target = _targets(columns)
    inputs, tables = _together([column for column in columns if column not in targets])
    unread = sorted({*found} - {column.name for column in columns} - {id_column, split_column})
    return "".join(
        f"{line}\n"
        for line in (
            f"# A first config for {files.name(path)}, guessed by `mmstream init`.",
            f"# {count:,} rows, {len(rows):,} looked at; what follows a # says why. Change what is wrong.",
            *_source_lines(use, path, config_folder, id_column, len(rows)),
            *_split_lines(split_column, inputs, count),
            *_field_lines([*inputs, *targets], tables, unread),
            *_model_lines(inputs, targets, why_target),
            *_training_lines(inputs, count),
        )
    )


def _sample(source: Source, path: str) -> tuple[list[Mapping[str, Any]], int]:
    """Rows from all over an input, and how many it has."""
    splits = source.splits(path)
    chosen = splits[:: -(-len(splits) // _SPLITS) or 1]
    each = -(-_ROWS // max(len(chosen), 1))
    rows: list[Mapping[str, Any]] = []
    size = 0
    for split in chosen:
        step = min(max(split.rows // each, 1), _STEP)
        for row in islice(source.read(split), 0, each * step, step):
            if row.columns is not None:
                rows.append(row.columns)
                size += sum(len(value) for value in row.columns.values() if isinstance(value, bytes | str))
            if size > _BYTES * (len(rows) + 1) / _ROWS:
                break  # large rows: the next split has its share, too
    return rows, sum(split.rows for split in splits)


def _id_of(found: Mapping[str, Sequence[Any]], count: int) -> str | None:
    """A column whose name and values both say that it names rows."""
    for name in sorted(found, key=lambda n: _IDS.index(n.lower()) if n.lower() in _IDS else len(_IDS)):
        values = found[name]
        if name.lower() not in _IDS or len(values) < count:
            continue
        if all(isinstance(v, str | int) and not isinstance(v, bool) for v in values) and len(set(values)) == count:
            return name
    return None


def _split_of(found: Mapping[str, Sequence[Any]]) -> str | None:
    for name, values in found.items():
        if name.lower() in _SPLIT_NAMES and {str(value) for value in values} <= set(SPLITS):
            return name
    return None


def _look_at(name: str, values: Sequence[Any], media: Media) -> _Column | None:
    """The field that reads a column best; None where none does."""
    suggestions: list[tuple[float, str, Suggestion]] = []
    contents = list(_contents(values, media))
    for use in plugins.names("field"):
        cls = cast("type[Field]", plugins.find("field", use))
        suggestion = cls.suggest(contents) if contents else None
        if not cls.media:
            suggestion = None if len(contents) > len(values[:_FILES]) / 2 else cls.suggest(values)
        if suggestion is not None:
            suggestions.append((suggestion.fit, use, suggestion))
    if not suggestions:
        return None
    _, use, suggestion = max(suggestions, key=lambda one: one[0])
    keys = [str(value) for value in values]
    field = _NOT_A_NAME.sub("_", name.lower()).strip("_") or "column"
    field = field if field[0].isalpha() else f"column_{field}"
    reserved = field in ("id", "fused") or field.endswith(("_score", "_match"))
    return _Column(name, f"{field}_" if reserved else field, use, suggestion, 1 - len(set(keys)) / len(keys))


def _contents(values: Sequence[Any], media: Media) -> Iterator[bytes]:
    """The bytes of a few values that are files, or bytes themselves."""
    step = max(len(values) // _FILES, 1)
    for value in values[::step][:_FILES]:
        if isinstance(value, bytes):
            yield value
        elif isinstance(value, str) and re.search(r"\.\w{1,5}$", value):
            try:
                yield media.read(value, _BYTES)
            except (ValueError, OSError):
                continue


def _with_distinct_names(columns: Sequence[_Column]) -> list[_Column]:
    taken: set[str] = set()
    found = []
    for column in columns:
        field, number = column.field, 2
        while field in taken:
            field, number = f"{column.field}_{number}", number + 1
        taken.add(field)
        found.append(dataclasses.replace(column, field=field))
    return found


def _together(inputs: Sequence[_Column]) -> tuple[list[_Column], dict[str, list[str]]]:
    """Inputs, those of a kind that several columns make one field of put together; and the columns of such fields."""
    groups: dict[str, list[_Column]] = {}
    for column in inputs:
        groups.setdefault(column.use if column.reads_several else column.field, []).append(column)
    kept, tables = [], {}
    for key, group in groups.items():
        if len(group) == 1:
            kept += group
            continue
        field = f"{key}_columns"
        tables[field] = [column.name for column in group]
        suggestion = dataclasses.replace(group[0].suggestion, why=f"{len(group)} columns of a kind, read as one field")
        kept.append(dataclasses.replace(group[0], field=field, suggestion=suggestion))
    return kept, tables


def _targets(columns: Sequence[_Column]) -> tuple[list[_Column], str]:
    """What is to be predicted, and why."""
    kinds = {column.field: column.component for column in columns}
    media = [column for column in columns if kinds[column.field].media]
    predictable = [column for column in columns if kinds[column.field].predicted_by]
    closed = [column for column in predictable if kinds[column.field].predicted_by != "caption"]
    texts = [column for column in predictable if column not in closed]
    named = [column for column in closed if column.name.lower() in _TARGETS]
    if named:
        return named, "its name says that it is a target"
    if media and closed:
        return closed, "beside media, what has few values is a target"
    if closed and len(columns) > 1:
        return closed[-1:], "the last column of a table is usually its target"
    if media and texts:
        return texts[:1], "beside media alone, a text is a caption"
    return [], ""


def _source_lines(use: str, path: str, folder: str, id_column: str | None, count: int) -> list[str]:
    where = path if files.is_remote(path) else os.path.relpath(path, folder)
    given = {"use": use, "path": where, **({"id": id_column} if id_column else {})}
    why = f"different in all {count:,} rows" if id_column else "no column names a row; where it stands does"
    return [f"source: {flow(given)}  # id: {why}"]


def _split_lines(column: str | None, inputs: Sequence[_Column], count: int) -> list[str]:
    if column:
        return [f"split: {flow({'column': column})}  # it says train, validation or test"]
    shares = {"validation": 0.1, "test": 0.1} if count >= _SMALL else {"validation": 0.2, "test": 0.2}
    for one in inputs:
        if one.component.media and one.same > 0.1:
            return [f"split: {flow({**shares, 'group': one.name})}  # rows with the same {one.name} stay together"]
    return [f"split: {flow(shares)}  # by a hash of the id"]


def _field_lines(
    columns: Sequence[_Column], tables: Mapping[str, Sequence[str]], unread: Sequence[str]
) -> Iterator[str]:
    yield "fields:"
    for column in columns:
        renamed: dict[str, Any] = {"column": column.name} if column.name != column.field else {}
        if column.field in tables:
            renamed = {"columns": tables[column.field]}
        given = {"use": column.use, **renamed, **column.suggestion.parameters}
        yield f"  {column.field}: {flow(given)}  # {column.suggestion.why}"
    if unread:
        yield f"  # not read, since no field fits: {', '.join(unread)}"


def _model_lines(inputs: Sequence[_Column], targets: Sequence[_Column], why: str) -> Iterator[str]:
    readable = [column for column in inputs if column.component.encoded_by]
    yield "model:"
    yield "  width: 128"
    yield "  encoders:"
    for column in readable:
        yield f"    {column.field}: {flow({'use': column.component.encoded_by})}"
    if len(readable) > 1 and targets:
        yield "  fusion: {use: attention}  # the heads read all inputs together"
    reads = {"reads": readable[0].field} if len(readable) == 1 else {}
    yield "  heads:" if targets else "  heads: {}"
    for column in targets:
        yield f"    {column.field}: {flow({'use': column.component.predicted_by, **reads})}  # {why}"
    if not targets:
        yield "    # Nothing looks like a target. Name a field to predict here, as"
        yield "    #   label: {use: classification, reads: " + (readable[0].field if readable else "image") + "}"


def _training_lines(inputs: Sequence[_Column], count: int) -> Iterator[str]:
    batch = 64 if count >= _SMALL else max(count // 20, 4)
    reasons = ["few rows: smaller batches"] if batch < 64 else []
    several = sum(bool(column.component.encoded_by) for column in inputs) > 1
    dropout = {"modality_dropout": 0.2} if several else {}
    reasons += ["modality_dropout: so that rows which lack an input are labelled well, too"] if several else []
    why = f"  # {'; '.join(reasons)}" if reasons else ""
    yield f"training: {flow({'epochs': 30, 'batch_size': batch, **dropout})}{why}"
