"""The first pass of `mmstream preprocess`: fit a tensorflow-transform graph to the training split's cheap columns."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import apache_beam as beam
import pyarrow
import pyarrow.compute

from mmstream import alive, files, lock, outputs, plugins, worker
from mmstream.config import Config, SplitConfig
from mmstream.errors import MmstreamError, RecordError
from mmstream.json_files import write_json
from mmstream.preprocessing import Preprocessor, settings_of
from mmstream.records import SPLITS, DeadLetter, Record, digest_of, split_of
from mmstream.spool import Spooled
from mmstream.stages.reading import first_of_each, unpacked

_ARROW = {
    "string": pyarrow.list_(pyarrow.binary()),
    "int64": pyarrow.list_(pyarrow.int64()),
    "float32": pyarrow.list_(pyarrow.float32()),
}
"""Arrow's type of a raw column; tensorflow-transform takes texts as bytes."""
ANALYSE = "analyse"
"""The step of a `worker.Trial` in which the first pass decodes the cheap columns."""
_ASSETS = "transform_fn/assets/"


def split_for(record: Record, split: SplitConfig) -> str:
    """The split of a record.

    Raises:
        RecordError: the column of given splits holds something else than a split.
    """
    if split.column:
        value = record.columns.get(split.column)
        if value not in SPLITS:
            message = f"the split column {split.column!r} needs one of {', '.join(SPLITS)}; found {value!r:.80}"
            raise RecordError(message, stage="check", error="BadSplit")
        return str(value)
    group = record.columns.get(split.group) if split.group else None
    group = group.sha256 if isinstance(group, Spooled) else group
    return split_of(record.id if group is None else f"group {group}", split.validation, split.test)


def columns_of_part(
    items: Iterable[Record | DeadLetter], preprocessor: Preprocessor, split: SplitConfig
) -> Iterator[pyarrow.RecordBatch]:
    """What tensorflow-transform analyses of a part: a batch of the raw columns of sound records of the training split.

    Args:
        items: of the part.
        preprocessor: of the cheap fields.
        split: how records are divided.
    """
    rows = []
    records = [record for record in first_of_each(items)[0] if not _ends_analysis(record)]
    with worker.holding(records):
        for record in records:
            alive.progress()
            try:
                if split_for(record, split) == "train":
                    rows.append(preprocessor.decode(preprocessor.values(record)))
            except RecordError:
                continue  # the second pass meets the same error and writes its dead letter
    if not rows:
        return
    arrays = {}
    for column, dtype in preprocessor.raw_columns().items():
        name, raw = column.split("/")
        arrays[column] = pyarrow.array([(row[name] or {}).get(raw) for row in rows], _ARROW[dtype])
    yield pyarrow.RecordBatch.from_pydict(arrays)


def _ends_analysis(record: Record) -> bool:
    """Whether a record is known to end a process that does what the first pass does.

    One that ends the second pass alone, as when its picture is decoded, stays in the first, so that the statistics are
    the same before this is known and after.
    """
    verdict = worker.verdict_on(record)
    return verdict is not None and verdict.step == ANALYSE


def check_filled(config: Config, directory: str) -> None:
    """Every column that was analysed holds something.

    Args:
        config: its fields.
        directory: that `AnalyseColumns` wrote to.

    Raises:
        MmstreamError: a column holds no value at all in the training split.
    """
    filled = json.loads(files.read_bytes(files.join(directory, "filled.json")))
    for raw in cheap_preprocessor(config).raw_columns():
        name = raw.split("/")[0]
        reads = config.fields[name].reads
        if not filled.get(raw):
            what = f"the column {reads[0]!r}" if len(reads) == 1 else f"{raw!r}, one of {', '.join(map(repr, reads))}"
            raise MmstreamError(
                f"fields.{name}: no record of the training split has a value in {what}, so there is nothing to learn"
            )


def install_transform(config: Config, directory: str, output: str, holder: str) -> str:
    """Put a fitted transform in its place, unless an equal one is there; returns the preprocessing's fingerprint.

    Args:
        config: its fields.
        directory: that `AnalyseColumns` wrote to; "" for a config without cheap fields.
        output: directory of the output.
        holder: the run that must hold it (`mmstream.lock`); "" where nothing does.
    """
    paths = [path for path in files.list_files(directory) if path != "filled.json"] if directory else []
    assets = {path: files.checksum(files.join(directory, path)) for path in paths if path.startswith(_ASSETS)}
    statistics = {name: fitted.statistics for name, fitted in Preprocessor(config.fields, directory).fitted.items()}
    fingerprint = digest_of([assets, statistics, settings_of(config.fields), field_versions(config)])
    marker = _marker(output)
    if fingerprint_of(output) == fingerprint and _is_as_written(output):
        return fingerprint
    lock.check(output, holder)
    files.remove(marker)
    if files.exists(files.join(output, "transform")):
        files.remove_folder(files.join(output, "transform"))
    for path in paths:
        files.write_bytes(files.join(output, "transform", path), files.read_bytes(files.join(directory, path)))
    files.write_bytes(marker, fingerprint.encode())
    return fingerprint


