"""Decoding and digesting records, by the same rules and with the same messages in labelling and preprocessing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from mmstream.errors import RecordError
from mmstream.preprocessing.preprocessor import Decoded, Loaded, Preprocessor
from mmstream.records.media import Media
from mmstream.records.record import Record
from mmstream.runtime import alive
from mmstream.runtime.concurrency import ThreadPool, batched
from mmstream.supervision import worker

_DIGESTED_TOGETHER = 64


def decode_loaded(loaded: Loaded, preprocessor: Preprocessor) -> Decoded:
    """Decode a record that `Preprocessor.load` has read.

    Returns:
        {field: the result of its `decode`}, None if absent; at least one field is present.

    Raises:
        RecordError: a media file could not be read, a value is bad, or no field has a value.
        MmstreamError: a resource of this process or machine is exhausted; the record may be good.
    """
    if loaded.error:
        raise loaded.error
    decoded = preprocessor.decode(loaded.values)
    if all(value is None for value in decoded.values()):
        fields = ", ".join(decoded)
        raise RecordError(f"no value in any field that is read ({fields})", stage="decode", error="NothingToRead")
    return decoded


def digests_of(
    records: Iterable[Record], preprocessor: Preprocessor, media: Media, pool: ThreadPool
) -> Iterator[tuple[str, str]]:
    """The id of each record, in order, and the digest that `Preprocessor.load` would give."""

    def of_batch(batch: Sequence[Record]) -> list[tuple[str, str]]:
        digests = []
        with worker.holding(batch):
            for record in batch:
                digests.append((record.id, preprocessor.digest(record, media)))
                alive.progress()
        return digests

    for pairs in pool.in_order(of_batch, batched(records, _DIGESTED_TOGETHER)):
        yield from pairs
