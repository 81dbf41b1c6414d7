"""The audit of an output: whether everything is there, whole, once, and of one model."""

from __future__ import annotations

import dataclasses
import heapq
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from mmstream import commits, components, files, golden, outputs, parts
from mmstream.config import Config, parse_config
from mmstream.errors import MmstreamError
from mmstream.examples import parse, read_examples, shards_of, told
from mmstream.media import Media
from mmstream.preprocessing import Preprocessor
from mmstream.records import DUPLICATE, SPLITS, DeadLetter, Record, digest_of, hash_fraction
from mmstream.stages.analyse import fingerprint_of, split_for
from mmstream.stages.label import label_paths
from mmstream.stages.reading import check_row, input_named, load_letters, pieces_of, rows_of
from mmstream.trained_model import TrainedModel

_COMPUTED_ANEW = 64
"""Of how many examples the tensors are computed anew."""
_NAMED = 5
"""How many ids a finding names."""


@dataclasses.dataclass(frozen=True)
class Held:
    """A row, example or dead letter that an output holds.

    Attributes:
        id: of its record; "" for a row that has none.
        origin: where it stood.
        digest: of what was read of the record.
        fingerprint: of what made it; "" where nothing did, as for a line that could not be read.
        kind: "labels", the name of a split, or "dead_letters".
        error: of a dead letter.
        input: of a dead letter: number of the input that it stood in.
    """

    id: str
    origin: str
    digest: str
    fingerprint: str
    kind: str
    error: str = ""
    input: int = 0


@dataclasses.dataclass
class Findings:
    """What an audit found.

    Attributes:
        counts: what the output holds, by kind.
        problems: what is wrong, a line each; none where all is well.
    """

    counts: dict[str, int] = dataclasses.field(default_factory=dict)
    problems: list[str] = dataclasses.field(default_factory=list)


def audit(output: str, input_path: str = "") -> Findings:
    """Look through an output of `mmstream label` or `mmstream preprocess`, part by part.

    Equal ids belong to one part, so that one part at a time is kept in memory; with an input, what all of them hold.

    Args:
        output: the directory.
        input_path: where its records came from; then each of them must be there once, as it is now. "" to look at the
            output alone.

    Raises:
        MmstreamError: it is no such output, or the input cannot be read.
    """
    outputs.check_not_cut(output)
    plan = parts.read_plan(output)
    if plan is None:
        raise MmstreamError(f"{output} is not an output of `mmstream label` or `mmstream preprocess`")
    about = outputs.read_about(output, plan.command)
    look = _Labels(about) if plan.command == "label" else _Examples(output, about)
    findings = Findings(dict.fromkeys(look.kinds, 0))
    for path in commits.pending(output):
        findings.problems.append(f"{path}: a job was interrupted while it committed this part; run it again")
    findings.problems += outputs.contradictions(output, plan)
    seen: dict[str, Held] = {}
    failed: dict[tuple[int, str], str] = {}
    named: set[str] = set()
    fingerprints: Counter[str] = Counter()
    for part in range(plan.parts):
        name = parts.part_name(part)
        commit = commits.recorded(output, part)  # just before its files: a stream may go on writing
        if commit is None:
            findings.problems.append(f"{name} has no commit record: it is not done")
            continue
        named |= set(commit.checksums)
        damaged = [f"{path} {problem}" for path, problem in commits.damaged_files(output, commit).items()]
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
                    f"{name} says that it holds {count} {kind}, and holds {counts[look.kind(kind)]}"
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
                findings.problems.append(f"{each.id!r} is there twice: in {here[each.id].kind} and in {each.kind}")
            else:
                here[each.id] = each
        if input_path:
            seen |= here
            failed |= nameless
    findings.problems += _strays(output, named)
    findings.problems += look.check_books(output, findings.counts)
    findings.problems += _check_fingerprints(fingerprints, look.fingerprint, look.earlier)
    if input_path:
        findings.problems += _check_input(look, output, input_path, seen, failed, findings)
    return findings


