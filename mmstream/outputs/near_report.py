"""Counting the records that have a near-equal value in another split, for preprocess.json and the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from mmstream.config.schema import SplitConfig
from mmstream.errors import MmstreamError, brief
from mmstream.outputs import hashes
from mmstream.outputs.parts import part_name
from mmstream.preprocessing.hashing import Hashing
from mmstream.preprocessing.similar import components, similar
from mmstream.records.record import SPLITS
from mmstream.runtime.concurrency import at_once

_GROUPS = 5
"""Groups that are named for each field."""
_SHOWN = 2
"""Groups that the terminal shows."""
_NAMED = 3
"""Ids that are named of each group."""
_WORTH_A_WARNING = 0.01
"""Share of the records of the validation and test splits."""
_TOO_LARGE = 0.05
"""Share of all records, from which on a group moves the shares of the splits."""


def near_report(output: str, parts: int, hashing: Hashing, split: SplitConfig) -> dict[str, Any]:
    """What preprocess.json says of near-equal records; see `mmstream.outputs.ownership.AboutNear`.

    Args:
        output: the output directory, each part of which has its hashes.
        parts: the number of parts.
        hashing: how they were hashed.
        split: says which records were kept together.

    Returns:
        {"near": by field, "kept_together": the largest groups that `split.near` kept together}; {} if no field is
        compared.

    Raises:
        MmstreamError: the hashes of a part are missing.
    """
    if not hashing.similarities:
        return {}

    def read(part: int) -> hashes.PartHashes:
        found = hashes.read(output, part, hashing)
        if found is None:
            raise MmstreamError(
                f"the hashes of {part_name(part)} in {output} are missing or damaged: something else has changed the "
                "output while this job ran; run the same command again"
            )
        return found

    records = [record for some in at_once(read, range(parts)) for record in some.records]
    records.sort(key=lambda record: record.id)
    ids, splits = [record.id for record in records], np.array([SPLITS.index(record.split) for record in records], int)
    near, together = {}, np.arange(len(records))
    for field, similarity in hashing.similarities.items():
        values = [record.hashes.get(field) for record in records]
        found = similar(values, similarity, (1 << splits).astype(np.uint8))
        elsewhere = found.marks & ~(1 << splits)
        near[field] = {
            "compared": sum(value is not None for value in values),
            "held_out": int((splits > 0).sum()),
            "held_out_near": int(((splits > 0) & (elsewhere > 0)).sum()),
            "near": {
                one: {
                    other: int(((splits == here) & (elsewhere >> there & 1 > 0)).sum())
                    for there, other in enumerate(SPLITS)
                    if there != here
                }
                for here, one in enumerate(SPLITS)
            },
            "groups": _groups(ids, splits, found.groups),
        }
        if split.keeps(field):
            together = components(np.stack([np.arange(len(records)), found.groups]), together)
    return {"near": near, **({"kept_together": _groups(ids, splits, together)} if split.near else {})}


def shown(about: Mapping[str, Any]) -> dict[str, str]:
    """The lines about near-equal records for the summary in the terminal.

    Args:
        about: the content of preprocess.json.
    """
    lines = {}
    for field, found in about.get("near", {}).items():
        counts = [
            f"{count:,} of {one} in {other}"
            for one in SPLITS[1:]
            for other, count in found["near"][one].items()
            if count
        ]
        groups = [f"{group['records']:,} records ({_listed(group)})" for group in found["groups"][:_SHOWN]]
        named = f"; groups: {', '.join(groups)}" if groups else ""
        lines[f"near_equal_{field}"] = f"{', '.join(counts) or 'none in another split'}{named}"
    return lines


def warnings(about: Mapping[str, Any], split: SplitConfig) -> Iterator[str]:
    """Warnings about held-out records that resemble others, and about groups too large to be kept together well.

    Args:
        about: the content of preprocess.json.
        split: how the records were divided.
    """
    for field, found in about.get("near", {}).items():
        near, records = found["held_out_near"], found["held_out"]
        is_left_out = isinstance(split.near, list) and field not in split.near
        if near > _WORTH_A_WARNING * records and not is_left_out:
            advice = ""
            if not split.near and not split.column and not split.by_file:
                advice = "; `split: {near: true}` keeps near-equal records in one split"
            yield (
                f"fields.{field}: {near:,} of {records:,} validation and test records ({near / records:.1%}) have a "
                f"near-equal value in another split, such as {_listed(found['groups'][0])}{advice}"
            )
    total = sum(about["splits"].values())
    for group in about.get("kept_together", [])[:1]:
        if group["records"] > _TOO_LARGE * total:
            yield (
                f"split.near: {group['records']:,} of {total:,} records ({group['records'] / total:.1%}) are linked by "
                f"near-equal values and are all in one split, such as {_listed(group)}; if a field's values are shared "
                "by different things, name only the other fields, as in `near: [image]`"
            )


def _groups(ids: Sequence[str], splits: np.ndarray, groups: np.ndarray) -> list[dict[str, Any]]:
    """The largest groups; those that are in several splits come first."""
    labels, sizes = np.unique(groups, return_counts=True)
    first, last = np.full(len(ids), len(SPLITS)), np.full(len(ids), -1)
    np.minimum.at(first, groups, splits)
    np.maximum.at(last, groups, splits)
    several = labels[sizes > 1]
    order = np.lexsort((several, -sizes[sizes > 1], first[several] == last[several]))
    found = []
    for label in several[order[:_GROUPS]]:
        members = np.flatnonzero(groups == label)
        of_split = {split: int((splits[members] == place).sum()) for place, split in enumerate(SPLITS)}
        found.append({"records": len(members), "splits": of_split, "first": _some(ids, splits, members)})
    return found


def _some(ids: Sequence[str], splits: np.ndarray, members: np.ndarray) -> list[str]:
    """Some ids of a group, of as many splits as possible."""
    _, firsts = np.unique(splits[members], return_index=True)
    chosen = [*firsts, *(place for place in range(len(members)) if place not in firsts)][:_NAMED]
    return [ids[members[place]] for place in chosen]


def _listed(group: Mapping[str, Any]) -> str:
    more = ", …" * (group["records"] > len(group["first"]))
    return ", ".join(map(brief, group["first"])) + more
