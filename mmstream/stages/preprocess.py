"""The second pass of `mmstream preprocess`: turn each part's records into examples."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import heapq
import itertools
import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import apache_beam as beam
from apache_beam.utils.shared import Shared

from mmstream import alive, books, commits, files, lock, outputs, parts, worker
from mmstream.concurrency import Workers, batched
from mmstream.config import Config, SplitConfig
from mmstream.errors import RecordError
from mmstream.examples import ExampleWriter, serialise
from mmstream.golden import write_golden
from mmstream.json_files import write_json
from mmstream.labelling import dead_letter, digests_of
from mmstream.media import Media
from mmstream.preprocessing import READ, Decoded, Preprocessor, settings_of
from mmstream.records import SPLITS, DeadLetter, Record, hash_fraction
from mmstream.stages.ahead import WorkAhead
from mmstream.stages.analyse import (
    ANALYSE,
    FitTransform,
    cheap_preprocessor,
    columns_of_part,
    field_versions,
    fingerprint_of,
    split_for,
)
from mmstream.stages.reading import RouteToParts, dump_letters, first_of_each, load_letters

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


def preprocess_part(
    part: int,
    items: Sequence[Record | DeadLetter],
    *,
    preprocessor: Preprocessor,
    split: SplitConfig,
    fingerprint: str,
    media: Media,
    output: str,
    parts_count: int,
    holder: str,
    golden: int,
    workers: Workers,
) -> tuple[dict[str, int], list[Candidate]]:
    """Turn a part's records into shards, one a split, and commit them; a part that holds them already is left alone.

    Returns:
        {"read", "examples", "dead_lettered", "skipped"}: records by what became of them in this run; and the `golden`
        best candidates for golden records.
    """
    commits.finish(output, part, holder)
    records, letters = first_of_each(items)
    shards = {name: f"examples/{name}/{parts.part_name(part)}.tfrecord.gz" for name in SPLITS}
    letters_path = f"dead_letters/{parts.part_name(part)}.jsonl"
    commit = commits.recorded(output, part)
    if commit and commit.fingerprint == fingerprint and not commits.damaged_files(output, commit):
        digests = (digest for _, digest in digests_of(records, preprocessor, media, workers))
        if commit.inputs == _digest_of_inputs(zip(records, digests, strict=True), letters, split):
            dead = {letter.id for letter in load_letters(files.read_bytes(files.join(output, letters_path)))}
            counts = {"read": len(items), "examples": 0, "dead_lettered": 0, "skipped": len(items)}
            left = [(record, split_for(record, split)) for record in records if record.id not in dead]
            return counts, _best(left, golden)

    batches = batched(records, _BATCH)
    done = workers.in_order(lambda batch: examples_of(batch, preprocessor, split, media, fingerprint), batches)
    good: list[tuple[Record, str]] = []
    failed: list[DeadLetter] = []
    seen: list[tuple[Record, str]] = []
    temporary = {name: files.temporary_for(files.join(output, path)) for name, path in shards.items()}
    with ExitStack() as stack:
        stack.enter_context(contextlib.closing(done))  # also where the disk is full: others wait for these threads
        writers = {name: stack.enter_context(ExampleWriter(path)) for name, path in temporary.items()}
        for record, result in itertools.chain.from_iterable(done):
            seen.append((record, result.digest))
            if isinstance(result, DeadLetter):
                failed.append(result)
            else:
                writers[result.split].write(result.data)
                good.append((record, result.split))
    made: dict[str, bytes | Path] = {shards[name]: path for name, path in temporary.items()}
    made[letters_path] = dump_letters([*letters, *failed])
    dead_lettered = len(letters) + len(failed)
    counts = {**{name: writer.count for name, writer in writers.items()}, "dead_lettered": dead_lettered}
    inputs = _digest_of_inputs(seen, letters, split)
    commits.commit_part(
        *(output, part, fingerprint, counts, made),
        parts=parts_count,
        onto=commit,
        inputs=inputs,
        run=holder,
    )
    return {
        "read": len(items),
        "examples": len(good),
        "dead_lettered": dead_lettered,
        "skipped": 0,
    }, _best(good, golden)


def examples_of(
    records: Sequence[Record], preprocessor: Preprocessor, split: SplitConfig, media: Media, fingerprint: str
) -> list[tuple[Record, Example | DeadLetter]]:
    """Serialise a batch of records; a bad one becomes a dead letter and costs no other."""
    with worker.holding(records):
        return _examples_of(records, preprocessor, split, media, fingerprint)


def _examples_of(
    records: Sequence[Record], preprocessor: Preprocessor, split: SplitConfig, media: Media, fingerprint: str
) -> list[tuple[Record, Example | DeadLetter]]:
    results: dict[str, Example | DeadLetter] = {}
    good: list[
        tuple[Record, str, str, Decoded]
    ] = []  # of what was read only the digest, or a batch holds all its files
    for record in records:
        loaded = preprocessor.load(record, media)
        alive.progress()
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
            good.append((record, name, loaded.digest, decoded))
    tensors = preprocessor.tensors([decoded for *_, decoded in good]) if good else {}
    for row, (record, name, digest, decoded) in enumerate(good):
        texts = preprocessor.texts(decoded)
        data = serialise(tensors, row, record.id, record.origin, digest, texts)
        results[record.id] = Example(name, data, digest)
    return [(record, results[record.id]) for record in records]


def close_books(
    config: Config, output: str, run: str, plan: parts.Plan, seconds: float, holder: str = ""
) -> dict[str, Any]:
    """Check the books of a run and write preprocess.json; returns what it says.

    Args:
        config: its fields.
        output: directory of the output.
        run: the run's start.
        plan: of the output.
        seconds: that the run took.
        holder: the run that must hold the output (`mmstream.lock`); "" where nothing does.

    Raises:
        MmstreamError: the books do not balance, or another job has taken the output over.
    """
    settled = books.settle(output, run, plan, done="examples", holder=holder)
    about = {
        "read": settled.read,
        "examples": settled.done,
        "dead_lettered": settled.dead_lettered,
        "skipped": settled.skipped,
        "splits": {name: settled.held[name] for name in SPLITS},
        "dead_letters": settled.committed_letters,
        "fingerprint": fingerprint_of(output),
        "plugins": field_versions(config),
        "fields": settings_of(config.fields),
        "transform": outputs.transform_files(output),
        "seconds": round(seconds, 3),
    }
    lock.check(output, holder)
    write_json(files.join(output, "preprocess.json"), about)
    return about


@dataclasses.dataclass
class PreprocessParts(beam.PTransform):
    """(part, its items, packed) → committed shards; gives candidates for golden records.

    Attributes:
        config: its fields and split.
        media: where media may lie.
        output: directory of the output, which holds `transform/` when the first part comes.
        run: the run's start.
        holder: the run that must hold the output (`mmstream.lock`); "" where nothing does.
        parts: P.
        threads: that decode, in each worker process.
        after: what must be done before, as a side input.
    """

    config: Config
    media: Media
    output: str
    run: str
    holder: str
    parts: int
    threads: int
    after: Any

    def __post_init__(self) -> None:
        super().__init__()
        self._shared = Shared()

    def expand(self, grouped: beam.PCollection) -> beam.PCollection:
        """Preprocess two parts at a time."""
        return grouped | beam.ParDo(WorkAhead(self._preprocess, self.threads), self.after)

    def _preprocess(self, part: int, items: list[Record | DeadLetter], workers: Workers) -> list[Candidate]:
        started = time.monotonic()
        fitted = self._shared.acquire(lambda: _Fitted(self.config, self.output))
        counts, candidates = preprocess_part(
            part,
            items,
            preprocessor=fitted.preprocessor,
            split=self.config.split,
            fingerprint=fitted.fingerprint,
            media=self.media,
            output=self.output,
            parts_count=self.parts,
            holder=self.holder,
            golden=self.config.golden,
            workers=workers,
        )
        seconds = round(time.monotonic() - started, 3)
        books.note(self.output, self.run, parts.part_name(part), **counts, seconds=seconds)
        return candidates


@dataclasses.dataclass
class WriteGolden(beam.PTransform):
    """Candidates → `golden/` in the output, the first few of them.

    Attributes:
        config: its fields, and how many golden records it wants.
        media: where media may lie.
        output: directory of the output.
        holder: the run that must hold the output (`mmstream.lock`); "" where nothing does.
    """

    config: Config
    media: Media
    output: str
    holder: str

    def __post_init__(self) -> None:
        super().__init__()

    def expand(self, candidates: beam.PCollection) -> beam.PCollection:
        """Keep the smallest candidates and write them."""
        return candidates | beam.combiners.Top.Smallest(self.config.golden, key=_order) | beam.Map(self._write)

    def _write(self, chosen: Sequence[Candidate]) -> None:
        lock.check(self.output, self.holder)
        records = [candidate.record for candidate in chosen]
        write_golden(self.output, records, Preprocessor(self.config.fields), self.media)


@dataclasses.dataclass
class PreprocessRecords(beam.PTransform):
    """Records and dead letters → everything that training needs, in the output; gives None once all is written.

    Attributes:
        config: what is made of them.
        media: where media may lie.
        output: directory of the output.
        run: the run's start.
        holder: the run that must hold the output (`mmstream.lock`); "" where nothing does.
        parts: P.
        threads: that decode, in each worker process.
        scratch: folder that all workers reach, for what is needed in between.
    """

    config: Config
    media: Media
    output: str
    run: str
    holder: str
    parts: int
    threads: int
    scratch: str

    def __post_init__(self) -> None:
        super().__init__()

    def expand(self, items: beam.PCollection) -> beam.PCollection:
        """Two passes over the parts: analyse the cheap columns, then apply."""
        grouped = items | RouteToParts(self.parts)
        fitted = beam.pvalue.AsSingleton(grouped | FitTransform(self.config, self.output, self.scratch, self.holder))
        candidates = grouped | PreprocessParts(
            self.config, self.media, self.output, self.run, self.holder, self.parts, self.threads, after=fitted
        )
        return candidates | WriteGolden(self.config, self.media, self.output, self.holder)


@dataclasses.dataclass(frozen=True)
class PreprocessTrial:
    """Preprocesses records on behalf of the supervisor (`mmstream.worker`), and throws the examples away.

    Attributes:
        config: its fields and split.
        media: where media may lie.
        output: directory of the output; before the first pass has filled its `transform/`, records are only decoded.
    """

    steps: ClassVar[tuple[str, ...]] = (ANALYSE, READ, "preprocess")

    config: Config
    media: Media
    output: str

    def prepare(self) -> None:
        """Load what the fields need."""
        _ = self._cheap
        if self._fitted.fingerprint:
            self._fitted.preprocessor.tensors([])

    def take(self, step: str, record: Record) -> None:
        """Do what the first pass does to a record, read it, or do what the second pass does."""
        preprocessor, fingerprint = self._fitted.preprocessor, self._fitted.fingerprint
        if step == ANALYSE:
            list(columns_of_part([record], self._cheap, self.config.split))
        elif step == READ:
            preprocessor.load(record, self.media)
        elif fingerprint:
            examples_of([record], preprocessor, self.config.split, self.media, fingerprint)
        else:
            preprocessor.decode(preprocessor.load(record, self.media).values)

    @functools.cached_property
    def _cheap(self) -> Preprocessor:
        return cheap_preprocessor(self.config)

    @functools.cached_property
    def _fitted(self) -> _Fitted:
        return _Fitted(self.config, self.output)


class _Fitted:
    """What all parts of a worker process share."""

    def __init__(self, config: Config, output: str) -> None:
        self.fingerprint = fingerprint_of(output) or ""
        transform = files.join(output, "transform") if self.fingerprint else ""
        self.preprocessor = Preprocessor(config.fields, transform, resume=config.resume)


def _best(found: Sequence[tuple[Record, str]], count: int) -> list[Candidate]:
    """The first candidates among records and their splits."""
    validation = [pair for pair in found if pair[1] == "validation"]
    candidates = (
        Candidate(split != "validation", hash_fraction("golden", record.id), record)
        for record, split in (validation if len(validation) >= count else found)
    )
    return heapq.nsmallest(count, candidates, key=_order)


def _order(candidate: Candidate) -> tuple[bool, float, str]:
    return candidate.other_split, candidate.place, candidate.record.id


def _digest_of_inputs(seen: Iterable[tuple[Record, str]], letters: Iterable[DeadLetter], split: SplitConfig) -> str:
    total = hashlib.sha256(split.model_dump_json().encode())
    for record, digest in seen:
        all_of_it = (record.id, record.origin, record.columns, digest)
        total.update(repr(all_of_it).encode("utf-8", "backslashreplace"))
    for line in sorted(letter.to_json() for letter in letters):
        total.update(line.encode())
    return total.hexdigest()[:32]
