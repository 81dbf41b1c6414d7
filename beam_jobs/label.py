"""Label records with a trained model: `mmstream label`, or `python -m beam_jobs.label` on any Beam runner."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

import apache_beam as beam

from mmstream import components, files, jobs, parts, plugins
from mmstream.errors import MmstreamError, choices
from mmstream.flags import add_label_flags
from mmstream.media import Media
from mmstream.stages.label import LabelParts
from mmstream.stages.reading import Input, ReadRecords, RouteToParts, pieces_of, sample
from mmstream.terminal import say
from mmstream.trained_model import TrainedModel, versions_of


def run(flags: argparse.Namespace, beam_flags: Sequence[str]) -> int:
    """Run the job; returns its exit code.

    Raises:
        MmstreamError: it cannot start, or cannot go on.
    """
    os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")  # the job's own threads keep the cores busy
    started = time.monotonic()
    options = jobs.beam_options(beam_flags)
    allowed = parse_share(flags.max_dead_letters)
    model = TrainedModel(flags.model, embeddings=flags.embeddings)
    sink = components.build("sink", flags.sink, {})
    job_input = input_for(model, flags)
    media = Media(job_input.path if files.is_folder(job_input.path) else files.parent(job_input.path), flags.root)
    pieces = pieces_of(job_input)
    check_input(model, job_input, sample(job_input, pieces))
    plan = parts.open_output(flags.output, "label", sum(piece.rows for piece in pieces))
    run_name = jobs.new_run()

    with jobs.progress("label", flags.output, run_name, plan), jobs.pipeline(options) as pipeline:
        (
            pipeline
            | beam.Create(pieces)
            | ReadRecords(job_input, flags.output, run_name)
            | RouteToParts(plan.parts)
            | LabelParts(flags.model, flags.embeddings, flags.sink, media, flags.output, run_name, flags.threads)
        )

    books = jobs.settle(flags.output, run_name, plan, done="labelled")
    summary = {
        "read": books.read,
        "labelled": books.done,
        "dead_lettered": books.dead_lettered,
        "skipped": books.skipped,
    }
    parts.write_json(
        files.join(flags.output, "label.json"),
        {
            **summary,
            "rows": books.committed,
            "dead_letters": books.committed_letters,
            "of_other_inputs": books.kept,
            "fingerprint": model.fingerprint,
            "plugins": versions_of(model.config),
            "seconds": round(time.monotonic() - started, 3),
        },
    )
    where = files.join(flags.output, "labels", f"part-*{sink.suffix}")
    counts = ", ".join(f"{count:,} {name.replace('_', '-')}" for name, count in summary.items())
    say(f"{counts} in {time.monotonic() - started:.1f} s → {where}")
    if books.committed == 0:
        say("nothing was labelled; see dead_letters/")
        return 3
    if books.committed_letters > allowed(books.read):
        say(f"{books.committed_letters:,} dead letters are more than --max-dead-letters {flags.max_dead_letters}")
        return 3
    return 0


def input_for(model: TrainedModel, flags: argparse.Namespace) -> Input:
    """What the job reads. The training source's id column and parameters hold where the source is of the same kind."""
    path = flags.input if files.is_remote(flags.input) else os.path.abspath(flags.input)  # noqa: PTH100 - keeps links
    if not files.exists(path) and not files.is_folder(path):
        raise MmstreamError(f"there is no {flags.input}")
    use = flags.source or source_for(path)
    rename = {}
    for text in flags.column:
        new, separator, old = text.partition("=")
        if not (new and separator and old):
            raise MmstreamError(f"--column {text}: expected NEW=OLD, as image=path")
        rename[new] = old
    trained = model.config.source
    if use != trained.use:
        return Input(use, {}, path, None, rename)
    return Input(use, trained.parameters, path, trained.id, rename)


def check_input(model: TrainedModel, job_input: Input, rows: Sequence[Mapping[str, Any]]) -> None:
    """The first rows have an id, and a column of a field that some head reads.

    Raises:
        MmstreamError: they have not; nothing has been touched yet.
    """
    columns = {column for row in rows for column, value in row.items() if value is not None}
    if rows and job_input.id is not None and job_input.id not in columns:
        raise MmstreamError(
            f"the input has no column {job_input.id!r}, which names a record; say which does with "
            f"--column {job_input.id}=… It has: {', '.join(sorted(columns))}"
        )
    model.preprocessor.check_columns(rows, needed="any")


def source_for(path: str) -> str:
    """The source that reads such a path.

    Raises:
        MmstreamError: none does.
    """
    folder = files.is_folder(path)
    suffixes: dict[str, str] = {}
    for name in plugins.names("source"):
        cls = plugins.find("source", name)
        if folder and getattr(cls, "reads_folders", False):
            return name
        suffixes |= dict.fromkeys(getattr(cls, "suffixes", ()), name)
    for suffix, name in suffixes.items():
        if not folder and path.endswith(suffix):
            return name
    raise MmstreamError(f"no source reads {path}; name one with --source. {choices(path, plugins.names('source'))}")


def parse_share(text: str):  # type: ignore[no-untyped-def]  # a function from records read to letters allowed
    """ "5%" or "20" as a function: how many dead letters are allowed among so many records."""
    try:
        number = float(text.removesuffix("%"))
    except ValueError as error:
        raise MmstreamError(f"--max-dead-letters {text}: expected a share as 5%, or a number") from error
    return (lambda read: read * number / 100) if text.endswith("%") else (lambda read: number)


def main(argv: Sequence[str] | None = None) -> int:
    """Parse flags and run the job."""
    parser = argparse.ArgumentParser(prog="python -m beam_jobs.label", description=__doc__)
    add_label_flags(parser)
    flags, beam_flags = parser.parse_known_args(argv)
    return run(flags, beam_flags)


if __name__ == "__main__":
    sys.exit(main())
