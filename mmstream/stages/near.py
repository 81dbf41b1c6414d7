"""Keeping near-equal records in one split: a pass of `mmstream preprocess` that hashes them before they are divided."""

from __future__ import annotations

import dataclasses
import functools
import pickle
from collections.abc import Iterable, Mapping

import apache_beam as beam

from mmstream.config.schema import Config, SplitConfig
from mmstream.inputs.items import first_of_each
from mmstream.inputs.splits import NO_KEYS, key_of
from mmstream.outputs import hashes, near_keys
from mmstream.outputs.near_keys import Keyed
from mmstream.preprocessing.hashing import Hashing
from mmstream.preprocessing.preprocessor import Preprocessor
from mmstream.records.media import Media
from mmstream.records.record import DeadLetter, Record, strong_digest_of
from mmstream.runtime.concurrency import ThreadPool
from mmstream.stages.ahead import WorkAhead


@dataclasses.dataclass
class KeepTogether(beam.PTransform):
    """(part, its items, packed) of all parts → a digest of the keys, once they are in the output; one element.

    Without `split.near`, nothing is read, and the element is "".

    Attributes:
        config: has the fields and the split.
        media: where media may lie.
        output: directory of the output.
        holder: the run that must hold the output (`mmstream.outputs.lock`); "" if it is not held.
        threads: number of threads that decode in each worker process; None for one per core.
    """

    config: Config
    media: Media
    output: str
    holder: str
    threads: int | None

    def __post_init__(self) -> None:
        super().__init__()

    def expand(self, grouped: beam.PCollection) -> beam.PCollection:
        """Hash each part's records; find near-equal ones in one place, which only keys and hashes reach."""
        once = grouped.pipeline | beam.Create([None])
        if not self.config.split.near:
            return once | beam.Map(lambda _: "")
        keyed = grouped | "HashParts" >> beam.ParDo(WorkAhead(self._hash, self.threads), "")
        return once | beam.Map(self._install, beam.pvalue.AsIter(keyed))

    def _hash(self, part: int, items: list[Record | DeadLetter], pool: ThreadPool, _: str) -> list[bytes]:
        """Return the keys and hashes of a part, packed; hashes of an earlier run count for records as they were."""
        config, hashing = self.config, Hashing.of(self.config.fields)
        earlier = hashes.read(self.output, part, hashing)
        known = {each.id: (each.digest, each.hashes) for each in earlier.records} if earlier else {}
        records, preprocessor = first_of_each(items)[0], Preprocessor(config.fields, resume=config.resume)
        hashed = dict(hashing.of_records(records, preprocessor, self.media, pool, known))
        found = [Keyed(key_of(each, config.split), hashed[each.id]) for each in records if hashed.get(each.id)]
        return [pickle.dumps(found, pickle.HIGHEST_PROTOCOL)]

    def _install(self, _: None, packed: Iterable[bytes]) -> str:
        keyed = (each for some in packed for each in pickle.loads(some))
        keys = near_keys.near_keys(keyed, self.config.split, Hashing.of(self.config.fields))
        near_keys.install(self.output, keys, self.holder)
        return strong_digest_of(keys)


def keys_of(output: str, split: SplitConfig, digest: str) -> Mapping[str, str]:
    """The keys that `KeepTogether` put in an output; a process reads them once.

    Args:
        output: directory of the output.
        split: how records are divided.
        digest: the element of `KeepTogether`.
    """
    return _read_once(output, digest) if split.near else NO_KEYS


@functools.lru_cache(maxsize=1)
def _read_once(output: str, digest: str) -> Mapping[str, str]:
    return near_keys.read(output)