def _is_as_written(output: str) -> bool:
    """Whether the transform of an output is what the run wrote that closed the books, if one has."""
    wrote = outputs.read_books(output, "preprocess").get("transform")
    return wrote is None or wrote == outputs.transform_files(output)


def fingerprint_of(output: str) -> str | None:
    """The fingerprint of the preprocessing whose `transform/` is in its place, None where none is."""
    marker = _marker(output)
    return files.read_bytes(marker).decode() if files.exists(marker) else None


def _marker(output: str) -> str:
    """The file that says whose the transform is, written after it."""
    return files.join(output, "transform", "fingerprint")


def field_versions(config: Config) -> dict[str, str]:
    """Versions of the distributions that the fields come from."""
    used = [plugins.component("field", field.use) for field in config.fields.values()]
    return dict(sorted({component.distribution: component.version for component in used}.items()))


def cheap_preprocessor(config: Config) -> Preprocessor:
    """Of the fields that tensorflow-transform analyses."""
    fields = Preprocessor(config.fields).fields
    return Preprocessor(config.fields, only=[name for name, field in fields.items() if not field.media])


@dataclasses.dataclass
class AnalyseColumns(beam.PTransform):
    """(part, its items, packed) of all parts → a fitted transform graph, and how often each column is filled.

    Attributes:
        config: its fields and split.
        directory: for the graph (`transform_fn/`) and `filled.json`.
    """

    config: Config
    directory: str

    def __post_init__(self) -> None:
        super().__init__()

    def expand(self, grouped: beam.PCollection) -> tuple[beam.PCollection, beam.PCollection]:
        """Analyse the training split, a part at a time; media never enter."""
        import tensorflow_transform.beam as tft_beam

        preprocessor = cheap_preprocessor(self.config)
        split = self.config.split
        batches = grouped | beam.FlatMapTuple(lambda _, items: columns_of_part(unpacked(items), preprocessor, split))
        filled = (
            batches
            | beam.FlatMap(_filled)
            | beam.CombinePerKey(sum)
            | beam.combiners.ToDict()
            | beam.Map(lambda counts: write_json(files.join(self.directory, "filled.json"), counts))
        )
        analysed = (batches, _adapter_config(preprocessor)) | tft_beam.AnalyzeDataset(_preprocessing_fn(preprocessor))
        written = analysed | tft_beam.WriteTransformFn(self.directory)
        return filled, written


@dataclasses.dataclass
class FitTransform(beam.PTransform):
    """(part, its items, packed) of all parts → the fingerprint of the preprocessing, once `transform/` is in its place.

    Attributes:
        config: its fields and split.
        output: directory of the output.
        scratch: folder that all workers reach, for what TFT writes in between.
        holder: the run that must hold the output (`mmstream.lock`); "" where nothing does.
    """

    config: Config
    output: str
    scratch: str
    holder: str

    def __post_init__(self) -> None:
        super().__init__()

    def expand(self, grouped: beam.PCollection) -> beam.PCollection:
        """Analyse, check, install."""
        config, output, directory, holder = self.config, self.output, files.join(self.scratch, "analysis"), self.holder
        once = grouped.pipeline | beam.Create([None])
        if not cheap_preprocessor(config).fields:
            return once | beam.Map(lambda _: install_transform(config, "", output, holder))
        import tensorflow_transform.beam as tft_beam

        with tft_beam.Context(temp_dir=files.join(self.scratch, "temporary")):
            analysed = grouped | AnalyseColumns(config, directory)

        def install(_: None, *after: Any) -> str:
            check_filled(config, directory)
            return install_transform(config, directory, output, holder)

        return once | beam.Map(install, *(beam.pvalue.AsIter(collection) for collection in analysed))


def _filled(batch: pyarrow.RecordBatch) -> Iterator[tuple[str, int]]:
    """How many rows of a batch have a value, by column."""
    for name, array in zip(batch.schema.names, batch.columns, strict=True):
        yield name, int(pyarrow.compute.sum(pyarrow.compute.greater(array.value_lengths(), 0)).as_py() or 0)


def _adapter_config(preprocessor: Preprocessor) -> Any:
    """How tensorflow-transform reads the batches: every raw column holds any number of values a row."""
    import tensorflow as tf
    from tensorflow_transform.tf_metadata import schema_utils
    from tfx_bsl.tfxio import tensor_adapter, tensor_representation_util

    raw = preprocessor.raw_columns()
    spec = {column: tf.io.VarLenFeature(tf.as_dtype(dtype)) for column, dtype in raw.items()}
    schema = schema_utils.schema_from_feature_spec(spec)
    return tensor_adapter.TensorAdapterConfig(
        pyarrow.schema([(name, _ARROW[dtype]) for name, dtype in raw.items()]),
        tensor_representation_util.InferTensorRepresentationsFromSchema(schema),
    )


def _preprocessing_fn(preprocessor: Preprocessor) -> Any:
    def preprocessing_fn(inputs: Mapping[str, Any]) -> dict[str, Any]:
        outputs = {}
        for name, field in sorted(preprocessor.fields.items()):
            raw = {column: inputs[f"{name}/{column}"] for column in field.raw()}
            outputs.update({f"{name}/{tensor}": value for tensor, value in field.graph(raw, name).items()})
        return outputs

    return preprocessing_fn
