"""Label records as they arrive, until the process is stopped: `mmstream label --watch`. It builds no Beam pipeline."""

from __future__ import annotations

import dataclasses
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import cast

from mmstream import terminal
from mmstream.errors import MmstreamError, UsageError, describe
from mmstream.inputs.arrivals import Arrivals, Look
from mmstream.inputs.input import Input
from mmstream.inputs.items import SAMPLE_ROWS, columns_of, item_of
from mmstream.jobs import progress
from mmstream.jobs.label_report import LabelResult, write_summary
from mmstream.jobs.labelling import (
    RECORDS_OF_A_STREAM,
    Job,
    checked_input,
    input_for,
    open_model,
    opened,
    take_over,
)
from mmstream.jobs.renaming import check_given
from mmstream.options.jobs import StreamOptions
from mmstream.outputs import commit_records, lock, ownership, parts, reconciliation
from mmstream.outputs.drafts import Draft, label_drafts
from mmstream.outputs.label_part import read_part
from mmstream.outputs.parts import part_of_item
from mmstream.preprocessing.lookups import Lookups
from mmstream.records.record import DUPLICATE, DeadLetter, Record
from mmstream.runtime.concurrency import ThreadPool, one_tensorflow_thread
from mmstream.stages.label import LabelTrial
from mmstream.stages.shared_model import SharedModel, smaller_batch
from mmstream.storage import files, patterns
from mmstream.supervision import worker
from mmstream.trained_model.artefact import TrainedModel
from mmstream.trained_model.successors import Successors

_PIECE_RECORDS = 256
"""Parts with about this many new records in all are labelled together, then committed."""


@one_tensorflow_thread()
def watch(options: StreamOptions) -> LabelResult | None:
    """Watch and label until a signal ends the job; returns what was labelled, or None if nothing had arrived.

    Raises:
        MmstreamError: it cannot start, or cannot go on.
    """
    started = time.monotonic()
    check_endless(options)
    with terminal.until_asked_to_end() as ending, progress.status("watch") as show:
        model = open_model(options)
        warned: dict[str, str] = {}
        records = await_records(model, options, ending, show, warned)
        if records is None:
            return None
        job_input, arrivals = records
        count = RECORDS_OF_A_STREAM
        if parts.read_plan(options.output) is None:  # only then does it tell into how many parts the output is cut
            count = max(count, arrivals.count())
        with opened(options, model, job_input, count) as job, ThreadPool(options.threads) as pool:
            watching = _Watch(options, job, arrivals, pool, started)
            while True:
                watching.look(ending, show)
                _warn(arrivals, warned)
                if _rest(ending, options.every):
                    break
    return LabelResult(
        output=options.output,
        job=job,
        reconciled=watching.reconcile(),
        passed_over=arrivals.passed_over,
        pruned=False,
        seconds=watching.seconds(),
    )


def check_endless(options: StreamOptions) -> None:
    """Check that a job that runs until stopped does not read its own output.

    Raises:
        UsageError: its output lies in its input.
    """
    if f"{files.absolute(options.output)}/".startswith(f"{files.absolute(options.input).rstrip('/')}/"):
        raise UsageError(f"the output {options.output} is inside the input, which would then grow forever")


