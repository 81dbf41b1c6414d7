"""Labelling: records in, label rows or dead letters out. No Beam in it; every door to a model goes through here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mmstream import alive, worker
from mmstream.concurrency import Workers, batched
from mmstream.errors import RecordError, describe, is_out_of_memory
from mmstream.media import Media
from mmstream.preprocessing import Decoded, Preprocessor
from mmstream.records import DeadLetter, Record, printable

if TYPE_CHECKING:
    from mmstream.trained_model import TrainedModel

_DIGESTED_TOGETHER = 64
Result = tuple[Record, "dict[str, Any] | DeadLetter"]


def label_records(
    records: Iterable[Record],
    model: TrainedModel,
    media: Media,
    *,
    workers: Workers,
) -> Iterator[Result]:
    """Label records, in order, with threads that each read, decode and predict whole batches.

    Args:
        records: may be endless; only a few batches are read ahead.
        model: that labels.
        media: where the records' files may lie.
        workers: the threads.

    Yields:
        (record, label row or dead letter).
    """
    for results in workers.in_order(lambda batch: label_batch(batch, model, media), batched(records, model.batch)):
        yield from results


def label_items(
    items: Sequence[Record | DeadLetter],
    model: TrainedModel,
    media: Media,
    *,
    workers: Workers,
) -> Iterator[dict[str, Any] | DeadLetter]:
    """A label row or dead letter for each of some items, in order; what is a dead letter already stays one."""
    records = (item for item in items if isinstance(item, Record))
    labelled = label_records(records, model, media, workers=workers)
    for item in items:
        yield next(labelled)[1] if isinstance(item, Record) else item


def label_batch(records: Sequence[Record], model: TrainedModel, media: Media) -> list[Result]:
    """Label some records; a bad one becomes a dead letter and costs no other."""
    with worker.holding(records):
        return _label_batch(records, model, media)


def _label_batch(records: Sequence[Record], model: TrainedModel, media: Media) -> list[Result]:
    results: list[dict[str, Any] | DeadLetter | None] = []
    good: list[tuple[int, str, Decoded]] = []  # of what was read only the digest, or all files stay in memory
    for index, record in enumerate(records):
        loaded = model.preprocessor.load(record, media)
        results.append(None)
        alive.progress()
        try:
            if loaded.error:
                raise loaded.error
            decoded = model.preprocessor.decode(loaded.values)
            if all(value is None for value in decoded.values()):
                fields = ", ".join(decoded)
                raise RecordError(
                    f"no value in any field that is read ({fields})", stage="decode", error="NothingToRead"
                )
        except RecordError as error:
            results[index] = dead_letter(record, error, loaded.digest, model.fingerprint)
        else:
            good.append((index, loaded.digest, decoded))
    for index, row in _predict(good, records, model):
        results[index] = row
    return [(record, result) for record, result in zip(records, results, strict=True) if result is not None]


def digests_of(
    records: Iterable[Record], preprocessor: Preprocessor, media: Media, workers: Workers
) -> Iterator[tuple[str, str]]:
    """The ids of records and the digests that labelling them would give, in order."""

    def of_batch(batch: Sequence[Record]) -> list[tuple[str, str]]:
        found = []
        with worker.holding(batch):
            for record in batch:
                found.append((record.id, preprocessor.digest(record, media)))
                alive.progress()
        return found

    for pairs in workers.in_order(of_batch, batched(records, _DIGESTED_TOGETHER)):
        yield from pairs


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
    good: Sequence[tuple[int, str, Decoded]], records: Sequence[Record], model: TrainedModel
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
    except (Exception, SystemExit) as error:
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
        index, digest, _ = good[0]
        failure = RecordError(describe(error), stage="predict", error=type(error).__name__)
        yield index, dead_letter(records[index], failure, digest, model.fingerprint)
        return
    finite = _finite(outputs, len(good))
    for (index, digest, _), row, sound in zip(good, rows, finite, strict=True):
        record = records[index]
        if not sound:
            failure = RecordError("the network gave numbers that are not finite", stage="predict", error="NotFinite")
        elif all(row[head] is None for head in model.heads):
            failure = RecordError("no head could read it", stage="predict", error="NothingToRead")
        else:
            about = {"_fingerprint": model.fingerprint, "_digest": digest, "_origin": record.origin}
            yield index, {"id": record.id, **row, **about}
            continue
        yield index, dead_letter(record, failure, digest, model.fingerprint)


def _finite(outputs: Mapping[str, Any], count: int) -> np.ndarray:
    """bool[count]: whether all outputs of a row are finite numbers."""
    sound = np.ones(count, bool)
    for value in outputs.values():
        if isinstance(value, Mapping):
            sound &= _finite(value, count)
        elif value.dtype.kind == "f":
            sound &= np.isfinite(value[:count]).all(axis=tuple(range(1, value.ndim)))
    return sound
