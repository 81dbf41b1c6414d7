"""Label records with a trained model: `mmstream label`, or `python -m beam_jobs.label` on any Beam runner."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from itertools import islice
from typing import Any

import apache_beam as beam

from beam_jobs import running, stream
from mmstream import terminal
from mmstream.errors import UsageError
from mmstream.inputs.input import Input, Piece, look_through, rows_of
from mmstream.inputs.items import check_row, sample
from mmstream.inputs.sources import source_of_scheme
from mmstream.interfaces import PassedOver
from mmstream.jobs.label_report import Allowance, LabelResult, tell, warn_of_unknown, write_summary
from mmstream.jobs.labelling import checked_input, input_for, open_model, opened
from mmstream.jobs.progress import progress
from mmstream.jobs.renaming import check_given, parse_columns
from mmstream.jobs.sink_choice import parse_sink_options
from mmstream.jobs.watch import watch
from mmstream.options.flags import add_label_flags
from mmstream.options.idle_flags import refuse
from mmstream.options.jobs import LabelOptions, StreamOptions
from mmstream.outputs import lock, reconciliation
from mmstream.preprocessing.lookups import Lookups
from mmstream.records.record import DeadLetter
from mmstream.runtime.concurrency import ThreadPool, one_tensorflow_thread
from mmstream.stages.label import LabelParts
from mmstream.stages.reading import ReadRecords, RouteToParts
from mmstream.trained_model.artefact import TrainedModel
from mmstream.trained_model.labelling import label_items

_OF_STREAMS = ("every", "max-latency")
"""Flags that need --watch or --streaming."""
_OF_OUTPUTS = (
    *("sink", "sink-option", "embeddings", "resume", "relabel", "prune", "max-dead-letters"),
    *("break-lock", "stall-timeout"),
)
"""Flags that need an output."""


def run(flags: argparse.Namespace, beam_flags: Sequence[str]) -> int:
    """Run the job, as a batch or until it is stopped; returns its exit code.

    Raises:
        MmstreamError: it cannot start, or cannot go on.
    """
    _refuse_idle(flags, beam_flags)
    allowed = Allowance.parse(flags.max_dead_letters)
    if flags.streaming:
        stream.run(_stream_options(flags), beam_flags)
        return 0
    if flags.preview:
        preview(_label_options(flags), flags.preview)
        return 0
    labelled = watch(_stream_options(flags)) if flags.watch else label(_label_options(flags), beam_flags)
    return tell(labelled, allowed) if labelled else 0


@one_tensorflow_thread()
def label(options: LabelOptions, beam_flags: Sequence[str] = ()) -> LabelResult:
    """Label an input to its end.

    Args:
        options: options of the job.
        beam_flags: options for Beam, such as "--runner=FlinkRunner".

    Raises:
        MmstreamError: it cannot start, or cannot go on.
    """
    started = time.monotonic()
    pipeline_options = running.beam_options(beam_flags)
    model = open_model(options)
    job_input, pieces, passed_over = _looked_through(model, options)
    count = sum(piece.rows for piece in pieces)
    output = options.output
    with opened(options, model, job_input, count) as job:
        with progress("label", output, job.run, count), running.pipeline(pipeline_options) as pipeline:
            (
                pipeline
                | beam.Create(pieces)
                | ReadRecords(job.input, model.preprocessor.reads(), output, job.run)
                | RouteToParts(job.plan.parts)
                | LabelParts(
                    model=job.model,
                    sink=options.sink,
                    sink_options=options.sink_options,
                    input_number=job.input.number,
                    media=job.input.media(),
                    output=output,
                    parts=job.plan.parts,
                    run=job.run,
                    prune=options.prune,
                    threads=options.threads,
                    stall_seconds=options.stall_seconds,
                )
            )
        reconciled = reconciliation.reconcile(output, job.run, job.plan, done="labelled", holder=job.run)
        lock.check(output, job.run)
        seconds = round(time.monotonic() - started, 3)
        write_summary(output, reconciled, model, seconds, pruned=options.prune, passed_over=passed_over)
    return LabelResult(
        output=output, job=job, reconciled=reconciled, passed_over=passed_over, pruned=options.prune, seconds=seconds
    )


@one_tensorflow_thread()
def preview(options: LabelOptions, count: int) -> None:
    """Show the labels that the first rows would get, and write nothing."""
    model = open_model(options)
    job_input, pieces, _ = _looked_through(model, options)
    lookups = Lookups()
    items = [check_row(row, job_input) for row in islice(rows_of(job_input, pieces), count)]
    with ThreadPool(options.threads) as pool:
        results = list(label_items(items, model, job_input.media(), pool=pool, lookups=lookups))
    for result in results:
        if isinstance(result, DeadLetter):
            terminal.fail(f"{result.origin}: dead letter ({result.field or result.stage}): {result.message}")
    columns = (column for head in model.heads for column in (head, f"{head}_score", f"{head}_match"))
    shown = ["id", *(column for column in columns if column in model.schema)]
    rows = [result for result in results if not isinstance(result, DeadLetter)]
    terminal.show_table(shown, [[row[column] for column in shown] for row in rows])
    warn_of_unknown(lookups.counts())


def _looked_through(model: TrainedModel, options: LabelOptions) -> tuple[Input, list[Piece], Sequence[PassedOver]]:
    """The checked input, its pieces, and the files and folders that were passed over."""
    job_input = input_for(model, options)
    pieces, passed_over = look_through(job_input)
    check_given(job_input, rows_of(job_input, pieces))
    return checked_input(model, job_input, sample(job_input, pieces)), pieces, passed_over


def _refuse_idle(flags: argparse.Namespace, beam_flags: Sequence[str]) -> None:
    """Refuse flags that have no effect with this way of labelling.

    Raises:
        UsageError: such a flag is given.
    """
    endless = "--streaming" if flags.streaming else "--watch" if flags.watch else ""
    if flags.watch and flags.streaming:
        raise UsageError(
            "--watch and --streaming cannot be combined: the former needs no cluster, the latter runs on one"
        )
    if flags.streaming:
        refuse(flags, add_label_flags, ["max-dead-letters"], "with --streaming, which runs until it is terminated")
        if source_of_scheme(flags.input):
            refuse(flags, add_label_flags, ["every"], f"on {flags.input}, which has no files to look at")
    elif flags.watch:
        refuse(flags, add_label_flags, ["max-latency"], "without --streaming")
    else:
        refuse(flags, add_label_flags, _OF_STREAMS, "without --watch or --streaming")
    if flags.follow:
        refuse(flags, add_label_flags, ["relabel"], "with --follow, which keeps labels of earlier models")
    if flags.follow and (flags.expect or not endless):
        raise UsageError("--follow needs --watch or --streaming, and cannot be combined with --expect")
    for name in ("preview", "prune"):
        if endless and getattr(flags, name):
            raise UsageError(f"{endless} and --{name} cannot be combined")
    if endless and not flags.output:
        raise UsageError("name an --output")
    if flags.publish and not flags.streaming:
        raise UsageError("--publish needs --streaming")
    if flags.watch and beam_flags:
        raise UsageError(f"--watch builds no Beam pipeline, so it does not accept {' '.join(beam_flags)}")
    if flags.preview and not flags.output:
        refuse(flags, add_label_flags, _OF_OUTPUTS, "with --preview, which writes nothing")
        if beam_flags:
            raise UsageError(f"--preview builds no Beam pipeline, so it does not accept {' '.join(beam_flags)}")
    if bool(flags.preview) == bool(flags.output):
        raise UsageError("give either --output, or --preview, which writes nothing")


def _label_options(flags: argparse.Namespace) -> LabelOptions:
    return LabelOptions(**_from_flags(flags))


def _stream_options(flags: argparse.Namespace) -> StreamOptions:
    return StreamOptions(
        **_from_flags(flags), every=flags.every, max_latency=flags.max_latency, publish=flags.publish or ""
    )


def _from_flags(flags: argparse.Namespace) -> dict[str, Any]:
    return {
        "input": flags.input,
        "source": flags.source,
        "roots": flags.root,
        "columns": parse_columns(flags.column),
        "output": flags.output or "",
        "threads": flags.threads,
        "stall_seconds": flags.stall_timeout,
        "break_lock": flags.break_lock,
        "model": flags.model,
        "embeddings": flags.embeddings,
        "sink": flags.sink,
        "sink_options": parse_sink_options(flags.sink, flags.sink_option),
        "resume": flags.resume,
        "relabel": flags.relabel,
        "prune": flags.prune,
        "expect": flags.expect,
        "follow": flags.follow or "",
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Parse flags and run the job."""
    return running.main("label", __doc__, add_label_flags, run, argv)


if __name__ == "__main__":
    sys.exit(main())