class _Watch:
    """Labels what each look at the input finds, and keeps count.

    Args:
        options: options of the job.
        job: the job that holds the output.
        arrivals: finds what is new in the input.
        pool: threads that decode and predict.
        started: when the job started, by the monotonic clock.
    """

    def __init__(self, options: StreamOptions, job: Job, arrivals: Arrivals, pool: ThreadPool, started: float) -> None:
        self._options, self._job, self._arrivals, self._pool = options, job, arrivals, pool
        self._started = started
        self._output, self._plan = options.output, job.plan
        self._model = job.model()
        self._successors = Successors(options.follow, self._model) if options.follow else None
        self._model.prepare()
        self._media = job.input.media()
        self._totals: Counter[str] = Counter()
        self._kept: Counter[str] = Counter()
        """What was kept of other inputs when everything was last read."""
        self._damaged: list[str] = []
        self._lookups = Lookups()
        self._is_whole = True
        """Whether the next look gives everything that there is."""

    def look(self, ending: terminal.Ending, show: Callable[[str], None]) -> None:
        """Look, then label and commit what is found, piece by piece, until a signal asks the job to stop.

        Raises:
            MmstreamError: another job has taken the output over, or the counts do not add up.
        """
        self._go_over()
        spool, reads = files.join(self._output, "spool"), self._model.preprocessor.reads()
        try:
            look = self._arrivals.look(lambda row: item_of(row, self._job.input, reads, spool))
        except OSError as error:  # a store that does not answer for a moment
            terminal.warn(f"cannot access {self._options.input}: {describe(error)}; trying again")
            return
        whole, self._is_whole = self._is_whole, False
        if whole:
            self._kept.clear()
        incomplete = f" · {look.incomplete:,} files not complete yet" if look.incomplete else ""
        for piece in self._pieces(look, every=whole):
            if ending.asked:
                return
            if not self._label(piece, whole=whole):
                terminal.warn("files of the output are damaged; reading the whole input again")
                self._read_through()
                return
            write_summary(
                self._output,
                self.reconcile(),
                self._model,
                self.seconds(),
                pruned=False,
                passed_over=self._arrivals.passed_over,
            )
            show(self._facts() + incomplete)
        if look.vacated and self._has_duplicates():  # a duplicate may now be the only one with its id
            self._read_through()
        show(self._facts() + incomplete)

    def _go_over(self) -> None:
        """Switch to a newer model, if there is a valid one."""
        newer = self._successors.look() if self._successors else None
        if newer:
            self._model, self._lookups = newer, Lookups()  # which knows other values
            take_over(self._output, newer, self._job.run)
            shared = SharedModel(newer.path, newer.embeddings, newer.resume, fingerprint=newer.fingerprint)
            worker.propose(LabelTrial(shared, self._media))

    def _read_through(self) -> None:
        """Make the next look return everything again."""
        self._arrivals.forget()
        self._is_whole = True

    def _pieces(self, look: Look, *, every: bool) -> Iterator[dict[int, list[Record | DeadLetter]]]:
        """The new items by part, a few parts at a time; includes every part if `every` is set."""
        by_part: dict[int, list[Record | DeadLetter]] = {}
        if every or look.again:
            by_part = {part: [] for part in (range(self._plan.parts) if every else self._parts_with_letters())}
        for item in look.items:
            by_part.setdefault(part_of_item(item, self._plan.parts), []).append(item)
        piece: dict[int, list[Record | DeadLetter]] = {}
        for part, items in sorted(by_part.items()):
            piece[part] = items
            if sum(map(len, piece.values())) >= _PIECE_RECORDS:
                yield piece
                piece = {}
        if piece:
            yield piece

    def _label(self, piece: dict[int, list[Record | DeadLetter]], *, whole: bool) -> bool:
        """Label the new records of some parts together, then commit each part; False if a part is damaged.

        A damaged part is rebuilt when all that it may have held is read again, as on the first look.
        """
        model, pool = self._model, self._pool
        drafts = [
            Draft.of(
                part,
                items,
                input_number=self._job.input.number,
                model=model,
                media=self._media,
                sink=self._job.sink,
                output=self._output,
                parts_count=self._plan.parts,
                run=self._job.run,
                pool=pool,
                still_there=self._arrivals.still_there,
                of_any_model=bool(self._options.follow),
            )
            for part, items in piece.items()
        ]
        if not whole and any(draft.damaged for draft in drafts):
            return False
        labelled = label_drafts(drafts, model=model, media=self._media, prune=False, pool=pool, lookups=self._lookups)
        for counts in labelled:
            self._damaged += cast(list[str], counts["damaged"])
            for name in ("read", "labelled", "dead_lettered", "skipped", "lost"):
                self._totals[name] += cast(int, counts[name])
            for name in ("kept", "of_another_model") if whole else ():  # later, what a part keeps is of this input
                self._kept[name] += cast(int, counts[name])
        lock.check(self._output, self._job.run)
        if self._totals["read"] != sum(self._totals[name] for name in ("labelled", "dead_lettered", "skipped")):
            raise MmstreamError(f"the counts of {self._output} do not add up: {dict(self._totals)}")
        return True

    def reconcile(self) -> reconciliation.Reconciliation:
        """The counts so far."""
        held = reconciliation.held_by(commit_records.every_recorded(self._output, self._plan.parts))
        totals = {**self._totals, **self._kept, "letters": held["dead_lettered"], **smaller_batch(self._model)}
        return reconciliation.Reconciliation.of(
            totals, self._totals["read"], "labelled", self._lookups.counts(), self._damaged, held
        )

    def seconds(self) -> float:
        """Seconds since the start."""
        return round(time.monotonic() - self._started, 3)

    def _facts(self) -> str:
        """The counts so far, as shown on a terminal."""
        names = {"read": "read", "labelled": "labelled", "dead_lettered": "dead letters", "skipped": "skipped"}
        return " · ".join(f"{self._totals[key]:,} {name}" for key, name in names.items())

    def _parts_with_letters(self) -> Iterator[int]:
        """The parts that hold dead letters, or whose content is unknown."""
        for part, commit in enumerate(commit_records.every_recorded(self._output, self._plan.parts)):
            if commit is None or commit.counts["dead_lettered"]:
                yield part

    def _has_duplicates(self) -> bool:
        """Whether there is a dead letter for a row whose id another row had."""
        sink, schema = self._job.sink, self._model.schema
        held = (read_part(self._output, part, sink, schema) for part in self._parts_with_letters())
        return any(letter.error == DUPLICATE for each in held for letter in each.letters)