class _Labels:
    """What is particular to labels."""

    kinds = ("labels", "dead_letters")

    def __init__(self, about: Mapping[str, Any]) -> None:
        if not about:
            raise MmstreamError("there is no job.json, which says whose labels these are; run `mmstream label` again")
        self._about = about
        self._sink = components.build("sink", about["sink"], about.get("sink_options", {}))
        self.fingerprint: str = about["fingerprint"]
        self.earlier: Sequence[str] = about.get("earlier", ())  # of models that another has taken over from
        self.inputs: Sequence[Mapping[str, Any]] = about["inputs"]
        self.split = None

    @property
    def preprocessor(self) -> Preprocessor:
        """That the labels' digests come from."""
        model = TrainedModel(self._about["model"], embeddings=self._about["embeddings"], resume=self._about["resume"])
        return model.preprocessor

    def kind(self, count: str) -> str:
        """The kind that a count of a commit record counts."""
        return {"labelled": "labels", "dead_lettered": "dead_letters"}[count]

    def read(self, output: str, part: int, commit: commits.Commit) -> Iterator[Held]:
        """What a part holds."""
        rows_path, letters_path = label_paths(part, self._sink)
        columns = {"id": "string", "_fingerprint": "string", "_digest": "string", "_origin": "string"}
        for row in self._sink.loads(files.read_bytes(files.join(output, rows_path)), columns):
            yield Held(row["id"], row["_origin"], row["_digest"], row["_fingerprint"], "labels")
        yield from _letters(output, letters_path)

    def check_books(self, output: str, counts: Mapping[str, int]) -> Iterator[str]:
        """label.json says what is there."""
        books = outputs.read_books(output, "label")
        if not books:
            yield "there is no label.json: the last run did not end"
            return
        for key, kind in (("rows", "labels"), ("dead_letters", "dead_letters")):
            if books[key] != counts[kind]:
                yield f"label.json says that there are {books[key]} {key}, and there are {counts[kind]}"
        if "read" not in books:
            return  # of a stream, whose records a runner may deliver several times: nobody counts them
        if books["read"] != books["labelled"] + books["dead_lettered"] + books["skipped"]:
            yield "the books of label.json do not balance"


