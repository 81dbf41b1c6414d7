"""The audit of an output: whether everything is there exactly once, intact, and made by one model."""

from __future__ import annotations

import dataclasses
import heapq
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from mmstream.errors import MmstreamError
from mmstream.inputs.input import input_named, look_through, rows_of
from mmstream.inputs.items import check_row
from mmstream.inputs.listing import as_json, in_words
from mmstream.inputs.splits import split_for
from mmstream.outputs import commit_records, commits, ownership, parts
from mmstream.outputs.contents import COMPUTED_ANEW, ExamplesContents, Held, LabelsContents
from mmstream.records.record import DUPLICATE, SPLITS, DeadLetter, Record, digest_of, hash_fraction

_NAMED = 5
"""The maximum number of ids that a finding names."""


@dataclasses.dataclass
class Findings:
    """The findings of an audit.

    Attributes:
        counts: how many results the output holds, by kind.
        problems: what is wrong, one line each; empty if nothing is.
        notes: what else a user should know, one line each.
    """

    counts: dict[str, int] = dataclasses.field(default_factory=dict)
    problems: list[str] = dataclasses.field(default_factory=list)
    notes: list[str] = dataclasses.field(default_factory=list)


def audit(output: str, input_path: str = "") -> Findings:
    """Check an output of `mmstream label` or `mmstream preprocess`, part by part.

    Equal ids belong to the same part, so only one part at a time is kept in memory; with an input, the ids and digests
    of all parts are.

    Args:
        output: the output directory.
        input_path: the input that its records came from; each record must be in the output once, as it is in the input
            now. "" to check only the output.

    Raises:
        MmstreamError: it is not such an output, or the input cannot be read.
    """
    ownership.check_not_cut(output)
    plan = parts.read_plan(output)
    if plan is None:
        raise MmstreamError(f"{output} is not an output of `mmstream label` or `mmstream preprocess`")
    about = ownership.read_about(output, plan.command)
    look = LabelsContents(about) if plan.command == "label" else ExamplesContents(output, about)
    findings = Findings(dict.fromkeys(look.kinds, 0))
    for path in commits.pending(output):
        findings.problems.append(f"{path}: a job was interrupted while committing this part; run it again")
    findings.problems += ownership.contradictions(output, plan)
    seen: dict[str, Held] = {}
    failed: dict[tuple[int, str], str] = {}
    named: set[str] = set()
    fingerprints: Counter[str] = Counter()
    for part in range(plan.parts):
        name = parts.part_name(part)
        commit = commit_records.recorded(output, part)  # read just before its files, as a stream may still be writing
        if commit is None:
            findings.problems.append(f"{name} has no commit record, so it is not complete")
            continue
        named |= set(commit.checksums)
        damaged = [f"{path} {problem}" for path, problem in commit_records.damaged_files(output, commit).items()]
        findings.problems += damaged
        if damaged:
            continue
        held = list(look.read(output, part, commit))
        here: dict[str, Held] = {}
        nameless: dict[tuple[int, str], str] = {}
        counts = Counter(each.kind for each in held)
        for kind, count in commit.counts.items():
            if counts[look.kind(kind)] != count:
                findings.problems.append(
                    f"{name} should hold {count} {kind} according to its commit record, but holds "
                    f"{counts[look.kind(kind)]}"
                )
        for each in held:
            findings.counts[each.kind] += 1
            if each.fingerprint:
                fingerprints[each.fingerprint] += 1
            if parts.part_of(each.id or each.origin, plan.parts) != part:
                findings.problems.append(f"{name} holds {each.id or each.origin!r}, which belongs to another part")
            if not each.id or each.error == DUPLICATE:
                nameless[each.input, each.origin] = each.digest
            elif each.id in here:
                findings.problems.append(f"{each.id!r} occurs twice: in {here[each.id].kind} and in {each.kind}")
            else:
                here[each.id] = each
        if input_path:
            seen |= here
            failed |= nameless
    findings.problems += _strays(output, named)
    findings.problems += look.check_summary(output, findings.counts)
    findings.problems += _check_fingerprints(fingerprints, look.fingerprint, look.earlier)
    if input_path:
        findings.problems += _check_input(look, output, input_path, seen, failed, findings)
    elif passed_over := ownership.read_summary(output, plan.command).get("passed_over"):
        findings.notes.append(f"the last run passed over {in_words(passed_over)}")
    return findings


