"""Reading the contents of an output's parts, for the audit."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mmstream.config.schema import Config, parse_config
from mmstream.errors import MmstreamError
from mmstream.inputs.splits import NO_KEYS
from mmstream.outputs import commit_records, near_keys, ownership, parts
from mmstream.outputs.label_part import label_paths
from mmstream.outputs.letters import load_letters
from mmstream.outputs.transform import fingerprint_of
from mmstream.plugins import components
from mmstream.preprocessing import golden
from mmstream.preprocessing.examples import parse, read_examples, shards_of, told
from mmstream.preprocessing.preprocessor import Preprocessor
from mmstream.records.media import Media
from mmstream.records.record import SPLITS, Record
from mmstream.storage import files
from mmstream.trained_model.artefact import TrainedModel

COMPUTED_ANEW = 64
"""How many examples are recomputed to compare their tensors."""


@dataclasses.dataclass(frozen=True)
class Held:
    """A row, example or dead letter that an output holds.

    Attributes:
        id: the id of its record; "" if that has none.
        origin: the origin of its record.
        digest: a digest of what was read of the record.
        fingerprint: the fingerprint of the model or preprocessing that made it; "" for a row that could not be read.
        kind: "labels", the name of a split, or "dead_letters".
        error: the error of a dead letter.
        input: for a dead letter, the number of its input.
    """

    id: str
    origin: str
    digest: str
    fingerprint: str
    kind: str
    error: str = ""
    input: int = 0


class LabelsContents:
    """Reads the parts of an output that holds labels."""

    kinds = ("labels", "dead_letters")

    def __init__(self, about: Mapping[str, Any]) -> None:
        if not about:
            raise MmstreamError(
                "job.json, which says which model made these labels, is missing; run `mmstream label` again"
            )
        self._about = about
        self._sink = components.build("sink", about["sink"], about.get("sink_options", {}))
        self.fingerprint: str = about["fingerprint"]
        self.earlier: Sequence[str] = about.get("earlier", ())  # models that were replaced while a job ran
        self.inputs: Sequence[Mapping[str, Any]] = about["inputs"]
        self.split = None
        self.near_keys = NO_KEYS

    @property
    def preprocessor(self) -> Preprocessor:
        """The preprocessor that computes the digests of the labels' records."""
        model = TrainedModel(self._about["model"], embeddings=self._about["embeddings"], resume=self._about["resume"])
        return model.preprocessor

    def kind(self, count: str) -> str:
        """Return the kind of results that a count in a commit record is about."""
        return {"labelled": "labels", "dead_lettered": "dead_letters"}[count]

    def read(self, output: str, part: int, commit: commit_records.Commit) -> Iterator[Held]:
        """Read everything that a part holds."""
        rows_path, letters_path = label_paths(part, self._sink)
        columns = {"id": "string", "_fingerprint": "string", "_digest": "string", "_origin": "string"}
        for row in self._sink.loads(files.read_bytes(files.join(output, rows_path)), columns):
            yield Held(row["id"], row["_origin"], row["_digest"], row["_fingerprint"], "labels")
        yield from _letters(output, letters_path)

    def check_summary(self, output: str, counts: Mapping[str, int]) -> Iterator[str]:
        """Report contradictions between label.json and what the output holds."""
        summary = ownership.read_summary(output, "label")
        if not summary:
            yield "there is no label.json: the last run did not finish"
            return
        for key, kind in (("rows", "labels"), ("dead_letters", "dead_letters")):
            if summary[key] != counts[kind]:
                yield f"label.json says {summary[key]} {key}, but there are {counts[kind]}"
        if "read" not in summary:
            return  # a stream: its records are not counted, as a runner may deliver a record several times
        if summary["read"] != summary["labelled"] + summary["dead_lettered"] + summary["skipped"]:
            yield "the counts of label.json do not add up"


class ExamplesContents:
    """Reads the parts of an output that holds examples."""

    kinds = (*SPLITS, "dead_letters")

    def __init__(self, output: str, about: Mapping[str, Any]) -> None:
        if not about:
            raise MmstreamError(
                "job.json, which holds the config of these examples, is missing; run `mmstream preprocess` again"
            )
        self._config: Config = parse_config(about["config"])
        self.fingerprint = fingerprint_of(output) or ""
        self.earlier: Sequence[str] = ()
        self.inputs: Sequence[Mapping[str, Any]] = about["inputs"]
        self.split = self._config.split
        self.near_keys = near_keys.read(output) if self.split.near else NO_KEYS

    @property
    def preprocessor(self) -> Preprocessor:
        """The preprocessor that computes the digests of the examples' records."""
        return Preprocessor(self._config.fields, resume=self._config.resume)

    def kind(self, count: str) -> str:
        """Return the kind of results that a count in a commit record is about."""
        return "dead_letters" if count == "dead_lettered" else count

    def read(self, output: str, part: int, commit: commit_records.Commit) -> Iterator[Held]:
        """Read everything that a part holds."""
        for path in commit.checksums:
            kind = path.split("/")[1] if path.startswith("examples/") else "dead_letters"
            if kind not in SPLITS:
                yield from _letters(output, path)
                continue
            for batch in read_examples([files.join(output, path)]).batch(256):
                for key, origin, digest in zip(*told(batch, ["_id", "_origin", "_digest"]), strict=True):
                    yield Held(key, origin, digest, commit.fingerprint, kind)

    def differing(self, output: str, records: Sequence[Record], media: Media) -> Iterator[str]:
        """Yield the ids of records whose examples differ from what preprocessing computes now."""
        import tensorflow as tf

        preprocessor = Preprocessor(self._config.fields, files.join(output, "transform"))
        record_of = {record.id: record for record in records}
        shards = [path for split in SPLITS for path in shards_of(output, split)]
        in_parts = {parts.part_of(key, len(shards) // len(SPLITS)) for key in record_of}
        for batch in read_examples([path for path in shards if parts.part_in(path) in in_parts]).batch(256):
            (ids,) = told(batch, ["_id"])
            rows = [row for row, key in enumerate(ids) if key in record_of]
            if not rows:
                continue
            decoded = [preprocessor.decode(preprocessor.load(record_of[ids[row]], media).values) for row in rows]
            expected = dict(golden.flatten(preprocessor.tensors(decoded)))
            actual = dict(golden.flatten(parse(tf.gather(batch, rows), preprocessor.specs)))
            for place, row in enumerate(rows):
                one, other = ({name: array[place] for name, array in some.items()} for some in (expected, actual))
                if not all(difference.within for difference in golden.compare(one, other)):
                    yield ids[row]

    def check_summary(self, output: str, counts: Mapping[str, int]) -> Iterator[str]:
        """Report contradictions between preprocess.json and what the output holds."""
        summary = ownership.read_summary(output, "preprocess")
        if not summary:
            yield "there is no preprocess.json: the last run did not finish"
            return
        for kind, count in {**summary["splits"], "dead_letters": summary["dead_letters"]}.items():
            if count != counts[kind]:
                yield f"preprocess.json says {count} in {kind}, but there are {counts[kind]}"


def _letters(output: str, path: str) -> Iterator[Held]:
    for letter in load_letters(files.read_bytes(files.join(output, path))):
        yield Held(
            id=letter.id,
            origin=letter.origin,
            digest=letter.digest,
            fingerprint=letter.fingerprint,
            kind="dead_letters",
            error=letter.error,
            input=letter.input,
        )
