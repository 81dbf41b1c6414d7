"""The final report of a labelling job: the counts of its run, warnings, and label.json."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from mmstream import terminal
from mmstream.errors import MmstreamError
from mmstream.inputs.listing import as_json, in_words
from mmstream.interfaces import PassedOver
from mmstream.jobs.labelling import Job
from mmstream.outputs import ownership, parts, reconciliation, run_notes
from mmstream.preprocessing import lookups
from mmstream.storage import files
from mmstream.storage.json_files import write_json
from mmstream.trained_model.artefact import TrainedModel
from mmstream.trained_model.versions import versions_of

_OUTGROWN = 8
"""A part may grow to this many times its planned size before users are warned."""


@dataclasses.dataclass(frozen=True)
class Allowance:
    """How many dead letters are allowed.

    Attributes:
        text: "5%" or "20".
        number: 5 or 20.
    """

    text: str
    number: float

    @classmethod
    def parse(cls, text: str) -> Allowance:
        """Read a text.

        Raises:
            MmstreamError: it is neither a percentage nor a number.
        """
        try:
            return cls(text, float(text.removesuffix("%")))
        except ValueError as error:
            raise MmstreamError(f"--max-dead-letters {text}: expected a share such as 5%, or a number") from error

    def among(self, read: int) -> float:
        """How many dead letters are allowed among this many records."""
        return read * self.number / 100 if self.text.endswith("%") else self.number


@dataclasses.dataclass(frozen=True)
class LabelResult:
    """The result of a labelling job.

    Attributes:
        output: directory of the output.
        job: the job that held it.
        reconciled: the counts of its run.
        passed_over: what was not read of the input.
        pruned: whether the job was to prune.
        seconds: how long it took.
    """

    output: str
    job: Job
    reconciled: reconciliation.Reconciliation
    passed_over: Sequence[PassedOver]
    pruned: bool
    seconds: float


def tell(labelled: LabelResult, allowed: Allowance) -> int:
    """Report what became of the records; returns the exit code."""
    reconciled, job = labelled.reconciled, labelled.job
    where = files.join(labelled.output, "labels", f"part-*{job.sink.suffix}")
    more: dict[str, Any] = {"pruned": reconciled.pruned} if labelled.pruned else {}
    if labelled.passed_over:
        more["passed_over"] = in_words(as_json(labelled.passed_over))
    terminal.summary("label", {**counts_of(reconciled), **more, "seconds": labelled.seconds, "labels": where})
    warn(reconciled, job.others)
    hint_at_size(labelled.output, reconciled.held.total(), job.plan)
    if reconciled.read and reconciled.committed == 0:
        terminal.fail("nothing was labelled; see dead_letters/")
        return 3
    if reconciled.letters > allowed.among(reconciled.read):
        terminal.fail(f"{reconciled.letters:,} dead letters are more than --max-dead-letters {allowed.text}")
        return 3
    return 0


def counts_of(reconciled: reconciliation.Reconciliation) -> dict[str, int]:
    """What became of the records of a run, under the names that users see."""
    return {
        "read": reconciled.read,
        "labelled": reconciled.done,
        "dead_lettered": reconciled.dead_lettered,
        "skipped": reconciled.skipped,
    }


def write_summary(
    output: str,
    reconciled: reconciliation.Reconciliation,
    model: TrainedModel,
    seconds: float,
    *,
    pruned: bool,
    passed_over: Sequence[PassedOver],
) -> None:
    """Write label.json.

    Args:
        output: directory of the output.
        reconciled: the counts of the run.
        model: the model that labelled.
        seconds: how long it took.
        pruned: whether the job was to prune.
        passed_over: what was not read of the input.
    """
    before = 0
    if reconciled.skipped:  # rows of an earlier run are still there
        before = ownership.read_summary(output, "label").get("smaller_batch", 0)
    unusual = {
        "of_another_model": reconciled.of_another_model,
        "lost": reconciled.lost,
        "smaller_batch": run_notes.least(reconciled.smaller_batch, before),
    }
    write_json(
        files.join(output, "label.json"),
        {
            **counts_of(reconciled),
            "rows": reconciled.committed,
            "dead_letters": reconciled.committed_letters,
            "of_other_inputs": reconciled.kept,
            **({"pruned": reconciled.pruned} if pruned else {}),
            **{name: count for name, count in unusual.items() if count},
            **({"lookups": reconciled.lookups} if reconciled.lookups else {}),
            **({"passed_over": as_json(passed_over)} if passed_over else {}),
            "fingerprint": model.fingerprint,
            "plugins": versions_of(model.config),
            "seconds": seconds,
        },
    )


def warn(reconciled: reconciliation.Reconciliation, other_inputs: Sequence[str]) -> None:
    """Warn of anything about a run, beyond its counts, that a user should know.

    Args:
        reconciled: its counts.
        other_inputs: the other inputs of the output.
    """
    others = ", ".join(other_inputs) or "the records that this input no longer has"
    for line in reconciled.damaged:
        terminal.warn(f"{line}; it was rebuilt")
    if reconciled.lost:
        terminal.warn(
            f"at least {reconciled.lost:,} rows and dead letters of other inputs were in these files and are "
            f"lost; label them again: {others}"
        )
    if reconciled.of_another_model:
        terminal.warn(
            f"{reconciled.of_another_model:,} rows and dead letters of other inputs are still from another model; "
            f"label them again, too: {others}; or remove them with --prune"
        )
    warn_of_smaller_batch(reconciled.smaller_batch)
    warn_of_unknown(reconciled.lookups)


def warn_of_unknown(counts: lookups.Counts) -> None:
    """Warn of columns if the model knows fewer than half of their values."""
    for line in lookups.warnings(counts):
        terminal.warn(line)


def warn_of_smaller_batch(rows: int) -> None:
    """Warn if memory ran out: `rows` is the batch size after that, or 0 if it did not run out."""
    if rows:
        terminal.warn(
            f"memory ran out, and some records were labelled {rows} at a time; the last digits of their "
            "scores may differ from another run's"
        )


def hint_at_size(output: str, held: int, plan: parts.Plan) -> None:
    """Say if an output has outgrown its parts."""
    if held > _OUTGROWN * plan.parts * parts.RECORDS_PER_PART:
        terminal.say(f"{held:,} records are too many for {plan.parts:,} parts: run `mmstream repartition {output}`")