class _Examples:
    """What is particular to examples."""

    kinds = (*SPLITS, "dead_letters")

    def __init__(self, output: str, about: Mapping[str, Any]) -> None:
        if not about:
            raise MmstreamError(
                "there is no job.json, which says whose examples these are; run `mmstream preprocess` again"
            )
        self._config: Config = parse_config(about["config"])
        self.fingerprint = fingerprint_of(output) or ""
        self.earlier: Sequence[str] = ()
        self.inputs: Sequence[Mapping[str, Any]] = about["inputs"]
        self.split = self._config.split

    @property
    def preprocessor(self) -> Preprocessor:
        """That the examples' digests come from."""
        return Preprocessor(self._config.fields, resume=self._config.resume)

    def kind(self, count: str) -> str:
        """The kind that a count of a commit record counts."""
        return "dead_letters" if count == "dead_lettered" else count

    def read(self, output: str, part: int, commit: commits.Commit) -> Iterator[Held]:
        """What a part holds."""
        for path in commit.checksums:
            kind = path.split("/")[1] if path.startswith("examples/") else "dead_letters"
            if kind not in SPLITS:
                yield from _letters(output, path)
                continue
            for batch in read_examples([files.join(output, path)]).batch(256):
                for key, origin, digest in zip(*told(batch, ["_id", "_origin", "_digest"]), strict=True):
                    yield Held(key, origin, digest, commit.fingerprint, kind)

    def differing(self, output: str, records: Sequence[Record], media: Media) -> Iterator[str]:
        """The ids of records whose examples do not hold the tensors that preprocessing makes of them."""
        import tensorflow as tf

        preprocessor = Preprocessor(self._config.fields, files.join(output, "transform"))
        wanted = {record.id: record for record in records}
        shards = [path for split in SPLITS for path in shards_of(output, split)]
        in_parts = {parts.part_of(key, len(shards) // len(SPLITS)) for key in wanted}
        for batch in read_examples([path for path in shards if parts.part_in(path) in in_parts]).batch(256):
            (ids,) = told(batch, ["_id"])
            rows = [row for row, key in enumerate(ids) if key in wanted]
            if not rows:
                continue
            decoded = [preprocessor.decode(preprocessor.load(wanted[ids[row]], media).values) for row in rows]
            expected = dict(golden.flatten(preprocessor.tensors(decoded)))
            found = dict(golden.flatten(parse(tf.gather(batch, rows), preprocessor.specs)))
            for place, row in enumerate(rows):
                one, other = ({name: array[place] for name, array in some.items()} for some in (expected, found))
                if not all(difference.within for difference in golden.compare(one, other)):
                    yield ids[row]

    def check_books(self, output: str, counts: Mapping[str, int]) -> Iterator[str]:
        """preprocess.json says what is there."""
        books = outputs.read_books(output, "preprocess")
        if not books:
            yield "there is no preprocess.json: the last run did not end"
            return
        for kind, count in {**books["splits"], "dead_letters": books["dead_letters"]}.items():
            if count != counts[kind]:
                yield f"preprocess.json says that there are {count} in {kind}, and there are {counts[kind]}"


def _check_input(
    look: _Labels | _Examples,
    output: str,
    path: str,
    seen: Mapping[str, Held],
    failed: Mapping[tuple[int, str], str],
    findings: Findings,
) -> Iterator[str]:
    """Every record of the input is there, as it is now.

    Args:
        look: at the output.
        output: its directory.
        path: of the input.
        seen: what the output holds, by id.
        failed: digests of the rows that never became a record or whose id stood elsewhere already, by input and origin.
        findings: gets a count.
    """
    job_input = input_named(look.inputs, path)
    media = job_input.media()
    preprocessor = look.preprocessor
    met: set[str] = set()
    missing, changed, elsewhere = [], [], []
    sound: list[Record] = []
    for row in rows_of(job_input, pieces_of(job_input)):
        item = check_row(row, job_input)
        if isinstance(item, DeadLetter):
            if failed.get((item.input, item.origin)) != item.digest:
                missing.append(item.id or item.origin)
            continue
        if item.id not in seen:
            missing.append(item.id)
            continue
        if failed.get((0, item.origin)) == digest_of(item.columns):
            continue  # its id stood elsewhere already
        met.add(item.id)
        held = seen[item.id]
        if preprocessor.digest(item, media) != held.digest:
            changed.append(item.id)
        elif look.split and held.kind in SPLITS and split_for(item, look.split) != held.kind:
            elsewhere.append(item.id)
        elif held.kind in SPLITS:
            sound.append(item)
            if len(sound) == 2 * _COMPUTED_ANEW:
                sound = _sample(sound)
    findings.counts["of_other_inputs"] = len(seen.keys() - met)
    if missing:
        yield f"of the input there is neither a result nor a dead letter: {_some(missing)}"
    if changed:
        yield f"what is there was not made of the record of that name in the input: {_some(changed)}"
    if elsewhere:
        yield f"in another split than the config says: {_some(elsewhere)}"
    if isinstance(look, _Examples) and sound and not findings.problems:
        differ = list(look.differing(output, _sample(sound), media))
        if differ:
            yield f"what an example holds is not what preprocessing makes of its record: {_some(differ)}"


def _sample(records: Sequence[Record]) -> list[Record]:
    """Some of them, the same ones whatever else there is."""
    return heapq.nsmallest(_COMPUTED_ANEW, records, key=lambda record: hash_fraction("audit", record.id))


def _check_fingerprints(found: Mapping[str, int], expected: str, earlier: Sequence[str]) -> Iterator[str]:
    for fingerprint, count in sorted(found.items()):
        if fingerprint not in (expected, *earlier):
            yield f"{count} are of fingerprint {fingerprint}, not {expected}: another model or preprocessing made them"


def _strays(output: str, named: set[str]) -> Iterator[str]:
    """Files where results lie that no commit record names."""
    for path in outputs.result_files(output):
        if path not in named:
            yield f"{path} belongs to no part that is done"


def _letters(output: str, path: str) -> Iterator[Held]:
    for letter in load_letters(files.read_bytes(files.join(output, path))):
        yield Held(
            letter.id, letter.origin, letter.digest, letter.fingerprint, "dead_letters", letter.error, letter.input
        )


def _some(ids: Iterable[str]) -> str:
    """A few of some ids, and how many there are."""
    found = list(ids)
    more = f" and {len(found) - _NAMED:,} more" if len(found) > _NAMED else ""
    return ", ".join(repr(each) for each in found[:_NAMED]) + more