def _check_input(
    look: LabelsContents | ExamplesContents,
    output: str,
    path: str,
    seen: Mapping[str, Held],
    failed: Mapping[tuple[int, str], str],
    findings: Findings,
) -> Iterator[str]:
    """Check that every record of the input is in the output, as it is now.

    Args:
        look: reads the output.
        output: the output directory.
        path: the path of the input.
        seen: what the output holds, by id.
        failed: digests of rows that are not records, or whose id belongs to another record, by input and origin.
        findings: receives a count, and a note on what was passed over in the input.
    """
    job_input = input_named(look.inputs, path)
    media = job_input.media()
    preprocessor = look.preprocessor
    met: set[str] = set()
    missing, changed, elsewhere = [], [], []
    sound: list[Record] = []
    pieces, passed_over = look_through(job_input)
    if passed_over:
        findings.notes.append(f"passed over in the input: {in_words(as_json(passed_over))}")
    for row in rows_of(job_input, pieces):
        item = check_row(row, job_input)
        if isinstance(item, DeadLetter):
            if failed.get((item.input, item.origin)) != item.digest:
                missing.append(item.id or item.origin)
            continue
        if item.id not in seen:
            missing.append(item.id)
            continue
        if failed.get((0, item.origin)) == digest_of(item.columns):
            continue  # another record has its id
        met.add(item.id)
        held = seen[item.id]
        if preprocessor.digest(item, media) != held.digest:
            changed.append(item.id)
        elif look.split and held.kind in SPLITS and split_for(item, look.split, look.near_keys) != held.kind:
            elsewhere.append(item.id)
        elif held.kind in SPLITS:
            sound.append(item)
            if len(sound) == 2 * COMPUTED_ANEW:
                sound = _sample(sound)
    findings.counts["of_other_inputs"] = len(seen.keys() - met)
    if missing:
        yield f"records of the input with neither a result nor a dead letter: {_some(missing)}"
    if changed:
        yield f"results that were not made from the record that the input now has under this id: {_some(changed)}"
    if elsewhere:
        yield f"in a different split than the config says: {_some(elsewhere)}"
    if isinstance(look, ExamplesContents) and sound and not findings.problems:
        differ = list(look.differing(output, _sample(sound), media))
        if differ:
            yield f"examples that differ from what preprocessing produces from their records: {_some(differ)}"


def _sample(records: Sequence[Record]) -> list[Record]:
    """Choose some records by a hash of their ids."""
    return heapq.nsmallest(COMPUTED_ANEW, records, key=lambda record: hash_fraction("audit", record.id))


def _check_fingerprints(counts: Mapping[str, int], expected: str, earlier: Sequence[str]) -> Iterator[str]:
    for fingerprint, count in sorted(counts.items()):
        if fingerprint not in (expected, *earlier):
            made_by = "made by another model or preprocessing"
            yield f"results with the fingerprint {fingerprint} instead of {expected}, {made_by}: {count}"


def _strays(output: str, named: set[str]) -> Iterator[str]:
    """Report files among the results that no commit record names."""
    for path in ownership.result_files(output):
        if path not in named:
            yield f"{path} belongs to no committed part"


def _some(ids: Iterable[str]) -> str:
    """List the first few ids, and how many more there are."""
    names = list(ids)
    more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
    return ", ".join(repr(each) for each in names[:_NAMED]) + more
