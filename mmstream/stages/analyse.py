"""The first pass of `mmstream preprocess`: fit a tensorflow-transform graph to the training split's cheap columns."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import apache_beam as beam
import pyarrow
import pyarrow.compute

from mmstream.config.schema import Config, SplitConfig
from mmstream.errors import MmstreamError, RecordError
from mmstream.inputs.items import first_of_each
from mmstream.inputs.splits import NO_KEYS, split_for
from mmstream.outputs.transform import install_transform
from mmstream.preprocessing.preprocessor import Preprocessor
from mmstream.records.record import DeadLetter, Record
from mmstream.runtime import alive
from mmstream.runtime.imports import importing
from mmstream.stages.near import keys_of
from mmstream.stages.reading import unpacked
from mmstream.storage import files
from mmstream.storage.json_files import write_json
from mmstream.supervision import worker

_ARROW = {
    "string": pyarrow.list_(pyarrow.binary()),
    "int64": pyarrow.list_(pyarrow.int64()),
    "float32": pyarrow.list_(pyarrow.float32()),
}
"""Arrow's type of a raw column; tensorflow-transform takes texts as bytes."""
ANALYSE = "analyse"
"""The step of a `worker.Trial` in which the first pass decodes the cheap columns."""


def columns_of_part(
    items: Iterable[Record | DeadLetter],
    preprocessor: Preprocessor,
    split: SplitConfig,
    near_keys: Mapping[str, str] = NO_KEYS,
) -> Iterator[pyarrow.RecordBatch]:
    """A part's data that tensorflow-transform analyses: the raw columns of its valid records in the training split.

    Args:
        items: items of the part.
        preprocessor: preprocessor of the cheap fields.
        split: how records are divided.
        near_keys: see `split_for`.
    """
    rows = []
    records = [record for record in first_of_each(items)[0] if not _ends_analysis(record)]
    with worker.holding(records):
        for record in records:
            alive.progress()
            try:
                if split_for(record, split, near_keys) == "train":
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
    """Whether a record is known to kill a process in the first pass.

    A record that does so only in the second pass, for example when its picture is decoded, stays in the first, so that
    the statistics do not depend on whether this is known yet.
    """
    verdict = worker.verdict_on(record)
    return verdict is not None and verdict.step == ANALYSE


def check_filled(config: Config, directory: str) -> None:
    """Check that every column that was analysed has a value.

    Args:
        config: has the fields.
        directory: the directory that `AnalyseColumns` wrote to.

    Raises:
        MmstreamError: a column holds no value at all in the training split.
    """
    filled = json.loads(files.read_bytes(files.join(directory, "filled.json")))
    for raw in cheap_preprocessor(config).raw_columns():
        name = raw.split("/")[0]
        reads = config.fields[name].reads
        if not filled.get(raw):
            what = f"the column {reads[0]!r}" if len(reads) == 1 else f"{raw!r} (from {', '.join(map(repr, reads))})"
            raise MmstreamError(
                f"fields.{name}: no record of the training split has a value in {what}, so there is nothing to learn"
            )


def cheap_preprocessor(config: Config) -> Preprocessor:
    """The preprocessor of the fields that tensorflow-transform analyses."""
    fields = Preprocessor(config.fields).fields
    return Preprocessor(config.fields, only=[name for name, field in fields.items() if not field.media])


@dataclasses.dataclass
class AnalyseColumns(beam.PTransform):
    """(part, its items, packed) of all parts → a fitted transform graph, and how many rows of each column have a value.

    Attributes:
        config: has the fields and the split.
        directory: for the graph (`transform_fn/`) and `filled.json`.
        output: directory of the output; needed only with `split.near`.
        together: what `KeepTogether` emits; needed only with `split.near`.
    """

    config: Config
    directory: str
    output: str = ""
    together: beam.PCollection | None = None

    def __post_init__(self) -> None:
        super().__init__()

    def expand(self, grouped: beam.PCollection) -> tuple[beam.PCollection, beam.PCollection]:
        """Analyse the training split, a part at a time; media are not read."""
        import tensorflow_transform.beam as tft_beam

        preprocessor = cheap_preprocessor(self.config)
        split, output = self.config.split, self.output
        together = self.together or grouped.pipeline | "Nothing is near" >> beam.Create([""])
        batches = grouped | beam.FlatMap(
            lambda pair, keys: columns_of_part(unpacked(pair[1]), preprocessor, split, keys_of(output, split, keys)),
            beam.pvalue.AsSingleton(together),
        )
        if self.config.split.near:
            # Beam's local runner never runs some stages that read a side input and are fused with a combiner of TFT.
            batches = batches | beam.Reshuffle()
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
        config: has the fields and the split.
        output: directory of the output.
        scratch: folder that all workers can reach, for TFT's temporary files.
        holder: the run that must hold the output (`mmstream.outputs.lock`); "" if it is not held.
        together: what `KeepTogether` emits.
    """

    config: Config
    output: str
    scratch: str
    holder: str
    together: beam.PCollection

    def __post_init__(self) -> None:
        super().__init__()

    def expand(self, grouped: beam.PCollection) -> beam.PCollection:
        """Analyse, check, install."""
        config, output, directory, holder = self.config, self.output, files.join(self.scratch, "analysis"), self.holder
        if not cheap_preprocessor(config).fields:
            once = grouped | beam.combiners.Count.Globally()  # not before there is something to preprocess
            return once | beam.Map(lambda _: install_transform(config, "", output, holder))
        with importing():
            import tensorflow_transform.beam as tft_beam

        with tft_beam.Context(temp_dir=files.join(self.scratch, "temporary")):
            analysed = grouped | AnalyseColumns(config, directory, output, self.together)

        def install(_: None, *after: Any) -> str:
            check_filled(config, directory)
            return install_transform(config, directory, output, holder)

        once = grouped.pipeline | beam.Create([None])
        return once | beam.Map(install, *(beam.pvalue.AsIter(collection) for collection in analysed))


def _filled(batch: pyarrow.RecordBatch) -> Iterator[tuple[str, int]]:
    """How many rows of a batch have a value, for each column."""
    for name, array in zip(batch.schema.names, batch.columns, strict=True):
        yield name, int(pyarrow.compute.sum(pyarrow.compute.greater(array.value_lengths(), 0)).as_py() or 0)


def _adapter_config(preprocessor: Preprocessor) -> Any:
    """How tensorflow-transform reads the batches: every raw column holds any number of values per row."""
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
