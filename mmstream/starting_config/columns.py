"""Guessing what a column is: the field that reads its values best."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Sequence
from typing import Any, cast

from mmstream.config.schema import FieldConfig
from mmstream.interfaces import Field, Suggestion
from mmstream.plugins import components, registry
from mmstream.plugins.catalogue import flow
from mmstream.records.inline import is_inline
from mmstream.records.media import Media
from mmstream.starting_config.roles import is_of_classes

_FILES, _BYTES = 16, 256 * 1024 * 1024
"""How many of the files that a column names are looked at, and up to which size."""
_MISSING = ("na", "n/a", "n.a.", "#n/a", "<na>", "null", "none", "nil", "nan", "-", "--", "?")
"""Texts that stand for a missing value in tables."""
_NOT_IN_A_NAME = re.compile(r"[^a-z0-9_]+")


@dataclasses.dataclass(frozen=True)
class Column:
    """A guess of what a column is.

    Attributes:
        name: its name in the data.
        field: the name of its field.
        use: the field component.
        suggestion: how this component would read the column.
        same: the share of rows whose value another row has, too.
        reference: the `reference` by which its values name files; None if the values are paths.
        columns: the columns that one field reads together, if there are several.
        encoder: the encoder with pretrained weights that reads the field; "" for the field's usual one.
    """

    name: str
    field: str
    use: str
    suggestion: Suggestion
    same: float
    reference: str | None = None
    columns: tuple[str, ...] = ()
    encoder: str = ""

    @property
    def encoded_by(self) -> str:
        """The encoder that reads the field; "" for none."""
        return self.encoder or self.component.encoded_by

    @property
    def reads_several(self) -> bool:
        """Whether several columns like this one can be read together as one field."""
        alike = not self.suggestion.parameters or self.component.predicted_by == "regression"
        return alike and "columns" in components.configurable(self.component)

    @property
    def component(self) -> type[Field]:
        """The class of the field component."""
        return cast("type[Field]", registry.find("field", self.use))

    @property
    def settings(self) -> dict[str, Any]:
        """The field's section of a config."""
        read: dict[str, Any] = {"column": self.name} if self.name != self.field else {}
        if self.columns:
            read = {"columns": list(self.columns)}
        if self.reference is not None:
            read["reference"] = self.reference
        return {"use": self.use, **read, **self.suggestion.parameters}

    @property
    def config(self) -> FieldConfig:
        """The field as a config holds it."""
        return FieldConfig(**{"column": "" if self.columns else self.name, **self.settings})


def look_at(
    name: str, values: Sequence[Any], media: Media, reference: str | None = None, folders: Sequence[str] = ()
) -> Column | None:
    """Find the field that reads a column best; None if none does.

    Args:
        name: the name of the column.
        values: the values of the column, without None.
        media: reads the files that the values name.
        reference: the `reference` by which they do; None if the values are paths.
        folders: the folder of each value's table, below the input; () for the input's own.
    """
    place = FieldConfig(use="?", reference=reference).media_reference
    places = list(map(place, values, folders)) if folders else list(map(place, values))
    contents = list(_contents(places, media))
    missing = sorted({value.strip() for value in values if _is_missing(value)})
    present = [value for value in values if not _is_missing(value)]
    suggestions = _suggestions(present, contents)
    if missing and not suggestions:  # what looks missing may be the second of two values
        missing, suggestions = [], _suggestions(values, contents)
    if not suggestions:
        return None
    use, suggestion = max(suggestions, key=lambda pair: pair[1].fit)
    if is_of_classes(name):
        kinds = [pair for pair in suggestions if _predicted_by(pair[0]) == "classification"]
        use, suggestion = kinds[0] if kinds and _predicted_by(use) == "regression" else (use, suggestion)
    if missing and "missing" in components.configurable(registry.find("field", use)):
        all_missing = sorted({*missing, *suggestion.parameters.get("missing", ())})
        suggestion = dataclasses.replace(suggestion, parameters={**suggestion.parameters, "missing": all_missing})
    if _predicted_by(use) == "caption" and _why_not(present):  # a text that is probably something else
        return None
    keys = [str(value) for value in values]
    is_media = cast("type[Field]", registry.find("field", use)).media
    return Column(
        name, field_name(name), use, suggestion, 1 - len(set(keys)) / len(keys), reference if is_media else None
    )


