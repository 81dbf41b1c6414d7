"""Label what arrives, for as long as the process lives: `mmstream label --watch`. It builds no Beam pipeline."""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import cast

from beam_jobs.label_job import (
    RECORDS_OF_A_STREAM,
    Job,
    checked_input,
    input_for,
    open_model,
    opened,
    parse_share,
    renamed,
    take_over,
    tell,
    write_books,
)
from mmstream import books, commits, files, jobs, lock, outputs, parts, terminal, worker
from mmstream.concurrency import Workers
from mmstream.errors import MmstreamError, UsageError, describe
from mmstream.records import DUPLICATE, DeadLetter, Record
from mmstream.stages.arrivals import Arrivals, Look
from mmstream.stages.label import Draft, LabelTrial, SharedModel, label_drafts, read_part, smaller_batch
from mmstream.stages.reading import SAMPLE_ROWS, Input, columns_of, item_of, part_of_item
from mmstream.successors import Successors
from mmstream.trained_model import TrainedModel

_PIECE_RECORDS = 256
"""Parts with about so many new records are labelled together, then committed."""


def run(flags: argparse.Namespace, beam_flags: Sequence[str]) -> int:
    """Watch and label until a signal asks to end; returns the exit code.

    Raises:
        MmstreamError: it cannot start, or cannot go on.
    """
    started = time.monotonic()
    _check_flags(flags, beam_flags)
    allowed = parse_share(flags.max_dead_letters)
    with terminal.until_asked_to_end() as ending, jobs.status("watch") as show:
        model = open_model(flags)
        warned: dict[str, str] = {}
        found = await_records(model, flags, ending, show, warned)
        if found is None:
            return 0
        job_input, arrivals = found
        count = RECORDS_OF_A_STREAM
        if parts.read_plan(flags.output) is None:  # only then does it tell into how many parts the output is cut
            count = max(count, arrivals.count())
        with opened(flags, model, job_input, count) as job, Workers(flags.threads) as workers:
            watch = _Watch(flags, job, arrivals, workers, started)
            while True:
                watch.look(ending, show)
                _warn(arrivals, warned)
                if _rest(ending, flags.every):
                    break
    return tell(flags, job, watch.settled(), watch.seconds(), allowed)


def check_flags(flags: argparse.Namespace, mode: str) -> None:
    """What makes no sense for a job that does not end.

    Raises:
        UsageError: something does not.
    """
    for name in ("preview", "prune"):
        if getattr(flags, name):
            raise UsageError(f"{mode} and --{name} exclude each other")
    if not flags.output:
        raise UsageError("name an --output")
    if f"{files.absolute(flags.output)}/".startswith(f"{files.absolute(flags.input).rstrip('/')}/"):
        raise UsageError(f"the output {flags.output} lies in the input, which would grow by it for ever")
    renamed(flags)


