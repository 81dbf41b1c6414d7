"""Turning the records of a part into examples, and committing it, for `mmstream preprocess`."""

from __future__ import annotations

import contextlib
import hashlib
import heapq
import itertools
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from mmstream.config.schema import SplitConfig
from mmstream.errors import RecordError
from mmstream.inputs.items import first_of_each
from mmstream.inputs.splits import NO_KEYS, key_of, split_for
from mmstream.outputs import commit_records, commits, parts
from mmstream.outputs import hashes as part_hashes
from mmstream.outputs.hashes import Hashed, PartHashes
from mmstream.outputs.letters import dump_letters, load_letters
from mmstream.preprocessing.decoding import decode_loaded, digests_of
from mmstream.preprocessing.examples import ExampleWriter, serialise
from mmstream.preprocessing.hashing import Hashing
from mmstream.preprocessing.preprocessor import Decoded, Preprocessor
from mmstream.records.media import Media
from mmstream.records.record import SPLITS, DeadLetter, Record, dead_letter, hash_fraction
from mmstream.runtime import alive
from mmstream.runtime.concurrency import ThreadPool, batched
from mmstream.storage import files
from mmstream.supervision import worker

_BATCH = 64


class Example(NamedTuple):
    """A record as a serialised tf.train.Example, with its split and similarity hashes."""

    split: str
    data: bytes
    digest: str
    hashes: Mapping[str, bytes]


class Candidate(NamedTuple):
    """A record that may become golden. The smallest come first: the validation split, in order of a hash of the id."""

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
    pool: ThreadPool,
    hashing: Hashing | None = None,
    near_keys: Mapping[str, str] = NO_KEYS,
) -> tuple[dict[str, int], list[Candidate]]:
    """Turn a part's records into one shard per split, and commit them; a part that already holds them is unchanged.

    The similarity hashes of the examples are kept beside them, unless there is no `hashing`.

    Returns:
        {"read", "examples", "dead_lettered", "skipped"}: how many records had each outcome in this run; and the
        `golden` best candidates for golden records.
    """
    commits.finish(output, part, holder)
    records, letters = first_of_each(items)
    shards = {name: f"examples/{name}/{parts.part_name(part)}.tfrecord.gz" for name in SPLITS}
    letters_path = f"dead_letters/{parts.part_name(part)}.jsonl"
    commit = commit_records.recorded(output, part)
    if commit and commit.fingerprint == fingerprint and not commit_records.damaged_files(output, commit):
        digests = dict(digests_of(records, preprocessor, media, pool))
        seen = [(record, digests[record.id]) for record in records]
        if commit.inputs == _digest_of_inputs(seen, letters, split, near_keys):
            dead = {letter.id for letter in load_letters(files.read_bytes(files.join(output, letters_path)))}
            counts = {"read": len(items), "examples": 0, "dead_lettered": 0, "skipped": len(items)}
            left = [(record, split_for(record, split, near_keys)) for record in records if record.id not in dead]
            earlier = part_hashes.read(output, part, hashing) if hashing else None
            if hashing and (earlier is None or earlier.inputs != commit.inputs):  # an earlier version kept none
                values = dict(hashing.of_records([record for record, _ in left], preprocessor, media, pool))
                hashed = [Hashed(one.id, name, digests[one.id], values[one.id]) for one, name in left]
                part_hashes.write(output, part, PartHashes(commit.inputs, hashing.key, hashed), holder)
            return counts, _best(left, golden)

    batches = batched(records, _BATCH)
    done = pool.in_order(
        lambda batch: examples_of(batch, preprocessor, split, media, fingerprint, hashing, near_keys), batches
    )
    good: list[tuple[Record, str]] = []
    failed: list[DeadLetter] = []
    seen = []
    hashed = []
    temporary = {name: files.temporary_for(files.join(output, path)) for name, path in shards.items()}
    with ExitStack() as stack:
        stack.enter_context(contextlib.closing(done))  # even if the disk is full: others wait for these threads
        writers = {name: stack.enter_context(ExampleWriter(path)) for name, path in temporary.items()}
        for record, result in itertools.chain.from_iterable(done):
            seen.append((record, result.digest))
            if isinstance(result, DeadLetter):
                failed.append(result)
            else:
                writers[result.split].write(result.data)
                good.append((record, result.split))
                hashed.append(Hashed(record.id, result.split, result.digest, result.hashes))
    made: dict[str, bytes | Path] = {shards[name]: path for name, path in temporary.items()}
    made[letters_path] = dump_letters([*letters, *failed])
    dead_lettered = len(letters) + len(failed)
    counts = {**{name: writer.count for name, writer in writers.items()}, "dead_lettered": dead_lettered}
    inputs = _digest_of_inputs(seen, letters, split, near_keys)
    commits.commit_part(
        output,
        part,
        fingerprint,
        counts,
        made,
        parts=parts_count,
        onto=commit,
        inputs=inputs,
        run=holder,
    )
    if hashing:
        part_hashes.write(output, part, PartHashes(inputs, hashing.key, hashed), holder)
    return {
        "read": len(items),
        "examples": len(good),
        "dead_lettered": dead_lettered,
        "skipped": 0,
    }, _best(good, golden)


