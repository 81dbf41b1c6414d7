"""From a record to tensors: jobs, training, Python and serving all go through `Preprocessor`."""

from __future__ import annotations

import functools
import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from mmstream.config.schema import FieldConfig
from mmstream.errors import MmstreamError, RecordError, choices, describe
from mmstream.interfaces import Field, Fitted, Spec, TensorSpec
from mmstream.plugins import components
from mmstream.preprocessing.field_assets import open_assets
from mmstream.preprocessing.transform_graph import TransformGraph, load_transform_graph
from mmstream.records.media import Media
from mmstream.records.record import Record, digest_of, digest_of_bytes
from mmstream.records.spool import Spooled
from mmstream.storage import files
from mmstream.storage.exhaustion import check_exhausted
from mmstream.supervision import worker

PRESENT = "present"
READ = "read"
"""The step of a `worker.Trial` in which a record is loaded."""
Resume = Literal["values", "metadata", "content"]
Decoded = Mapping[str, "dict[str, Any] | None"]
Tensors = dict[str, dict[str, np.ndarray]]


class Loaded(NamedTuple):
    """The values of a record's fields (media as bytes), and a digest of exactly these.

    Attributes:
        values: {field: value}, None if absent.
        digest: covers the columns that are read and, for media, what `resume` asks for.
        error: why a media file could not be read; None if all could.
    """

    values: dict[str, Any]
    digest: str
    error: RecordError | None


