"""Turn a dataset into examples: `mmstream preprocess`, or `python -m beam_jobs.preprocess` on any Beam runner."""

from __future__ import annotations

import argparse
import dataclasses
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

import apache_beam as beam

from mmstream import books, files, jobs, lock, outputs, terminal, worker
from mmstream.config import Config
from mmstream.config_file import load_config
from mmstream.errors import MmstreamError, listed
from mmstream.flags import add_preprocess_flags
from mmstream.preprocessing import Preprocessor
from mmstream.stages.analyse import fingerprint_of
from mmstream.stages.preprocess import PreprocessRecords, PreprocessTrial, close_books
from mmstream.stages.reading import Input, ReadRecords, pieces_of, sample


def run(flags: argparse.Namespace, beam_flags: Sequence[str]) -> int:
    """Run the job; returns its exit code.

    Raises:
        MmstreamError: it cannot start, or cannot go on.
    """
    started = time.monotonic()
    options = jobs.beam_options(beam_flags)
    config = load_config(flags.config, flags.set, tiny=flags.tiny)
    source = config.source
    job_input = Input(source.use, source.parameters, source.path, source.id, limit=source.limit, roots=source.roots)
    media = job_input.media()
    pieces = pieces_of(job_input)
    check_data(config, sample(job_input, pieces))
    rows = sum(piece.rows for piece in pieces)
    run_name = books.new_run()
    worker.propose(PreprocessTrial(config, media, flags.output))

    outputs.check_output(flags.output, "preprocess")
    is_new = not files.exists(flags.output)
    with lock.held(flags.output, run_name, take_over=flags.break_lock):
        plan = outputs.open_output(flags.output, "preprocess", rows)
        about_job = {"config": config.to_yaml(), "inputs": [dataclasses.asdict(job_input)]}
        outputs.write_about(flags.output, about_job, run_name)
        try:
            with (
                jobs.scratch(flags.output) as scratch,
                jobs.log(flags.output, run_name),
                jobs.progress("preprocess", flags.output, run_name, rows),
                jobs.pipeline(options) as pipeline,
            ):
                reads = Preprocessor(config.fields).reads()
                items = pipeline | beam.Create(pieces) | ReadRecords(job_input, reads, flags.output, run_name)
                items | PreprocessRecords(
                    config, media, flags.output, run_name, run_name, plan.parts, flags.threads, scratch
                )
        except MmstreamError:
            if is_new and fingerprint_of(flags.output) is None:  # nothing was made of these data
                lock.check(flags.output, run_name)
                files.remove_folder(flags.output)
            raise
        about = close_books(config, flags.output, run_name, plan, time.monotonic() - started, run_name)

    splits = {f"{name}_examples": count for name, count in about["splits"].items()}
    counts = {name: about[name] for name in ("read", "examples", "dead_lettered", "skipped")}
    terminal.summary("preprocess", {**counts, **splits, "seconds": about["seconds"], "output": flags.output})
    if not any(about["splits"].values()):
        terminal.fail("no record became an example; see dead_letters/")
        return 3
    return 0


def check_data(config: Config, rows: Sequence[Mapping[str, Any]]) -> None:
    """The columns that a config names occur in the first rows.

    Raises:
        MmstreamError: one does not; nothing has been touched yet.
    """
    Preprocessor(config.fields).check_columns(rows, needed="all")
    columns = {column for row in rows for column in row}
    for key, column in (("id", config.source.id), ("group", config.split.group), ("column", config.split.column)):
        if column and rows and column not in columns:
            place = "source.id" if key == "id" else f"split.{key}"
            raise MmstreamError(f"{place}: the data has no column {column!r}; it has {listed(sorted(columns))}")


def main(argv: Sequence[str] | None = None) -> int:
    """Parse flags and run the job."""
    return jobs.main("preprocess", __doc__, add_preprocess_flags, run, argv)


if __name__ == "__main__":
    sys.exit(main())