def _suggestions(values: Sequence[Any], contents: Sequence[bytes]) -> list[tuple[str, Suggestion]]:
    """The fields that could read values, and how, given the contents of files that some of the values name."""
    are_files = len(contents) > len(values[:_FILES]) / 2
    suggestions = []
    for use in registry.names("field") if values else ():
        cls = cast("type[Field]", registry.find("field", use))
        if cls.media:
            suggestion = cls.suggest(contents) if contents else None
        else:
            suggestion = None if are_files else cls.suggest(values)
        if suggestion is not None:
            suggestions.append((use, suggestion))
    return suggestions


def field_name(column: str) -> str:
    """A valid name for the field and the head of a column."""
    name = _NOT_IN_A_NAME.sub("_", column.lower()).strip("_") or "column"
    if not name[0].isalpha() or name.startswith(("val_", "embedding")):
        name = f"column_{name}"
    return f"{name}_" if name in ("id", "fused") or name.endswith(("_score", "_match")) else name


def with_distinct_names(columns: Sequence[Column]) -> list[Column]:
    """The columns, with fields renamed so that no two have the same name."""
    taken: set[str] = set()
    renamed = []
    for column in columns:
        field, number = column.field, 2
        while field in taken:
            field, number = f"{column.field}_{number}", number + 1
        taken.add(field)
        renamed.append(dataclasses.replace(column, field=field))
    return renamed


def together(inputs: Sequence[Column]) -> list[Column]:
    """Combine those inputs that one field can read together."""
    groups: dict[str, list[Column]] = {}
    for column in inputs:
        alike = f" {column.use} {flow(column.suggestion.parameters)}" if column.reads_several else column.field
        groups.setdefault(alike, []).append(column)
    kept = []
    for group in groups.values():
        if len(group) == 1:
            kept += group
            continue
        why = f"{len(group)} columns of the same kind, read as one field; the first: {group[0].suggestion.why}"
        suggestion = dataclasses.replace(group[0].suggestion, why=why)
        names = tuple(column.name for column in group)
        kept.append(
            dataclasses.replace(group[0], field=f"{group[0].use}_columns", suggestion=suggestion, columns=names)
        )
    return with_distinct_names(kept)


def why_unread(values: Sequence[Any]) -> str:
    """Why no field reads a column."""
    if reason := _why_not(values):
        return reason
    if len(values) == 1:
        return "no field fits its only value"
    if len(set(map(str, values))) == 1:
        return f"it has the same value in all {len(values):,} rows that have one, so there is nothing to predict"
    return f"no field fits its {len(set(map(str, values))):,} different values in {len(values):,} rows"


def _why_not(values: Sequence[Any]) -> str:
    """Why the field that a column seems to be for does not read it; "" if no field gives a reason."""
    present = [value for value in values if not _is_missing(value)]
    reasons = (cast("type[Field]", registry.find("field", use)).why_not(present) for use in registry.names("field"))
    return next(filter(None, reasons), "") if present else ""


def _predicted_by(use: str) -> str:
    return cast("type[Field]", registry.find("field", use)).predicted_by


def _is_missing(value: Any) -> bool:
    return isinstance(value, str) and value.strip().lower() in _MISSING


def _contents(values: Sequence[Any], media: Media) -> Iterator[bytes]:
    """The bytes of a few values that name files, or are bytes themselves."""
    step = max(len(values) // _FILES, 1)
    for value in values[::step][:_FILES]:
        if isinstance(value, bytes):
            yield value
        elif isinstance(value, dict) or (isinstance(value, str) and _may_be_a_file(value)):
            try:
                yield media.read(value, _BYTES)
            except (TypeError, ValueError, OSError):
                continue


def _may_be_a_file(text: str) -> bool:
    return is_inline(text) or bool(re.search(r"\.\w{1,5}$", text.strip()))
