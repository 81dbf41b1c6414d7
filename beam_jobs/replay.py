"""Try dead letters again: `mmstream replay`, or `python -m beam_jobs.replay` on any Beam runner."""

from __future__ import annotations

import argparse
import dataclasses
import re
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

import apache_beam as beam

from beam_jobs import running
from mmstream import terminal
from mmstream.errors import MmstreamError, UsageError
from mmstream.inputs.input import Input, input_named, pieces_of
from mmstream.jobs import run_folder
from mmstream.jobs.label_report import warn_of_smaller_batch
from mmstream.jobs.labelling import check_model
from mmstream.options.flags import add_replay_flags
from mmstream.options.jobs import ReplayOptions
from mmstream.outputs import commit_records, lock, ownership, parts, reconciliation, run_notes
from mmstream.runtime.concurrency import one_tensorflow_thread
from mmstream.stages.label import LabelTrial
from mmstream.stages.reading import ReadRecords, RouteToParts, every_part
from mmstream.stages.replay import REPLAYED_STAGES, LetterFilter, ReplayParts, attempts
from mmstream.stages.shared_model import SharedModel
from mmstream.storage import files
from mmstream.storage.json_files import write_json
from mmstream.supervision import worker
from mmstream.trained_model.artefact import TrainedModel


def run(flags: argparse.Namespace, beam_flags: Sequence[str]) -> int:
    """Run the job; returns its exit code.

    Raises:
        MmstreamError: it cannot start, or cannot go on.
    """
    running.check_supervised(flags, add_replay_flags)
    options = ReplayOptions(
        output=flags.output,
        threads=flags.threads,
        break_lock=flags.break_lock,
        only=parse_only(flags.only),
        error=flags.error or "",
        input=flags.input,
        model=flags.model or "",
        roots=flags.root,
    )
    terminal.summary("replay", replay(options, beam_flags))
    return 0


@one_tensorflow_thread()
def replay(options: ReplayOptions, beam_flags: Sequence[str] = ()) -> dict[str, Any]:
    """Try dead letters again; returns how many were tried, and what became of them.

    Args:
        options: options of the job.
        beam_flags: options for Beam, such as "--runner=FlinkRunner".

    Raises:
        MmstreamError: it cannot start, or cannot go on.
    """
    started = time.monotonic()
    pipeline_options = running.beam_options(beam_flags)
    letter_filter = filter_of(options)
    output = options.output
    if ownership.check_output(output, "label") is None or not (about := ownership.read_about(output, "label")):
        raise MmstreamError(f"{output} is not an output of `mmstream label`")
    model = TrainedModel(options.model or about["model"], embeddings=about["embeddings"], resume=about["resume"])
    model.warn_if_weakly_bound()
    check_model(about, model, output, relabel=False)
    job_input = input_to_replay(about["inputs"], options)
    media = job_input.media()
    run_name = run_notes.new_run()
    shared = SharedModel(model.path, model.embeddings, model.resume, fingerprint=model.fingerprint)
    worker.propose(LabelTrial(shared, media))
    several = len(about["inputs"]) > 1
    tries = attempts(output)

    with lock.held(output, run_name, take_over=options.break_lock):
        about = ownership.read_about(output, "label")  # a job may just have ended
        check_model(about, model, output, relabel=False)
        plan = ownership.open_output(output, "label", 0)
        replay_parts = ReplayParts(
            model=shared,
            sink=about["sink"],
            sink_options=about.get("sink_options", {}),
            media=media,
            output=output,
            parts=plan.parts,
            run=run_name,
            letter_filter=letter_filter,
            of_input=several,
            threads=options.threads,
        )
        with run_folder.log(output, run_name), running.pipeline(pipeline_options) as pipeline:
            if several:
                records = (
                    pipeline | beam.Create(pieces_of(job_input)) | ReadRecords(job_input, model.preprocessor.reads())
                )
                grouped = records | RouteToParts(plan.parts)
            else:
                grouped = every_part(pipeline, plan.parts, []) | beam.Reshuffle()
            grouped | replay_parts
        totals = run_notes.Totals(output, run_name).read()
        lock.check(output, run_name)
        update_summary(output, plan, totals["smaller_batch"])

    warn_of_smaller_batch(totals["smaller_batch"])
    tries.update(attempts(output, run_name))
    return {
        **{name: totals[name] for name in ("tried", "labelled", "dead_lettered", "not_wanted", "row_not_kept")},
        "most_tries_of_one": max(tries.values(), default=0),
        "seconds": round(time.monotonic() - started, 3),
    }