class Preprocessor:
    """Turns records into tensors.

    Args:
        fields: the fields of the config, by name.
        transform: directory of the fitted tensorflow-transform graph; "" before it is fitted.
        only: the fields to read and decode; None for all.
        resume: what a record's digest reads of its media: "content", their bytes; "metadata", their names, sizes and
            times; "values", their names.
    """

    def __init__(
        self,
        fields: Mapping[str, FieldConfig],
        transform: str = "",
        only: Collection[str] | None = None,
        resume: Resume = "content",
    ) -> None:
        self.all_fields: dict[str, Field] = {
            name: components.build("field", field.use, field.parameters) for name, field in fields.items()
        }
        self.fields = {name: field for name, field in self.all_fields.items() if only is None or name in only}
        self.columns = {name: fields[name].reads for name in self.fields}
        self._reference = {name: fields[name].media_reference for name in self.fields}
        self._several = {name for name in self.fields if fields[name].columns}
        self.component = {name: f"field:{fields[name].use}" for name in self.fields}
        self._transform = transform
        self._resume = resume
        open_assets(self.all_fields, transform)

    def reads(self) -> dict[str, bool]:
        """The columns that the fields read, and whether each is read as media."""
        columns: dict[str, bool] = {}
        for name, field in self.fields.items():
            for column in self.columns[name]:
                columns[column] = field.media or columns.get(column, False)
        return columns

    def values(self, record: Record) -> dict[str, Any]:
        """The value of each field in a record: a list if the field reads several columns, None if it is absent."""
        by_field: dict[str, Any] = {}
        for name, columns in self.columns.items():
            values = [record.columns.get(column) for column in columns]
            if name in self._several:
                by_field[name] = None if all(value is None for value in values) else values
            else:
                (by_field[name],) = values
        return by_field

    def read_media(self, name: str, value: Any, media: Media, origin: str) -> bytes:
        """The bytes of the file that a media field's value names, or of the value itself; raises `Media`'s errors."""
        return media.read(self._place(name, value, media, origin), self.fields[name].max_bytes)

    def _place(self, name: str, value: Any, media: Media, origin: str) -> Any:
        return value if media.by_path else self._reference[name](value, media.folder_of(origin))

    def load(self, record: Record, media: Media) -> Loaded:
        """Read what the fields need of a record. Never raises for a bad record.

        If a record is known to kill its process, that is its error; if reading it is what kills the process, its media
        are not read.

        Raises:
            MmstreamError: a resource of this process or machine is exhausted; the record may be good.
        """
        verdict = worker.verdict_on(record)
        quarantined = verdict and RecordError(verdict.message, stage="quarantine", error=verdict.error)
        if verdict and verdict.step == READ:
            return Loaded({}, digest_of(self.values(record)), quarantined)
        values: dict[str, Any] = {}
        seen: dict[str, Any] = {}
        error = quarantined
        digest = "" if self._resume == "content" else self.digest(record, media)  # before reading: a file may change
        for name, value in self.values(record).items():
            field = self.fields[name]
            values[name] = seen[name] = value
            if field.media and value is not None:
                try:
                    values[name] = self.read_media(name, value, media, record.origin)
                except (TypeError, ValueError, OSError) as problem:
                    error = error or self._failure(name, problem)
                    seen[name] = [value, describe(problem)]
                else:
                    seen[name] = digest_of_bytes(values[name])
        return Loaded(values, digest or digest_of(seen), error)

    def digest(self, record: Record, media: Media) -> str:
        """Compute the digest that `load` gives, reading only what it needs. Raises the same errors as `load`.

        Raises:
            MmstreamError: a resource of this process or machine is exhausted; the record may be good.
        """
        if self._resume == "content":
            return self.load(record, media).digest
        seen = self.values(record)
        if self._resume == "metadata":
            for name, value in seen.items():
                if self.fields[name].media and value is not None:
                    try:
                        seen[name] = [value, *media.metadata(self._place(name, value, media, record.origin))]
                    except (OSError, ValueError) as problem:
                        seen[name] = [value, describe(problem)]
        return digest_of(seen)

    def decode(self, values: Mapping[str, Any]) -> Decoded:
        """Decode the values of one record.

        Args:
            values: {field: value}, media as bytes.

        Returns:
            {field: the result of its `decode`}, None if absent.

        Raises:
            RecordError: a value is bad; names the field.
            MmstreamError: a resource of this process or machine is exhausted; the value may be good.
        """
        decoded: dict[str, Any] = {}
        for name, field in self.fields.items():
            value = values.get(name)
            if value is None:
                decoded[name] = None
                continue
            try:
                decoded[name] = field.decode(value if field.media else _whole(value))
            except (Exception, SystemExit) as error:  # a plugin may raise anything; it becomes a dead letter
                if isinstance(error, MemoryError) and worker.is_supervised():
                    raise  # another record may be filling the memory; the supervisor finds out which one
                check_exhausted(error, f"the field {name!r} of a record")
                raise self._failure(name, error) from error
        return decoded

    def tensors(self, decoded: Sequence[Decoded], size: int | None = None) -> Tensors:
        """Make the tensors of a batch.

        Args:
            decoded: results of `decode`, at most `size` of them.
            size: B, to which the batch is padded with absent rows; None for no padding.

        Returns:
            {field: {tensor: [B, *spec shape]}}, with `present: float32[B]` for each field.
        """
        size = len(decoded) if size is None else size
        cheap = self._transformed(decoded, size)
        tensors: Tensors = {}
        for name, field in self.fields.items():
            arrays = {}
            for tensor, spec in self.specs[name].items():
                if tensor == PRESENT:
                    array = np.zeros(size, np.float32)
                    array[: len(decoded)] = [row[name] is not None for row in decoded]
                elif field.media:
                    array = np.zeros((size, *spec.shape), spec.dtype)
                    for index, row in enumerate(decoded):
                        values = row[name]
                        if values is not None:
                            array[index] = values[tensor]
                else:
                    array = cheap[f"{name}/{tensor}"].astype(spec.dtype).reshape((size, *spec.shape))
                arrays[tensor] = array
            tensors[name] = arrays
        return tensors

    def told(self, decoded: Decoded) -> dict[str, str]:
        """Texts that examples keep about a record besides its tensors, for `mmstream.preprocessing.examples.serialise`.

        Returns:
            {"_text/<field>": the normalised text of a text field, "_given/<field>": the result of `given` of
            another field, as JSON}.
        """
        texts = {}
        for name, field in self.fields.items():
            values = decoded[name]
            if values is None:
                continue
            if (text := field.text(values)) is not None:
                texts[f"_text/{name}"] = text
            elif (given := field.given(values)) is not None:
                texts[f"_given/{name}"] = json.dumps(given, ensure_ascii=False)
        return texts

    @functools.cached_property
    def fitted(self) -> dict[str, Fitted]:
        """What the full pass learnt about each field.

        Raises:
            MmstreamError: the transform directory is incomplete.
        """
        return {name: self._read_fitted(name, field) for name, field in self.fields.items()}

    @functools.cached_property
    def vocabularies(self) -> dict[str, frozenset[str]]:
        """The vocabulary of each field."""
        return {name: frozenset(fitted.vocabulary) for name, fitted in self.fitted.items()}

    @functools.cached_property
    def specs(self) -> dict[str, Spec]:
        """The static shape and dtype of every tensor of every field, `present` included."""
        present = TensorSpec((), "float32")
        return {
            name: {**field.spec(self.fitted[name]), PRESENT: present} for name, field in sorted(self.fields.items())
        }

    @property
    def has_transform(self) -> bool:
        """Whether any field goes through tensorflow-transform."""
        return any(field.raw() for field in self.all_fields.values())

    def raw_columns(self) -> dict[str, str]:
        """{"<field>/<raw column>": dtype} of all cheap fields (all but media): the input of the transform graph."""
        return {
            f"{name}/{raw}": dtype
            for name, field in sorted(self.all_fields.items())
            for raw, dtype in sorted(field.raw().items())
        }

    @functools.cached_property
    def graph(self) -> TransformGraph:
        """The fitted transform of all cheap fields; its inputs are `raw_columns`.

        Raises:
            MmstreamError: the transform directory is incomplete.
        """
        return load_transform_graph(files.join(self._transform, "transform_fn"))

    def check_columns(self, rows: Sequence[Mapping[str, Any]], needed: str) -> None:
        """Check that the columns that the fields read occur in a sample of the data.

        Raises:
            MmstreamError: `needed` is "all" and one does not occur, or it is "any" and none does.
        """
        existing = {column for row in rows for column, value in row.items() if value is not None}
        missing = [
            (name, column) for name, columns in self.columns.items() for column in columns if column not in existing
        ]
        count = sum(map(len, self.columns.values()))
        if not rows or not missing or (needed == "any" and len(missing) < count):
            return
        lines = [f"  field {name!r} reads column {column!r}. {choices(column, existing)}" for name, column in missing]
        raise MmstreamError(
            f"the data lacks columns that the fields read (first {len(rows)} rows):\n" + "\n".join(lines)
        )

    def _transformed(self, decoded: Sequence[Decoded], size: int) -> dict[str, np.ndarray]:
        """Outputs of the transform graph for the cheap fields; {} if only media fields are read."""
        if all(field.media for field in self.fields.values()):
            return {}
        import tensorflow as tf

        inputs = {}
        for column, dtype in self.raw_columns().items():
            name, raw = column.split("/")
            rows = [((row.get(name) or {}).get(raw) or []) for row in decoded]
            counts = [len(values) for values in rows]
            width = max(counts, default=0)
            indices = [(row, place) for row, count in enumerate(counts) for place in range(count)]
            inputs[column] = tf.SparseTensor(
                np.array(indices, np.int64).reshape(-1, 2),
                tf.constant([value for values in rows for value in values], tf.as_dtype(dtype)),
                (size, width),
            )
        return {key: value.numpy() for key, value in self.graph(inputs).items()}

    def truncated(self) -> dict[str, tuple[float, float]]:
        """{field: how much of the training split does not fit into its tensors}, where `Field.truncated` knows."""
        shares = {name: field.truncated(self.fitted[name]) for name, field in self.fields.items()}
        return {name: share for name, share in shares.items() if share is not None}

    def _read_fitted(self, name: str, field: Field) -> Fitted:
        if field.media or not self._transform:
            return Fitted()
        statistics = {  # an earlier version of the field may have had fewer
            key: tuple(self._statistics[f"{name}/{key}"].tolist())
            for key in field.statistics
            if f"{name}/{key}" in self._statistics
        }
        path = files.join(self._transform, "transform_fn", "assets", name)
        if not files.exists(path):
            return Fitted(statistics=statistics)
        try:
            return Fitted(tuple(files.read_bytes(path).decode("utf-8").split("\n")[:-1]), statistics)
        except (OSError, UnicodeDecodeError) as error:
            raise MmstreamError(f"the vocabulary {path} is damaged: {error}") from error

    @functools.cached_property
    def _statistics(self) -> dict[str, np.ndarray]:
        """All outputs of the transform graph for one absent row: a statistic is the same in every row."""
        nothing: Decoded = dict.fromkeys(self.all_fields)
        return {key: values[0] for key, values in self._transformed([nothing], 1).items()}

    def _failure(self, name: str, error: BaseException) -> RecordError:
        return RecordError(
            describe(error), stage="decode", field=name, component=self.component[name], error=type(error).__name__
        )


def _whole(value: Any) -> Any:
    """A value, with large texts read back from the spool."""
    if isinstance(value, Spooled) and value.is_text:
        return value.text()
    return [_whole(item) for item in value] if isinstance(value, list) else value