def examples_of(
    records: Sequence[Record],
    preprocessor: Preprocessor,
    split: SplitConfig,
    media: Media,
    fingerprint: str,
    hashing: Hashing | None = None,
    near_keys: Mapping[str, str] = NO_KEYS,
) -> list[tuple[Record, Example | DeadLetter]]:
    """Serialise a batch of records; a bad one becomes a dead letter and does not affect the others."""
    with worker.holding(records):
        return _examples_of(records, preprocessor, split, media, fingerprint, hashing, near_keys)


def _examples_of(
    records: Sequence[Record],
    preprocessor: Preprocessor,
    split: SplitConfig,
    media: Media,
    fingerprint: str,
    hashing: Hashing | None,
    near_keys: Mapping[str, str],
) -> list[tuple[Record, Example | DeadLetter]]:
    results: dict[str, Example | DeadLetter] = {}
    good: list[
        tuple[Record, str, str, Decoded]
    ] = []  # only the digest of what was read, or a batch would hold all its files
    for record in records:
        loaded = preprocessor.load(record, media)
        alive.progress()
        try:
            name = split_for(record, split, near_keys)
            decoded = decode_loaded(loaded, preprocessor)
        except RecordError as error:
            results[record.id] = dead_letter(record, error, loaded.digest, fingerprint)
        else:
            good.append((record, name, loaded.digest, decoded))
    tensors = preprocessor.tensors([decoded for *_, decoded in good]) if good else {}
    for row, (record, name, digest, decoded) in enumerate(good):
        told = {"_id": record.id, "_origin": record.origin, "_digest": digest, **preprocessor.told(decoded)}
        hashes = hashing.hashes(decoded) if hashing else {}
        results[record.id] = Example(name, serialise(tensors, row, told), digest, hashes)
    return [(record, results[record.id]) for record in records]


def _best(found: Sequence[tuple[Record, str]], count: int) -> list[Candidate]:
    """Return the best candidates among some records, given with their splits."""
    validation = [pair for pair in found if pair[1] == "validation"]
    candidates = (
        Candidate(split != "validation", hash_fraction("golden", record.id), record)
        for record, split in (validation if len(validation) >= count else found)
    )
    return heapq.nsmallest(count, candidates, key=order_of)


def order_of(candidate: Candidate) -> tuple[bool, float, str]:
    """Return the sort key of candidates for golden records, the best first."""
    return candidate.other_split, candidate.place, candidate.record.id


def _digest_of_inputs(
    seen: Iterable[tuple[Record, str]],
    letters: Iterable[DeadLetter],
    split: SplitConfig,
    near_keys: Mapping[str, str],
) -> str:
    total = hashlib.sha256(split.model_dump_json().encode())
    for record, digest in seen:
        all_of_it: tuple[object, ...] = (record.id, record.origin, record.columns, digest)
        if near_keys and (key := near_keys.get(key_of(record, split))) is not None:
            all_of_it = (*all_of_it, key)
        total.update(repr(all_of_it).encode("utf-8", "backslashreplace"))
    for line in sorted(letter.to_json() for letter in letters):
        total.update(line.encode())
    return total.hexdigest()[:32]