class _Watch:
    """Labels what each look at the input gives, and keeps the books.

    Args:
        flags: of the command.
        job: that holds the output.
        arrivals: whose looks they are.
        workers: threads that decode and predict.
        started: when, by the monotonic clock.
    """

    def __init__(
        self, flags: argparse.Namespace, job: Job, arrivals: Arrivals, workers: Workers, started: float
    ) -> None:
        self._flags, self._job, self._arrivals, self._workers, self._started = flags, job, arrivals, workers, started
        self._output, self._plan = flags.output, job.plan
        self._model = job.model()
        self._successors = Successors(flags.follow, self._model) if flags.follow else None
        self._model.prepare()
        self._media = job.input.media()
        self._totals: Counter[str] = Counter()
        self._kept: Counter[str] = Counter()
        """What was kept of other inputs when everything was last read."""
        self._damaged: list[str] = []
        self._is_whole = True
        """Whether the next look gives everything that there is."""

    def look(self, ending: terminal.Ending, show: Callable[[str], None]) -> None:
        """Look, then label and commit what is found, piece by piece, until somebody asks to end.

        Raises:
            MmstreamError: another job has taken the output over, or the books do not balance.
        """
        self._go_over()
        spool, reads = files.join(self._output, "spool"), self._model.preprocessor.reads()
        try:
            look = self._arrivals.look(lambda row: item_of(row, self._job.input, reads, spool))
        except OSError as error:  # a store that does not answer for a moment
            terminal.say(f"warning: cannot look at {self._flags.input}: {describe(error)}; trying again")
            return
        whole, self._is_whole = self._is_whole, False
        if whole:
            self._kept.clear()
        incomplete = f" · {look.incomplete:,} files not complete yet" if look.incomplete else ""
        for piece in self._pieces(look, every=whole):
            if ending.asked:
                return
            if not self._label(piece, whole=whole):
                terminal.say("warning: files of the output are damaged; reading the input through once more")
                self._read_through()
                return
            write_books(self._output, self.settled(), self._model, self.seconds(), pruned=False)
            show(self._facts() + incomplete)
        if look.vacated and self._has_duplicates():  # one of them may have the id for itself now
            self._read_through()
        show(self._facts() + incomplete)

    def _go_over(self) -> None:
        """Go over to a newer model, if there is one that is sound."""
        newer = self._successors.look() if self._successors else None
        if newer:
            self._model = newer
            take_over(self._output, newer, self._job.run)
            shared = SharedModel(newer.path, newer.embeddings, newer.resume, fingerprint=newer.fingerprint)
            worker.propose(LabelTrial(shared, self._media))

    def _read_through(self) -> None:
        """Let the next look give everything once more."""
        self._arrivals.forget()
        self._is_whole = True

    def _pieces(self, look: Look, *, every: bool) -> Iterator[dict[int, list[Record | DeadLetter]]]:
        """What is new, by part, some parts at a time; all parts come if `every` is set."""
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
        """Label new records of some parts together, then commit each; False if what a part held is damaged.

        A damaged part is made anew where everything is read that it may have held, as on the first look.
        """
        model, workers = self._model, self._workers
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
                workers=workers,
                still_there=self._arrivals.still_there,
                of_any_model=bool(self._flags.follow),
            )
            for part, items in piece.items()
        ]
        if not whole and any(draft.damaged for draft in drafts):
            return False
        for counts in label_drafts(drafts, model=model, media=self._media, prune=False, workers=workers):
            self._damaged += cast(list[str], counts["damaged"])
            for name in ("read", "labelled", "dead_lettered", "skipped", "lost"):
                self._totals[name] += cast(int, counts[name])
            for name in ("kept", "of_another_model") if whole else ():  # later, what a part keeps is of this input
                self._kept[name] += cast(int, counts[name])
        lock.check(self._output, self._job.run)
        if self._totals["read"] != sum(self._totals[name] for name in ("labelled", "dead_lettered", "skipped")):
            raise MmstreamError(f"the books of {self._output} do not balance: {dict(self._totals)}")
        return True

    def settled(self) -> books.Books:
        """The books so far."""
        held = books.held_by(commits.every_recorded(self._output, self._plan.parts))
        totals = {**self._totals, **self._kept, "letters": held["dead_lettered"], **smaller_batch(self._model)}
        return books.Books.of(totals, self._totals["read"], "labelled", self._damaged, held)

    def seconds(self) -> float:
        """Since the start."""
        return round(time.monotonic() - self._started, 3)

    def _facts(self) -> str:
        """What has been done, for the person at the terminal."""
        names = {"read": "read", "labelled": "labelled", "dead_lettered": "dead letters", "skipped": "skipped"}
        return " · ".join(f"{self._totals[key]:,} {name}" for key, name in names.items())

    def _parts_with_letters(self) -> Iterator[int]:
        """Parts that hold dead letters, or of which nobody knows what they hold."""
        for part, commit in enumerate(commits.every_recorded(self._output, self._plan.parts)):
            if commit is None or commit.counts["dead_lettered"]:
                yield part

    def _has_duplicates(self) -> bool:
        """Whether a dead letter is there of a row whose id stood elsewhere."""
        sink, schema = self._job.sink, self._model.schema
        held = (read_part(self._output, part, sink, schema) for part in self._parts_with_letters())
        return any(letter.error == DUPLICATE for each in held for letter in each.letters)


def _rest(ending: terminal.Ending, seconds: float) -> bool:
    """Wait for the next look; whether somebody has asked to end. A worker that dies now has left nothing undone."""
    worker.got_on()
    return ending.wait(seconds)


def _check_flags(flags: argparse.Namespace, beam_flags: Sequence[str]) -> None:
    check_flags(flags, "--watch")
    if flags.publish:
        raise UsageError("--publish needs --streaming")
    if beam_flags:
        raise UsageError(f"--watch builds no Beam pipeline, and does not know {' '.join(beam_flags)}")


def await_records(
    model: TrainedModel,
    flags: argparse.Namespace,
    ending: terminal.Ending,
    show: Callable[[str], None],
    warned: dict[str, str],
) -> tuple[Input, Arrivals] | None:
    """The input, and what looks at it, once there are records that can be checked; None if asked to end before.

    Args:
        model: that is to label.
        flags: of the command.
        ending: says whether to end.
        show: shows what is waited for.
        warned: gets the files that cannot be read, and why.

    Raises:
        MmstreamError: the model cannot read the first records.
    """
    job_input = _await_input(model, flags, ending, show)
    if job_input is None:
        return None
    arrivals = Arrivals(job_input.source(), job_input.path)
    while not (rows := arrivals.sample(SAMPLE_ROWS)):
        _warn(arrivals, warned)
        show(f"waiting for records in {flags.input}")
        if _rest(ending, flags.every):
            return None
    return checked_input(model, job_input, columns_of(rows, job_input)), arrivals


def _await_input(
    model: TrainedModel, flags: argparse.Namespace, ending: terminal.Ending, show: Callable[[str], None]
) -> Input | None:
    """What is to be read, as it was read before or once something is there that tells; None if asked to end before."""
    known = {each["path"]: each["use"] for each in outputs.read_about(flags.output, "label").get("inputs", [])}
    flags.source = flags.source or known.get(files.absolute(flags.input))
    while True:
        try:
            if files.is_folder(flags.input) or files.exists(flags.input) or files.is_pattern(flags.input):
                return input_for(model, flags)
            why = f"there is no {flags.input}"
        except MmstreamError as error:  # no source reads what is there; the next file may be of another kind
            why = str(error)
        show(f"waiting for records: {why}")
        if _rest(ending, flags.every):
            return None


def _warn(arrivals: Arrivals, warned: dict[str, str]) -> None:
    """Say which files cannot be read, once for each reason."""
    for origin, why in arrivals.unreadable.items():
        if warned.get(origin) != why:
            terminal.say(f"warning: {why}; trying {origin} again")
    warned.clear()
    warned.update(arrivals.unreadable)
