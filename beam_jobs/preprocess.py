"""Turn a dataset into examples: `mmstream preprocess`, or `python -m beam_jobs.preprocess` on any Beam runner."""

from __future__ import annotations

import argparse
import dataclasses
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import apache_beam as beam

from beam_jobs import running
from mmstream import terminal
from mmstream.config.loading import load_config
from mmstream.config.schema import Config
from mmstream.errors import MmstreamError, brief, listed
from mmstream.inputs.input import Input, look_through
from mmstream.inputs.items import sample
from mmstream.inputs.listing import in_words
from mmstream.inputs.sources import taken_for
from mmstream.jobs import run_folder
from mmstream.jobs.progress import progress
from mmstream.options.flags import add_preprocess_flags
from mmstream.options.idle_flags import sections_set
from mmstream.options.jobs import JobOptions
from mmstream.outputs import lock, near_report, ownership, run_notes
from mmstream.outputs.transform import fingerprint_of
from mmstream.preprocessing.preprocessor import Preprocessor
from mmstream.stages.preprocess import PreprocessRecords, PreprocessTrial, conclude
from mmstream.stages.reading import ReadRecords
from mmstream.storage import files
from mmstream.supervision import worker

_MANY_TRUNCATED = 0.2
"""The share of values that are too long from which on there is a warning."""


def run(flags: argparse.Namespace, beam_flags: Sequence[str]) -> int:
    """Run the job; returns its exit code.

    Raises:
        MmstreamError: it cannot start, or cannot go on.
    """
    running.check_supervised(flags, add_preprocess_flags)
    if idle := sections_set(flags.set, ("model", "training")):
        terminal.say(f"--set {', '.join(idle)} has no effect on examples; only `mmstream train` uses it")
    config = load_config(flags.config, flags.set, tiny=flags.tiny, open_values="first")
    options = JobOptions(
        output=flags.output,
        threads=flags.threads,
        break_lock=flags.break_lock,
    )
    about = preprocess(config, options, beam_flags)
    splits = {f"{name}_examples": count for name, count in about["splits"].items()}
    near = near_report.shown(about)
    counts = {name: about[name] for name in ("read", "examples", "dead_lettered", "skipped")}
    if "passed_over" in about:
        counts["passed_over"] = in_words(about["passed_over"])
    terminal.summary("preprocess", {**counts, **splits, **near, "seconds": about["seconds"], "output": flags.output})
    fitted = Preprocessor(config.fields, files.join(flags.output, "transform"))
    of_fields = (*targets_of_one_value(config, fitted), *truncated_values(fitted))
    for warning in (*of_fields, *near_report.warnings(about, config.split)):
        terminal.warn(warning)
    if not any(about["splits"].values()):
        terminal.fail("no record became an example; see dead_letters/")
        return 3
    return 0


def preprocess(config: Config, options: JobOptions, beam_flags: Sequence[str] = ()) -> dict[str, Any]:
    """Turn the data that a config names into examples; returns the content of preprocess.json.

    Args:
        config: the config.
        options: options of the job.
        beam_flags: options for Beam, such as "--runner=FlinkRunner".

    Raises:
        MmstreamError: it cannot start, or cannot go on.
    """
    started = time.monotonic()
    pipeline_options = running.beam_options(beam_flags)
    job_input = input_of(config)
    media = job_input.media()
    if taken := taken_for(job_input.path, job_input.use):
        terminal.say(taken)
    pieces, passed_over = look_through(job_input)
    check_data(config, sample(job_input, pieces))
    rows = sum(piece.rows for piece in pieces)
    output, run_name = options.output, run_notes.new_run()
    worker.propose(PreprocessTrial(config, media, output))

    ownership.check_output(output, "preprocess")
    is_new = not files.exists(output)
    with lock.held(output, run_name, take_over=options.break_lock):
        plan = ownership.open_output(output, "preprocess", rows)
        about_job = {"config": config.to_yaml(), "inputs": [dataclasses.asdict(job_input)]}
        ownership.write_about(output, about_job, run_name)
        try:
            with (
                run_folder.scratch(output) as scratch,
                run_folder.log(output, run_name),
                progress("preprocess", output, run_name, rows),
                running.pipeline(pipeline_options) as pipeline,
            ):
                reads = Preprocessor(config.fields).reads()
                items = pipeline | beam.Create(pieces) | ReadRecords(job_input, reads, output, run_name)
                items | PreprocessRecords(
                    config=config,
                    media=media,
                    output=output,
                    run=run_name,
                    holder=run_name,
                    parts=plan.parts,
                    threads=options.threads,
                    scratch=scratch,
                )
        except MmstreamError:
            if is_new and fingerprint_of(output) is None:  # nothing was made of these data
                lock.check(output, run_name)
                files.remove_folder(output)
            raise
        return conclude(
            config,
            output,
            run_name,
            plan,
            time.monotonic() - started,
            holder=run_name,
            passed_over=passed_over,
            reads_source=True,
        )


def input_of(config: Config) -> Input:
    """The input that a config's `source` names."""
    source = config.source
    return Input(source.use, source.parameters, source.path, source.id, limit=source.limit, roots=source.roots)


def check_data(config: Config, rows: Sequence[Mapping[str, Any]]) -> None:
    """Check that the columns that a config names occur in the first rows.

    Raises:
        MmstreamError: a column does not; nothing has been touched yet.
    """
    Preprocessor(config.fields).check_columns(rows, needed="all")
    columns = {column for row in rows for column in row}
    for key, column in (("id", config.source.id), ("group", config.split.group), ("column", config.split.column)):
        if column and rows and column not in columns:
            place = "source.id" if key == "id" else f"split.{key}"
            raise MmstreamError(f"{place}: the data has no column {column!r}; it has {listed(sorted(columns))}")


def targets_of_one_value(config: Config, preprocessor: Preprocessor) -> Iterator[str]:
    """Warnings about heads that have nothing to learn: their target has only one value in the training split."""
    for name, head in config.model.heads.items():
        values = preprocessor.fitted[head.target].vocabulary
        if len(values) == 1:
            problem = f"its target has only one value in the training split, {brief(values[0])}"
            yield f"model.heads.{name}: {problem}; nothing is learnt"


def truncated_values(preprocessor: Preprocessor) -> Iterator[str]:
    """Warnings about fields whose tensors are too short for many values."""
    for name, (values, elements) in preprocessor.truncated().items():
        if values >= _MANY_TRUNCATED:
            yield (
                f"fields.{name}: {values:.0%} of the training split's values are too long, so {elements:.0%} of the "
                "field's training data is cut off; raise `length`"
            )


def main(argv: Sequence[str] | None = None) -> int:
    """Parse flags and run the job."""
    return running.main("preprocess", __doc__, add_preprocess_flags, run, argv)


if __name__ == "__main__":
    sys.exit(main())