def input_to_replay(inputs: Sequence[Mapping[str, Any]], options: ReplayOptions) -> Input:
    """The input whose dead letters are tried, with the added roots.

    Raises:
        UsageError: there are several inputs, and none is named.
    """
    if len(inputs) > 1 and not options.input:
        paths = ", ".join(each["path"] for each in inputs)
        raise UsageError(f"the records of {options.output} come from several inputs; name one with --input: {paths}")
    chosen = input_named(inputs, options.input)
    return dataclasses.replace(chosen, roots=[*chosen.roots, *map(files.absolute, options.roots)])


def parse_only(texts: Sequence[str]) -> dict[str, str]:
    """The values that a dead letter must have, from texts such as "stage=decode", "field=image" or "error=NotFinite".

    Raises:
        UsageError: a text is not of that form.
    """
    names = ("stage", "field", "component", "error")
    only = {}
    for text in texts:
        name, separator, value = text.partition("=")
        if not separator or name not in names:
            raise UsageError(f"--only {text}: expected one of {', '.join(f'{each}=…' for each in names)}")
        only[name] = value
    return only


def filter_of(options: ReplayOptions) -> LetterFilter:
    """The filter that chooses the dead letters to try.

    Raises:
        UsageError: letters of that stage cannot be tried, or the error is not a regular expression.
    """
    if options.only.get("stage", "decode") not in REPLAYED_STAGES:
        raise UsageError(
            f"--only stage={options.only['stage']}: only dead letters of the stages {', '.join(REPLAYED_STAGES)} can "
            "be replayed; rows that could not be read are read again by `mmstream label`"
        )
    try:
        return LetterFilter(options.only, re.compile(options.error))
    except re.error as problem:
        raise UsageError(f"--error {options.error}: not a regular expression: {problem}") from problem


def update_summary(output: str, plan: parts.Plan, smaller_batch: int) -> None:
    """In label.json, count as labelled the records that now have labels.

    Those that the last run of `mmstream label` wrote as dead letters are subtracted from its `dead_lettered`, and those
    that it had kept, from its `skipped`.

    Args:
        output: directory of the output.
        plan: the output's plan of parts.
        smaller_batch: rows in a network batch after memory had run out; 0 if it has not.
    """
    about = ownership.read_summary(output, "label")
    if not about:
        return  # the last run of `mmstream label` did not end; the next one writes it
    held = reconciliation.held_by(commit_records.every_recorded(output, plan.parts))
    if "labelled" in about:  # a stream counts only what the output holds
        labelled = held["labelled"] - about["rows"]
        of_last_run = min(labelled, about["dead_lettered"])
        of_earlier_ones = min(labelled - of_last_run, about["skipped"])
        about["labelled"] += of_last_run + of_earlier_ones
        about["dead_lettered"] -= of_last_run
        about["skipped"] -= of_earlier_ones
    smaller = run_notes.least(smaller_batch, about.get("smaller_batch", 0))
    about |= {"smaller_batch": smaller} if smaller else {}
    about |= {"rows": held["labelled"], "dead_letters": held["dead_lettered"]}
    write_json(files.join(output, "label.json"), about)


def main(argv: Sequence[str] | None = None) -> int:
    """Parse flags and run the job."""
    return running.main("replay", __doc__, add_replay_flags, run, argv)


if __name__ == "__main__":
    sys.exit(main())
