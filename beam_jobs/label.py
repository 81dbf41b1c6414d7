"""Label records with a trained model: `mmstream label`, or `python -m beam_jobs.label` on any Beam runner."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from itertools import islice

import apache_beam as beam

from beam_jobs import stream, watch
from beam_jobs.label_job import checked_input, input_for, open_model, opened, parse_share, tell, write_books
from mmstream import books, jobs, lock, terminal
from mmstream.concurrency import Workers
from mmstream.errors import UsageError
from mmstream.flags import add_label_flags
from mmstream.labelling import label_items
from mmstream.media import Media
from mmstream.records import DeadLetter
from mmstream.stages.label import LabelParts
from mmstream.stages.reading import Input, Piece, ReadRecords, RouteToParts, check_row, pieces_of, rows_of, sample
from mmstream.trained_model import TrainedModel


def run(flags: argparse.Namespace, beam_flags: Sequence[str]) -> int:
    """Run the job, as a batch or as long as its process lives; returns its exit code.

    Raises:
        MmstreamError: it cannot start, or cannot go on.
    """
    if flags.watch and flags.streaming:
        raise UsageError(
            "--watch and --streaming exclude each other: the former needs no cluster, the latter runs on one"
        )
    if flags.watch:
        return watch.run(flags, beam_flags)
    return stream.run(flags, beam_flags) if flags.streaming else _run_batch(flags, beam_flags)


def _run_batch(flags: argparse.Namespace, beam_flags: Sequence[str]) -> int:
    started = time.monotonic()
    if flags.publish:
        raise UsageError("--publish needs --streaming")
    if bool(flags.preview) == bool(flags.output):
        raise UsageError("name an --output, or a --preview, which writes nothing")
    options = jobs.beam_options(beam_flags)
    allowed = parse_share(flags.max_dead_letters)
    model = open_model(flags)
    job_input = input_for(model, flags)
    pieces = pieces_of(job_input)
    job_input = checked_input(model, job_input, sample(job_input, pieces))
    if flags.preview:
        preview(model, job_input, pieces, job_input.media(), flags.preview)
        return 0
    count = sum(piece.rows for piece in pieces)
    with opened(flags, model, job_input, count) as job:
        with jobs.progress("label", flags.output, job.run, count), jobs.pipeline(options) as pipeline:
            (
                pipeline
                | beam.Create(pieces)
                | ReadRecords(job.input, model.preprocessor.reads(), flags.output, job.run)
                | RouteToParts(job.plan.parts)
                | LabelParts(
                    *(job.model, flags.sink, job.sink_options, job.input.number, job.input.media(), flags.output),
                    *(job.plan.parts, job.run, flags.prune, flags.threads, flags.stall_timeout),
                )
            )
        settled = books.settle(flags.output, job.run, job.plan, done="labelled", holder=job.run)
        lock.check(flags.output, job.run)
        seconds = round(time.monotonic() - started, 3)
        write_books(flags.output, settled, model, seconds, pruned=flags.prune)
    return tell(flags, job, settled, seconds, allowed)


def preview(model: TrainedModel, job_input: Input, pieces: Sequence[Piece], media: Media, count: int) -> None:
    """Show what the first rows would get, and write nothing."""
    rows = islice(rows_of(job_input, pieces), count)
    with Workers() as workers:
        results = list(label_items([check_row(row, job_input) for row in rows], model, media, workers=workers))
    for result in results:
        if isinstance(result, DeadLetter):
            terminal.fail(f"{result.origin}: dead letter: {result.field or result.stage}: {result.message}")
    columns = (column for head in model.heads for column in (head, f"{head}_score", f"{head}_match"))
    shown = ["id", *(column for column in columns if column in model.schema)]
    good = [result for result in results if not isinstance(result, DeadLetter)]
    terminal.show_table(shown, [[row[column] for column in shown] for row in good])


def main(argv: Sequence[str] | None = None) -> int:
    """Parse flags and run the job."""
    return jobs.main("label", __doc__, add_label_flags, run, argv)


if __name__ == "__main__":
    sys.exit(main())
