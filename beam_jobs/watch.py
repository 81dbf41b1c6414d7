"""Label what arrives, for as long as the process lives: `mmstream label --watch`. It builds no Beam pipeline."""

from __future__ import annotations

import argparse
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from beam_jobs.label import Job, checked_input, input_for, open_model, opened, parse_share, renamed, tell, write_books
from mmstream import books, components, files, jobs, parts, terminal
from mmstream.concurrency import Workers
from mmstream.errors import MmstreamError, UsageError
from mmstream.labelling import label_records
from mmstream.records import DeadLetter, Record
from mmstream.stages.arrivals import Arrivals, Look
from mmstream.stages.label import Draft, smaller_batch
from mmstream.stages.reading import Input, columns_of, item_of
from mmstream.trained_model import TrainedModel

_FEWEST_PARTS = 64
"""Of an output that is to grow: it is cut when nobody knows yet how large it will be."""
_PIECE_RECORDS = 1024
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
        job_input = _await_input(model, flags, ending, show)
        if job_input is None:
            return 0
        arrivals = Arrivals(job_input.source(), job_input.path)
        warned: dict[str, str] = {}
        while not (look := arrivals.look()).rows:
            _warn(arrivals, warned)
            show(f"waiting for records in {flags.input}{_incomplete(look)}")
            if ending.wait(flags.every):
                return 0
        job_input = checked_input(model, job_input, columns_of(look.rows, job_input))
        count = max(len(look.rows), _FEWEST_PARTS * parts.RECORDS_PER_PART)
        with opened(flags, model, job_input, count) as job, Workers(flags.threads) as workers:
            watch = _Watch(flags, job, arrivals, workers, started)
            while True:
                if look.rows:
                    watch.label(look, ending)
                _warn(arrivals, warned)
                show(watch.facts() + _incomplete(look))
                if ending.wait(flags.every):
                    break
                look = arrivals.look()
    return tell(flags, job, watch.settled(), watch.seconds(), allowed)


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
        self._model = job.model()
        self._model.prepare()
        self._sink = components.build("sink", flags.sink, {})
        self._media = job.input.media()
        self._totals: Counter[str] = Counter()
        self._damaged: list[str] = []
        self._is_whole = True
        """Whether the next look gives everything that there is."""

    def label(self, look: Look, ending: threading.Event) -> None:
        """Label and commit what a look gives, piece by piece, until somebody asks to end.

        Raises:
            MmstreamError: another job has taken the output over, or the books do not balance.
        """
        whole, self._is_whole = self._is_whole, False
        for piece in self._pieces(look, every=whole):
            if not self._label_piece(piece, whole=whole):
                terminal.say("warning: files of the output are damaged; reading the input through once more")
                self._arrivals.forget()
                self._is_whole = True
                return
            if ending.is_set():
                break
        write_books(self._flags.output, self.settled(), self._model, self.seconds(), pruned=False)

    def _pieces(self, look: Look, *, every: bool) -> Iterator[dict[int, list[Record | DeadLetter]]]:
        """What is new, by part, some parts at a time; all parts come if `every` is set."""
        output, plan, spool = self._flags.output, self._job.plan, files.join(self._flags.output, "spool")
        reads = self._model.preprocessor.reads()
        by_part: dict[int, list[Record | DeadLetter]] = {}
        if every or look.again:
            by_part = {part: [] for part in range(plan.parts) if every or _has_letters(output, part)}
        for row in look.rows:
            item = item_of(row, self._job.input, reads, spool)
            by_part.setdefault(parts.part_of(item.id or item.origin, plan.parts), []).append(item)
        piece: dict[int, list[Record | DeadLetter]] = {}
        for part, items in sorted(by_part.items()):
            piece[part] = items
            if sum(map(len, piece.values())) >= _PIECE_RECORDS:
                yield piece
                piece = {}
        if piece:
            yield piece

    def _label_piece(self, piece: dict[int, list[Record | DeadLetter]], *, whole: bool) -> bool:
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
                sink=self._sink,
                output=self._flags.output,
                workers=workers,
                still_there=self._arrivals.still_there,
            )
            for part, items in piece.items()
        ]
        if not whole and any(draft.damaged for draft in drafts):
            return False
        todo = [record for draft in drafts for record in draft.todo]
        fresh = label_records(todo, model, self._media, workers=workers)
        for draft in drafts:
            counts = draft.commit([next(fresh)[1] for _ in draft.todo], self._job.run, prune=False)
            self._damaged += [f"{path} {problem}" for path, problem in draft.damaged.items()]
            for name, count in counts.items():
                if isinstance(count, int) and (whole or name != "kept"):  # later, what a part keeps is of this input
                    self._totals[name] += count
        if self._totals["read"] != sum(self._totals[name] for name in ("labelled", "dead_lettered", "skipped")):
            raise MmstreamError(f"the books of {self._flags.output} do not balance; this is a bug: {self._totals}")
        return True

    def settled(self) -> books.Books:
        """The books so far."""
        commits = [parts.recorded(self._flags.output, part) for part in range(self._job.plan.parts)]
        totals = {**self._totals, **smaller_batch(self._model)}
        return books.Books.of(totals, self._totals["read"], "labelled", self._damaged, books.held_by(commits))

    def seconds(self) -> float:
        """Since the start."""
        return round(time.monotonic() - self._started, 3)

    def facts(self) -> str:
        """What has been done, for the person at the terminal."""
        names = {"read": "read", "labelled": "labelled", "dead_lettered": "dead letters", "skipped": "skipped"}
        return " · ".join(f"{self._totals[key]:,} {name}" for key, name in names.items())


def _check_flags(flags: argparse.Namespace, beam_flags: Sequence[str]) -> None:
    """What makes no sense for a job that does not end.

    Raises:
        UsageError: something does not.
    """
    for name in ("preview", "prune"):
        if getattr(flags, name):
            raise UsageError(f"--watch and --{name} exclude each other")
    if not flags.output:
        raise UsageError("name an --output")
    renamed(flags)
    if beam_flags:
        raise UsageError(f"--watch builds no Beam pipeline, and does not know {' '.join(beam_flags)}")


def _await_input(
    model: TrainedModel, flags: argparse.Namespace, ending: threading.Event, show: Callable[[str], None]
) -> Input | None:
    """What is to be read, once something is there that tells; None if somebody asks to end before."""
    while True:
        try:
            if files.exists(flags.input) or files.is_pattern(flags.input):
                return input_for(model, flags)
            why = f"there is no {flags.input}"
        except MmstreamError as error:  # no source reads what is there; the next file may be of another kind
            why = str(error)
        show(f"waiting for records: {why}")
        if ending.wait(flags.every):
            return None


def _has_letters(output: str, part: int) -> bool:
    commit = parts.recorded(output, part)
    return commit is None or bool(commit.counts["dead_lettered"])


def _incomplete(look: Look) -> str:
    return f" · {look.incomplete:,} files not complete yet" if look.incomplete else ""


def _warn(arrivals: Arrivals, warned: dict[str, str]) -> None:
    """Say which files cannot be read, once for each reason."""
    for origin, why in arrivals.unreadable.items():
        if warned.get(origin) != why:
            terminal.say(f"warning: {why}; {origin} is tried again when it changes")
    warned |= arrivals.unreadable
