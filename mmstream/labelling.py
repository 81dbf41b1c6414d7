"""Labelling: records in, label rows or dead letters out. No Beam in it; every door to a model goes through here."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import numpy as np

from mmstream import worker
from mmstream.concurrency import batched, in_order
from mmstream.errors import RecordError, describe, is_out_of_memory
from mmstream.media import Media
from mmstream.preprocessing import Decoded, Loaded
from mmstream.records import DeadLetter, Record, printable

if TYPE_CHECKING:
    from mmstream.trained_model import TrainedModel

Result = tuple[Record, "dict[str, Any] | DeadLetter"]


def label_records(
    records: Iterable[Record],
    model: TrainedModel,
    media: Media,
    *,
    threads: int | None = None,
    pool: ThreadPoolExecutor | None = None,
) -> Iterator[Result]:
    """Label records, in order, with threads that each read, decode and predict whole batches.

    Args:
        records: may be endless; only a few batches are read ahead.
        model: that labels.
        media: where the records' files may lie.
        threads: how many work at once; None for one a core.
        pool: of the caller, with that many threads, in place of one made here.

    Yields:
        (record, label row or dead letter).
    """
    threads = threads or os.cpu_count() or 1
    with ExitStack() as stack:
        workers = pool or stack.enter_context(ThreadPoolExecutor(threads))
        batches = batched(records, model.batch)
        for results in in_order(lambda batch: label_batch(batch, model, media), batches, threads, workers):
            yield from results


def label_items(
    items: Sequence[Record | DeadLetter],
    model: TrainedModel,
    media: Media,
    *,
    threads: int | None = None,
    pool: ThreadPoolExecutor | None = None,
) -> Iterator[dict[str, Any] | DeadLetter]:
    """A label row or dead letter for each of some items, in order; what is a dead letter already stays one."""
    records = (item for item in items if isinstance(item, Record))
    labelled = label_records(records, model, media, threads=threads, pool=pool)
    for item in items:
        yield next(labelled)[1] if isinstance(item, Record) else item


def label_batch(records: Sequence[Record], model: TrainedModel, media: Media) -> list[Result]:
    """Label some records; a bad one becomes a dead letter and costs no other."""
    with worker.holding(records):
        return _label_batch(records, model, media)


def check_loaded(record: Record, loaded: Loaded) -> None:
    """A record may be decoded.

    Raises:
        RecordError: one of its files could not be read, or it is known to end whatever process works on it.
    """
    if verdict := worker.verdict_on(record):
        raise RecordError(verdict.message, stage="quarantine", error=verdict.error)
    if loaded.error:
        raise loaded.error


def _label_batch(records: Sequence[Record], model: TrainedModel, media: Media) -> list[Result]:
    results: list[dict[str, Any] | DeadLetter | None] = []
    good: list[tuple[int, Loaded, Decoded]] = []
    for index, record in enumerate(records):
        loaded = model.preprocessor.load(record, media)
        results.append(None)
        worker.progress()
        try:
            check_loaded(record, loaded)
            decoded = model.preprocessor.decode(loaded.values)
            if all(value is None for value in decoded.values()):
                fields = ", ".join(decoded)
                raise RecordError(
                    f"no value in any field that is read ({fields})", stage="decode", error="NothingToRead"
                )
        except RecordError as error:
            results[index] = dead_letter(record, error, loaded.digest, model.fingerprint)
        else:
            good.append((index, loaded, decoded))
    for index, row in _predict(good, records, model):
        results[index] = row
    return [(record, result) for record, result in zip(records, results, strict=True) if result is not None]


def dead_letter(record: Record, error: RecordError, digest: str, fingerprint: str) -> DeadLetter:
    """The letter of a record that failed."""
    return DeadLetter(
        record.id,
        record.origin,
        error.stage,
        error.field,
        error.component,
        error.error,
        describe(error),
        printable(record.columns),
        digest,
        fingerprint,
    )


def _predict(
    good: Sequence[tuple[int, Loaded, Decoded]], records: Sequence[Record], model: TrainedModel
) -> Iterator[tuple[int, dict[str, Any] | DeadLetter]]:
    """Rows of decoded records; a batch that fails is halved until the bad record alone is left."""
    if not good:
        return
    model.prepare()
    size = model.batch
    if len(good) > size:  # it has become smaller since
        yield from _predict(good[:size], records, model)
        yield from _predict(good[size:], records, model)
        return
    try:
        tensors = model.preprocessor.tensors([decoded for _, _, decoded in good], size)
        outputs = model.predict(tensors)
        rows = model.rows(outputs, len(good))
    except Exception as error:
        if is_out_of_memory(error) and size > 1:
            model.halve_batch(size)
        if model.batch != size:  # by this thread or another: these tensors are too many now
            yield from _predict(good, records, model)
            return
        if isinstance(error, MemoryError):
            raise  # whichever record it struck need not be the one that fills the memory
        if len(good) > 1:
            middle = len(good) // 2
            yield from _predict(good[:middle], records, model)
            yield from _predict(good[middle:], records, model)
            return
        index, loaded, _ = good[0]
        failure = RecordError(describe(error), stage="predict", error=type(error).__name__)
        yield index, dead_letter(records[index], failure, loaded.digest, model.fingerprint)
        return
    finite = _finite(outputs, len(good))
    for (index, loaded, _), row, sound in zip(good, rows, finite, strict=True):
        record = records[index]
        if not sound:
            failure = RecordError("the network gave numbers that are not finite", stage="predict", error="NotFinite")
        elif all(row[head] is None for head in model.heads):
            failure = RecordError("no head could read it", stage="predict", error="NothingToRead")
        else:
            about = {"_fingerprint": model.fingerprint, "_digest": loaded.digest, "_origin": record.origin}
            yield index, {"id": record.id, **row, **about}
            continue
        yield index, dead_letter(record, failure, loaded.digest, model.fingerprint)


def _finite(outputs: Mapping[str, Any], count: int) -> np.ndarray:
    """bool[count]: whether all outputs of a row are finite numbers."""
    sound = np.ones(count, bool)
    for value in outputs.values():
        if isinstance(value, Mapping):
            sound &= _finite(value, count)
        elif value.dtype.kind == "f":
            sound &= np.isfinite(value[:count]).all(axis=tuple(range(1, value.ndim)))
    return sound
