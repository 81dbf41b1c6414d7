"""The stages of `mmstream preprocess`: analyse the cheap columns, then turn each part's records into examples."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import apache_beam as beam
from apache_beam.utils.shared import Shared

from mmstream import files, parts
from mmstream.concurrency import batched, in_order
from mmstream.config import Config, SplitConfig
from mmstream.errors import RecordError
from mmstream.examples import ExampleWriter, serialise
from mmstream.golden import write_golden
from mmstream.labelling import dead_letter
from mmstream.media import Media
from mmstream.preprocessing import Decoded, Loaded, Preprocessor
from mmstream.records import SPLITS, DeadLetter, Record, digest_of, hash_fraction, printable, split_of
from mmstream.stages.ahead import WorkAhead
from mmstream.stages.reading import dump_letters, first_of_each, load_letters

_BATCH = 64


class Example(NamedTuple):
    """A record as a serialised tf.train.Example of a split."""

    split: str
    data: bytes
    digest: str


class Candidate(NamedTuple):
    """A record that may become golden; the smallest go first: those of the validation split, by a hash of the id."""

    other_split: bool
    place: float
    record: Record


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
    return split_of(record.id if group is None else f"group {group}", split.validation, split.test)


def raw_columns(record: Record, preprocessor: Preprocessor, split: SplitConfig) -> dict[str, Any] | None:
    """What tensorflow-transform analyses of a record; None where it is not a sound record of the training split."""
    try:
        if split_for(record, split) != "train":
            return None
        decoded = preprocessor.decode({name: record.columns.get(c) for name, c in preprocessor.columns.items()})
    except RecordError:
        return None  # the second pass meets the same error and writes its dead letter
    return {
        column: (decoded[column.split("/")[0]] or {}).get(column.split("/")[1]) for column in preprocessor.raw_columns()
    }


def preprocess_part(
    part: int,
    items: Sequence[Record | DeadLetter],
    *,
    preprocessor: Preprocessor,
    split: SplitConfig,
    fingerprint: str,
    media: Media,
    output: str,
    threads: int,
    pool: ThreadPoolExecutor,
) -> tuple[dict[str, int], list[Candidate]]:
    """Turn a part's records into shards, one a split, and commit them; a part that holds them already is left alone.

    Returns:
        {"read", "examples", "dead_lettered", "skipped"}: records by what became of them in this run; and candidates
        for golden records.
    """
    records, letters = first_of_each(items)
    shards = {name: f"examples/{name}/{parts.part_name(part)}.tfrecord.gz" for name in SPLITS}
    letters_path = f"dead_letters/{parts.part_name(part)}.jsonl"
    commit = parts.read_commit(output, part)
    if commit and commit.fingerprint == fingerprint:
        digests = pool.map(lambda record: preprocessor.load(record, media).digest, records)
        if commit.inputs == _digest_of_inputs(zip(records, digests, strict=True), letters):
            dead = {letter.id for letter in load_letters(files.read_bytes(files.join(output, letters_path)))}
            counts = {"read": len(items), "examples": 0, "dead_lettered": 0, "skipped": len(items)}
            return counts, [_candidate(record, split) for record in records if record.id not in dead]

    batches = batched(records, _BATCH)
    done = in_order(lambda batch: examples_of(batch, preprocessor, split, media, fingerprint), batches, threads, pool)
    results = (pair for batch in done for pair in batch)
    candidates: list[Candidate] = []
    failed: list[DeadLetter] = []
    seen: list[tuple[Record, str]] = []
    temporary = {name: files.temporary_for(files.join(output, path)) for name, path in shards.items()}
    with ExitStack() as stack:
        writers = {name: stack.enter_context(ExampleWriter(path)) for name, path in temporary.items()}
        for record, result in results:
            seen.append((record, result.digest))
            if isinstance(result, DeadLetter):
                failed.append(result)
            else:
                writers[result.split].write(result.data)
                candidates.append(_candidate(record, split))
    made: dict[str, bytes | Path] = {shards[name]: path for name, path in temporary.items()}
    made[letters_path] = dump_letters([*letters, *failed])
    dead_lettered = len(letters) + len(failed)
    counts = {**{name: writer.count for name, writer in writers.items()}, "dead_lettered": dead_lettered}
    parts.commit_part(output, part, fingerprint, counts, made, inputs=_digest_of_inputs(seen, letters))
    return {
        "read": len(items),
        "examples": len(candidates),
        "dead_lettered": dead_lettered,
        "skipped": 0,
    }, candidates


def examples_of(
    records: Sequence[Record], preprocessor: Preprocessor, split: SplitConfig, media: Media, fingerprint: str
) -> list[tuple[Record, Example | DeadLetter]]:
    """Serialise a batch of records; a bad one becomes a dead letter and costs no other."""
    results: dict[str, Example | DeadLetter] = {}
    good: list[tuple[Record, str, Loaded, Decoded]] = []
    for record in records:
        loaded = preprocessor.load(record, media)
        try:
            name = split_for(record, split)
            if loaded.error:
                raise loaded.error
            decoded = preprocessor.decode(loaded.values)
            if all(value is None for value in decoded.values()):
                raise RecordError("no field has a value", stage="decode", error="NothingToRead")
        except RecordError as error:
            results[record.id] = dead_letter(record, error, loaded.digest, fingerprint)
        else:
            good.append((record, name, loaded, decoded))
    tensors = preprocessor.tensors([decoded for *_, decoded in good]) if good else {}
    for row, (record, name, loaded, decoded) in enumerate(good):
        texts = preprocessor.texts(decoded)
        data = serialise(tensors, row, record.id, record.origin, loaded.digest, texts)
        results[record.id] = Example(name, data, loaded.digest)
    return [(record, results[record.id]) for record in records]


@dataclasses.dataclass
class AnalyseColumns(beam.PTransform):
    """(part, its items) of all parts → a fitted tensorflow-transform graph, and how often each column is filled.

    Attributes:
        config: its fields and split.
        directory: local folder for the graph (`transform_fn/`) and `filled.json`.
    """

    config: Config
    directory: str

    def __post_init__(self) -> None:
        super().__init__()

    def expand(self, grouped: beam.PCollection) -> beam.PCollection:
        """Analyse the training split; media never enter."""
        import tensorflow_transform.beam as tft_beam

        preprocessor = cheap_preprocessor(self.config)
        rows = grouped | beam.FlatMapTuple(
            lambda part, items: _filter_none(
                raw_columns(record, preprocessor, self.config.split) for record in first_of_each(items)[0]
            )
        )
        filled = (
            rows
            | beam.FlatMap(lambda row: [column for column, values in row.items() if values])
            | beam.combiners.Count.PerElement()
            | beam.combiners.ToDict()
            | beam.Map(lambda counts: parts.write_json(files.join(self.directory, "filled.json"), counts))
        )
        analysed = (rows, _metadata(preprocessor)) | tft_beam.AnalyzeDataset(_preprocessing_fn(preprocessor))
        written = analysed | tft_beam.WriteTransformFn(self.directory)
        return filled, written


@dataclasses.dataclass
class PreprocessParts(beam.PTransform):
    """(part, its items) → committed shards; gives candidates for golden records.

    Attributes:
        config: its fields and split.
        fingerprint: of the preprocessing.
        media: where media may lie.
        output: directory of the output, which already holds `transform/`.
        run: the run's start.
        threads: that decode, in each worker process.
    """

    config: Config
    fingerprint: str
    media: Media
    output: str
    run: str
    threads: int

    def __post_init__(self) -> None:
        super().__init__()
        self._shared = Shared()

    def expand(self, grouped: beam.PCollection) -> beam.PCollection:
        """Preprocess two parts at a time."""
        return grouped | beam.ParDo(WorkAhead(self._preprocess, self.threads))

    def _preprocess(self, part: int, items: Iterable[Record | DeadLetter], pool: ThreadPoolExecutor) -> list[Candidate]:
        started = time.monotonic()
        transform = files.join(self.output, "transform")
        counts, candidates = preprocess_part(
            part,
            list(items),
            preprocessor=self._shared.acquire(lambda: Preprocessor(self.config.fields, transform)),
            split=self.config.split,
            fingerprint=self.fingerprint,
            media=self.media,
            output=self.output,
            threads=self.threads,
            pool=pool,
        )
        seconds = round(time.monotonic() - started, 3)
        parts.note(self.output, self.run, parts.part_name(part), **counts, seconds=seconds)
        return candidates


@dataclasses.dataclass
class WriteGolden(beam.PTransform):
    """Candidates → `golden/` in the output, the first few of them.

    Attributes:
        config: its fields, and how many golden records it wants.
        media: where media may lie.
        output: directory of the output.
    """

    config: Config
    media: Media
    output: str

    def __post_init__(self) -> None:
        super().__init__()

    def expand(self, candidates: beam.PCollection) -> beam.PCollection:
        """Keep the smallest candidates and write them."""
        return candidates | beam.combiners.Top.Smallest(self.config.golden, key=_order) | beam.Map(self._write)

    def _write(self, chosen: Sequence[Candidate]) -> None:
        records = [candidate.record for candidate in chosen]
        write_golden(self.output, records, Preprocessor(self.config.fields), self.media)


def cheap_preprocessor(config: Config) -> Preprocessor:
    """Of the fields that tensorflow-transform analyses."""
    fields = Preprocessor(config.fields).fields
    return Preprocessor(config.fields, only=[name for name, field in fields.items() if not field.media])


def _candidate(record: Record, split: SplitConfig) -> Candidate:
    return Candidate(split_for(record, split) != "validation", hash_fraction("golden", record.id), record)


def _order(candidate: Candidate) -> tuple[bool, float, str]:
    return candidate.other_split, candidate.place, candidate.record.id


def _digest_of_inputs(seen: Iterable[tuple[Record, str]], letters: Iterable[DeadLetter]) -> str:
    return digest_of(
        [
            [[record.id, record.origin, digest, printable(record.columns)] for record, digest in seen],
            [letter.to_json() for letter in letters],
        ]
    )


def _filter_none(rows: Iterable[dict[str, Any] | None]) -> Iterator[dict[str, Any]]:
    return (row for row in rows if row is not None)


def _metadata(preprocessor: Preprocessor) -> Any:
    import tensorflow as tf
    from tensorflow_transform.tf_metadata import dataset_metadata, schema_utils

    spec = {column: tf.io.VarLenFeature(tf.as_dtype(dtype)) for column, dtype in preprocessor.raw_columns().items()}
    return dataset_metadata.DatasetMetadata(schema_utils.schema_from_feature_spec(spec))


def _preprocessing_fn(preprocessor: Preprocessor) -> Any:
    def preprocessing_fn(inputs: Mapping[str, Any]) -> dict[str, Any]:
        outputs = {}
        for name, field in sorted(preprocessor.fields.items()):
            raw = {column: inputs[f"{name}/{column}"] for column in field.raw()}
            outputs.update({f"{name}/{tensor}": value for tensor, value in field.graph(raw, name).items()})
        return outputs

    return preprocessing_fn