def _rest(ending: terminal.Ending, seconds: float) -> bool:
    """Wait for the next look; returns whether to stop instead. A worker that dies meanwhile leaves nothing undone."""
    worker.got_on()
    return ending.wait(seconds)


def await_records(
    model: TrainedModel,
    options: StreamOptions,
    ending: terminal.Ending,
    show: Callable[[str], None],
    warned: dict[str, str],
) -> tuple[Input, Arrivals] | None:
    """The input and its arrivals, once there are records that can be checked; None if asked to stop before then.

    Args:
        model: the model that is to label.
        options: options of the job.
        ending: says whether to end.
        show: shows what the job is waiting for.
        warned: receives the files that cannot be read, and why.

    Raises:
        MmstreamError: the model cannot read the first records.
    """
    job_input = _await_input(model, options, ending, show)
    if job_input is None:
        return None
    arrivals = Arrivals(job_input.source(), job_input.path)
    while not (rows := arrivals.sample(SAMPLE_ROWS)):
        _warn(arrivals, warned)
        show(f"waiting for records in {options.input}")
        if _rest(ending, options.every):
            return None
    check_given(job_input, arrivals.rows())
    return checked_input(model, job_input, columns_of(rows, job_input)), arrivals


def _await_input(
    model: TrainedModel, options: StreamOptions, ending: terminal.Ending, show: Callable[[str], None]
) -> Input | None:
    """The input, once an earlier run or the first files determine its source; None if asked to stop first."""
    sources = {each["path"]: each["use"] for each in ownership.read_about(options.output, "label").get("inputs", [])}
    options = dataclasses.replace(options, source=options.source or sources.get(files.absolute(options.input)))
    while True:
        try:
            if files.is_folder(options.input) or files.exists(options.input) or patterns.is_pattern(options.input):
                return input_for(model, options)
            why = f"there is no {options.input}"
        except MmstreamError as error:  # no source reads what is there; the next file may be of another kind
            why = str(error)
        show(f"waiting for records: {why}")
        if _rest(ending, options.every):
            return None


def _warn(arrivals: Arrivals, warned: dict[str, str]) -> None:
    """Warn of files that cannot be read, once for each reason."""
    for origin, why in arrivals.unreadable.items():
        if warned.get(origin) != why:
            terminal.warn(f"{why}; trying {origin} again")
    warned.clear()
    warned.update(arrivals.unreadable)
