"""Try dead letters again: `mmstream replay`, or `python -m beam_jobs.replay` on any Beam runner."""

from __future__ import annotations

import argparse
import dataclasses
import os
import re
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

import apache_beam as beam

from beam_jobs.label_job import check_model, warn_of_smaller_batch
from mmstream import books, commits, files, jobs, lock, outputs, parts, terminal, worker
from mmstream.errors import MmstreamError, UsageError
from mmstream.flags import add_replay_flags
from mmstream.json_files import write_json
from mmstream.stages.label import LabelTrial, SharedModel
from mmstream.stages.reading import Input, ReadRecords, RouteToParts, every_part, input_named, pieces_of
from mmstream.stages.replay import REPLAYED_STAGES, ReplayParts, Wanted, attempts
from mmstream.trained_model import TrainedModel


def run(flags: argparse.Namespace, beam_flags: Sequence[str]) -> int:
    """Run the job; returns its exit code.

    Raises:
        MmstreamError: it cannot start, or cannot go on.
    """
    os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")  # as in `mmstream label`, so that the same labels come out
    started = time.monotonic()
    options = jobs.beam_options(beam_flags)
    wanted = parse_wanted(flags.only, flags.error)
    if outputs.check_output(flags.output, "label") is None or not (about := outputs.read_about(flags.output, "label")):
        raise MmstreamError(f"{flags.output} is not an output of `mmstream label`")
    model = TrainedModel(flags.model or about["model"], embeddings=about["embeddings"], resume=about["resume"])
    model.warn_if_weakly_bound()
    check_model(about, model, flags.output, relabel=False)
    job_input = input_to_replay(about["inputs"], flags)
    media = job_input.media()
    run_name = books.new_run()
    shared = SharedModel(model.path, model.embeddings, model.resume, fingerprint=model.fingerprint)
    worker.propose(LabelTrial(shared, media))
    several = len(about["inputs"]) > 1
    tries = attempts(flags.output)

    with lock.held(flags.output, run_name, take_over=flags.break_lock):
        about = outputs.read_about(flags.output, "label")  # a job may just have ended
        check_model(about, model, flags.output, relabel=False)
        plan = outputs.open_output(flags.output, "label", 0)
        replay_parts = ReplayParts(
            *(shared, about["sink"], about.get("sink_options", {}), media, flags.output, plan.parts),
            *(run_name, wanted, several, flags.threads),
        )
        with jobs.log(flags.output, run_name), jobs.pipeline(options) as pipeline:
            if several:
                records = (
                    pipeline | beam.Create(pieces_of(job_input)) | ReadRecords(job_input, model.preprocessor.reads())
                )
                grouped = records | RouteToParts(plan.parts)
            else:
                grouped = every_part(pipeline, plan.parts, []) | beam.Reshuffle()
            grouped | replay_parts
        totals = books.Run(flags.output, run_name).read()
        lock.check(flags.output, run_name)
        update_books(flags.output, plan, totals["smaller_batch"])

    warn_of_smaller_batch(totals["smaller_batch"])
    tries.update(attempts(flags.output, run_name))
    counts = {name: totals[name] for name in ("tried", "labelled", "dead_lettered", "not_wanted", "row_not_kept")}
    terminal.summary(
        "replay",
        {
            **counts,
            "most_tries_of_one": max(tries.values(), default=0),
            "seconds": round(time.monotonic() - started, 3),
        },
    )
    return 0


def input_to_replay(inputs: Sequence[Mapping[str, Any]], flags: argparse.Namespace) -> Input:
    """The input whose letters are tried, with the roots that were added.

    Raises:
        UsageError: there are several, and none is named.
    """
    if len(inputs) > 1 and not flags.input:
        known = ", ".join(each["path"] for each in inputs)
        raise UsageError(f"the records of {flags.output} are of several inputs; name one with --input: {known}")
    found = input_named(inputs, flags.input)
    return dataclasses.replace(found, roots=[*found.roots, *map(files.absolute, flags.root)])


def parse_wanted(only: Sequence[str], error: str | None) -> Wanted:
    """Which letters are tried.

    Args:
        only: texts as "stage=decode", "field=image" or "error=NotFinite", all of which must hold.
        error: a regular expression to find in the class or the message of the error.

    Raises:
        UsageError: one is not of that form.
    """
    known = ("stage", "field", "component", "error")
    conditions = {}
    for text in only:
        name, separator, value = text.partition("=")
        if not separator or name not in known:
            raise UsageError(f"--only {text}: expected one of {', '.join(f'{each}=…' for each in known)}")
        conditions[name] = value
    if conditions.get("stage", "decode") not in REPLAYED_STAGES:
        raise UsageError(
            f"--only stage={conditions['stage']}: letters of {', '.join(REPLAYED_STAGES)} can be replayed; rows that "
            "could not be read are read again by `mmstream label`"
        )
    try:
        return Wanted(conditions, re.compile(error or ""))
    except re.error as problem:
        raise UsageError(f"--error {error}: not a regular expression: {problem}") from problem


def update_books(output: str, plan: parts.Plan, smaller_batch: int) -> None:
    """Move the records that have become labels to the labels in label.json.

    Those that the last run of `mmstream label` wrote as dead letters are taken from its `dead_lettered`, those that it
    had kept from its `skipped`.

    Args:
        output: directory of the output.
        plan: of the output.
        smaller_batch: rows that the network was given at a time after memory had run out; 0 where it has not.
    """
    about = outputs.read_books(output, "label")
    if not about:
        return  # the last run of `mmstream label` did not end; the next one writes it
    held = books.held_by(commits.every_recorded(output, plan.parts))
    labelled = held["labelled"] - about["rows"]
    of_last_run = min(labelled, about["dead_lettered"])
    of_earlier_ones = min(labelled - of_last_run, about["skipped"])
    about["labelled"] += of_last_run + of_earlier_ones
    about["dead_lettered"] -= of_last_run
    about["skipped"] -= of_earlier_ones
    smaller = books.least(smaller_batch, about.get("smaller_batch", 0))
    about |= {"smaller_batch": smaller} if smaller else {}
    about |= {"rows": held["labelled"], "dead_letters": held["dead_lettered"]}
    write_json(files.join(output, "label.json"), about)


def main(argv: Sequence[str] | None = None) -> int:
    """Parse flags and run the job."""
    return jobs.main("replay", __doc__, add_replay_flags, run, argv)


if __name__ == "__main__":
    sys.exit(main())
