"""Shared by all ways of labelling: the model, the input, the held output, and the contents of job.json."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mmstream import terminal
from mmstream.errors import MmstreamError, UsageError, listed
from mmstream.inputs.input import Input
from mmstream.inputs.sources import source_for, taken_for
from mmstream.interfaces import Sink
from mmstream.jobs import run_folder
from mmstream.jobs.renaming import check_wanted
from mmstream.jobs.sink_choice import build_sink, check_sink
from mmstream.options.jobs import InputOptions, LabelOptions
from mmstream.outputs import lock, ownership, parts, run_notes
from mmstream.stages.label import LabelTrial
from mmstream.stages.shared_model import SharedModel
from mmstream.storage import files
from mmstream.supervision import worker
from mmstream.trained_model.artefact import TrainedModel
from mmstream.trained_model.fingerprints import what_differs
from mmstream.trained_model.successors import Successors

RECORDS_OF_A_STREAM = 64 * parts.RECORDS_PER_PART
"""An output that will grow is divided into parts for this many records, as its final size is unknown."""


def open_model(options: LabelOptions) -> TrainedModel:
    """The model that labels: the named one, or the newest of those in the followed folder.

    Raises:
        MmstreamError: it cannot be opened, or is not the expected one.
    """
    before = ownership.read_about(options.output, "label") if options.output else {}
    model = TrainedModel(options.model, embeddings=options.embeddings, resume=options.resume or before.get("resume"))
    if options.follow and not files.is_folder(options.follow):
        raise UsageError(f"there is no folder {options.follow} (--follow)")
    if options.follow:
        model = Successors(options.follow, model).look() or model
    if options.expect and options.expect != model.fingerprint:
        raise MmstreamError(f"{options.model} has the fingerprint {model.fingerprint}, not {options.expect} (--expect)")
    model.warn_if_weakly_bound()
    return model


def checked_input(model: TrainedModel, job_input: Input, rows: Sequence[Mapping[str, Any]]) -> Input:
    """The input, checked; without an id column if it has none and its source is not of the kind used in training.

    Raises:
        MmstreamError: the model cannot read its first rows; nothing has been touched yet.
    """
    if rows and job_input.use != model.config.source.use and not any(job_input.id in row for row in rows):
        job_input = dataclasses.replace(job_input, id=None)
    check_input(model, job_input, rows)
    return job_input


@dataclasses.dataclass(frozen=True)
class Job:
    """A job that holds its output.

    Attributes:
        run: the run's name: its start.
        model: the model that labels, shared by threads and workers.
        input: what is read.
        sink: writes the labels.
        plan: the output's plan of parts.
        others: paths of the output's other inputs.
    """

    run: str
    model: SharedModel
    input: Input
    sink: Sink
    plan: parts.Plan
    others: Sequence[str]


@contextlib.contextmanager
def opened(options: LabelOptions, model: TrainedModel, job_input: Input, count: int) -> Iterator[Job]:
    """Check that the output can take these labels, and hold it while the block runs; libraries log into it.

    Args:
        options: options of the job.
        model: the model that labels.
        job_input: what is read.
        count: number of records.

    Raises:
        MmstreamError: the output holds something else, or another job holds it.
    """
    output, sink = options.output, build_sink(options.sink, options.sink_options)
    ownership.check_output(output, "label")
    run_name = run_notes.new_run()
    shared = SharedModel(model.path, options.embeddings, model.resume, fingerprint=model.fingerprint)
    worker.propose(LabelTrial(shared, job_input.media()))
    with lock.held(output, run_name, take_over=options.break_lock):
        before = ownership.read_about(output, "label")  # under the lock: another job may just have ended
        check_sink(before, options.sink, options.sink_options, output)
        check_model(before, model, output, relabel=options.relabel or bool(options.follow))
        inputs = before.get("inputs", [])
        job_input = dataclasses.replace(job_input, number=number_of(inputs, job_input.path))
        others = [each for each in inputs if each["path"] != job_input.path]
        if (others or options.follow) and before and not options.prune:
            check_columns(before, model, output)
        plan = ownership.open_output(output, "label", count)
        about = about_job(model, options.sink, options.sink_options, [*others, dataclasses.asdict(job_input)])
        write_about(output, about, before if options.follow else {}, run_name)
        with run_folder.log(output, run_name):
            yield Job(run_name, shared, job_input, sink, plan, [each["path"] for each in others])


def write_about(output: str, about: Mapping[str, Any], before: Mapping[str, Any], run: str) -> None:
    """Write job.json.

    Args:
        output: directory of the output.
        about: its new content.
        before: its previous content, if rows of other models may stay; else {}.
        run: the run's start.
    """
    earlier = {*before.get("earlier", ()), before.get("fingerprint", about["fingerprint"])} - {about["fingerprint"]}
    ownership.write_about(output, {**about, **({"earlier": sorted(earlier)} if earlier else {})}, run)


def take_over(output: str, model: TrainedModel, run: str) -> None:
    """Record in job.json that this model labels from now on, and that the rows of earlier models stay."""
    before = ownership.read_about(output, "label")
    write_about(output, about_job(model, before["sink"], before.get("sink_options", {}), before["inputs"]), before, run)
    terminal.say(f"{model.path} takes over (fingerprint {model.fingerprint})")


def check_model(before: Mapping[str, Any], model: TrainedModel, output: str, *, relabel: bool) -> None:
    """Check that an output holds labels of this model only, or that they are to be replaced.

    Args:
        before: its job.json; {} if it is new.
        model: the model that is to label.
        output: its directory.
        relabel: replace the labels of another model.

    Raises:
        MmstreamError: it holds labels of another model, and they are not to be replaced.
    """
    if before.get("embeddings", model.embeddings) != model.embeddings:
        has, wants = ("without", "with") if model.embeddings else ("with", "without")
        raise MmstreamError(
            f"{output} holds labels {has} embeddings, but labels {wants} embeddings are requested; name another output"
        )
    if relabel or before.get("fingerprint", model.fingerprint) == model.fingerprint:
        return
    lines = "\n".join(f"  {line}" for line in what_differs(before["fingerprints"], model.fingerprints))
    raise MmstreamError(
        f"{output} holds labels of another model. What differs:\n{lines}\n"
        "Name another --output, or replace these labels, part by part, with --relabel"
    )


def check_columns(before: Mapping[str, Any], model: TrainedModel, output: str) -> None:
    """Check that the rows of other inputs, which stay, have the same columns as this model's rows.

    Raises:
        MmstreamError: they do not.
    """
    columns = before["schema"].keys() ^ model.schema.keys()
    if columns:
        raise MmstreamError(
            f"{output} holds rows of other inputs, made by a model with different columns (they differ in "
            f"{', '.join(sorted(columns))}); remove those rows with --prune, or name another --output"
        )


def number_of(inputs: Sequence[Mapping[str, Any]], path: str) -> int:
    """The number of an input among those of an output; a new input gets the next number."""
    numbers = {each["path"]: each["number"] for each in inputs}
    return numbers.get(path, max(numbers.values(), default=-1) + 1)


def about_job(
    model: TrainedModel, sink: str, options: Mapping[str, Any], inputs: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """The content of job.json: which model makes the labels, and the inputs of the records, the latest last."""
    return {
        "model": files.absolute(model.path),
        "fingerprint": model.fingerprint,
        "fingerprints": model.fingerprints,
        "embeddings": model.embeddings,
        "resume": model.resume,
        "schema": model.schema,
        "sink": sink,
        **({"sink_options": dict(options)} if options else {}),
        "inputs": list(inputs),
    }


def input_for(model: TrainedModel, options: InputOptions) -> Input:
    """The input of the job, with the training source's id column, and its parameters if the source is of the same kind.

    Raises:
        MmstreamError: no source reads it, or `columns` names a column that the model does not read.
    """
    path = files.absolute(options.input)
    use = options.source or source_for(path)
    if taken := taken_for(path, use):
        terminal.say(taken)
    check_wanted(model, options.columns)
    trained = model.config.source
    parameters = trained.parameters if use == trained.use else {}
    return Input(use, parameters, path, trained.id, options.columns, roots=list(map(files.absolute, options.roots)))


def check_input(model: TrainedModel, job_input: Input, rows: Sequence[Mapping[str, Any]]) -> None:
    """Check that the first rows have an id, and a column of a field that some head reads.

    Raises:
        MmstreamError: they do not; nothing has been touched yet.
    """
    columns = {column for row in rows for column, value in row.items() if value is not None}
    if rows and job_input.id is not None and job_input.id not in columns:
        raise MmstreamError(
            f"the input has no column {job_input.id!r} to identify its records; if another column identifies them, "
            f"name it with --column {job_input.id}=…. The input has: {listed(sorted(columns))}"
        )
    model.preprocessor.check_columns(rows, needed="any")
