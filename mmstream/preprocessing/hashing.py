"""The similarity hashes of a record's values."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType

from mmstream.config.schema import FieldConfig
from mmstream.errors import RecordError
from mmstream.interfaces import Field, SimilarityHash
from mmstream.plugins import registry
from mmstream.preprocessing.decoding import decode_loaded
from mmstream.preprocessing.preprocessor import Decoded, Preprocessor
from mmstream.preprocessing.settings import settings_of
from mmstream.records.media import Media
from mmstream.records.record import Record, digest_of
from mmstream.runtime import alive
from mmstream.runtime.concurrency import ThreadPool, batched
from mmstream.supervision import worker

_HASHED_TOGETHER = 64


@dataclasses.dataclass(frozen=True)
class Hashing:
    """How values are hashed.

    Attributes:
        similarities: what makes the hashes of each field that is compared, by its name.
        key: a digest of all that hashes depend on besides the records: settings and versions of the fields, and
            versions of the hashes.
    """

    similarities: Mapping[str, SimilarityHash]
    key: str

    @classmethod
    def of(cls, fields: Mapping[str, FieldConfig]) -> Hashing:
        """How the values of a config's fields are hashed."""
        similarities: dict[str, SimilarityHash] = {}
        for name, part in sorted(fields.items()):
            component: type[Field] = registry.find("field", part.use)
            if component.similarity is not None:
                similarities[name] = component.similarity
        versions = {name: registry.component("field", part.use).version for name, part in fields.items()}
        of_hashes = {name: similarity.version for name, similarity in similarities.items()}
        return cls(similarities, digest_of([settings_of(fields), versions, of_hashes]))

    def hashes(self, decoded: Decoded) -> dict[str, bytes]:
        """The hash of each value that has one."""
        hashes = {}
        for name, similarity in self.similarities.items():
            values = decoded[name]
            value = None if values is None else similarity.hash(values)
            if value is not None:
                hashes[name] = value
        return hashes

    def of_records(
        self,
        records: Iterable[Record],
        preprocessor: Preprocessor,
        media: Media,
        pool: ThreadPool,
        known: Mapping[str, tuple[str, Mapping[str, bytes]]] = MappingProxyType({}),
    ) -> Iterator[tuple[str, Mapping[str, bytes]]]:
        """The hashes of records by id, in order; records that cannot be decoded are left out.

        Args:
            records: the records.
            preprocessor: reads and decodes them.
            media: where media may lie.
            pool: threads.
            known: the digest of records that were hashed before, and their hashes, by id.
        """

        def of_batch(batch: Sequence[Record]) -> list[tuple[str, Mapping[str, bytes]]]:
            found: list[tuple[str, Mapping[str, bytes]]] = []
            with worker.holding(batch):
                for record in batch:
                    alive.progress()
                    digest, hashes = known.get(record.id, ("", {}))
                    if not digest or digest != preprocessor.digest(record, media):
                        try:
                            decoded = decode_loaded(preprocessor.load(record, media), preprocessor)
                        except RecordError:
                            continue  # whoever makes its example meets the same error, and writes its dead letter
                        hashes = self.hashes(decoded)
                    found.append((record.id, hashes))
            return found

        for pairs in pool.in_order(of_batch, batched(records, _HASHED_TOGETHER)):
            yield from pairs
