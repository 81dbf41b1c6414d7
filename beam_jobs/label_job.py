"""What every way to label shares: the model, the input, the output that is held, and what is said of it."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from beam_jobs.sink_choice import check_sink, sink_options
from mmstream import books, components, files, jobs, lock, outputs, parts, terminal, worker
from mmstream.errors import MmstreamError, UsageError, listed
from mmstream.interfaces import Sink
from mmstream.json_files import write_json
from mmstream.sources import source_for
from mmstream.stages.label import LabelTrial, SharedModel
from mmstream.stages.reading import Input
from mmstream.successors import Successors
from mmstream.trained_model import TrainedModel, versions_of, what_differs

RECORDS_OF_A_STREAM = 64 * parts.RECORDS_PER_PART
"""Into so many parts an output is cut that is to grow, as nobody knows yet how large it will be."""
_OUTGROWN = 8
"""How many times its planned size a part may have before users are told."""


def open_model(flags: argparse.Namespace) -> TrainedModel:
    """The model that the flags name.

    Raises:
        MmstreamError: it cannot be opened, or is not the one that is expected.
    """
    os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")  # the job's own threads keep the cores busy
    before = outputs.read_about(flags.output, "label") if flags.output else {}
    model = TrainedModel(flags.model, embeddings=flags.embeddings, resume=flags.resume or before.get("resume"))
    if flags.follow and (flags.expect or not (flags.watch or flags.streaming)):
        raise UsageError("--follow needs --watch or --streaming, and excludes --expect")
    if flags.follow and not files.is_folder(flags.follow):
        raise UsageError(f"there is no folder {flags.follow} (--follow)")
    if flags.follow:
        model = Successors(flags.follow, model).look() or model
    if flags.expect and flags.expect != model.fingerprint:
        raise MmstreamError(f"{flags.model} has the fingerprint {model.fingerprint}, not {flags.expect} (--expect)")
    model.warn_if_weakly_bound()
    return model


def checked_input(model: TrainedModel, job_input: Input, rows: Sequence[Mapping[str, Any]]) -> Input:
    """The input, without an id column where it has none and is not of the kind that the model was trained on.

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
        run: its name.
        model: that labels, as threads and workers share it.
        input: what is read.
        sink: of the labels.
        sink_options: parameters that it was made with.
        plan: of the output.
        others: paths of the other inputs that the output was fed from.
    """

    run: str
    model: SharedModel
    input: Input
    sink: Sink
    sink_options: Mapping[str, Any]
    plan: parts.Plan
    others: Sequence[str]


@contextlib.contextmanager
def opened(flags: argparse.Namespace, model: TrainedModel, job_input: Input, count: int) -> Iterator[Job]:
    """Hold the output while the block runs, and see to it that it is fit for these labels; libraries speak to its log.

    Args:
        flags: of the job.
        model: that labels.
        job_input: what is read.
        count: how many records there are.

    Raises:
        MmstreamError: the output holds something else, or another job holds it.
    """
    options = sink_options(flags)
    sink = components.build("sink", flags.sink, options)
    outputs.check_output(flags.output, "label")
    run_name = books.new_run()
    follow = flags.follow or "" if flags.streaming else ""  # otherwise the job itself goes over to a newer one
    shared = SharedModel(model.path, flags.embeddings, model.resume, follow, model.fingerprint)
    worker.propose(LabelTrial(shared, job_input.media()))
    with lock.held(flags.output, run_name, take_over=flags.break_lock):
        before = outputs.read_about(flags.output, "label")  # under the lock: another job may just have ended
        check_sink(before, flags.sink, options, flags.output)
        check_model(before, model, flags.output, relabel=flags.relabel or bool(flags.follow))
        inputs = before.get("inputs", [])
        job_input = dataclasses.replace(job_input, number=number_of(inputs, job_input.path))
        others = [each for each in inputs if each["path"] != job_input.path]
        if (others or flags.follow) and before and not flags.prune:
            check_columns(before, model, flags.output)
        plan = outputs.open_output(flags.output, "label", count)
        about = about_job(model, flags.sink, options, [*others, dataclasses.asdict(job_input)])
        write_about(flags.output, about, before if flags.follow else {}, run_name)
        with jobs.log(flags.output, run_name):
            yield Job(run_name, shared, job_input, sink, options, plan, [each["path"] for each in others])


def write_about(output: str, about: Mapping[str, Any], before: Mapping[str, Any], run: str) -> None:
    """Write job.json.

    Args:
        output: directory of the output.
        about: what it says.
        before: what it said, if rows of other models may stay; else {}.
        run: the run's start.
    """
    earlier = {*before.get("earlier", ()), before.get("fingerprint", about["fingerprint"])} - {about["fingerprint"]}
    outputs.write_about(output, {**about, **({"earlier": sorted(earlier)} if earlier else {})}, run)


def take_over(output: str, model: TrainedModel, run: str) -> None:
    """Let job.json say that from now on this model labels, and rows of those before it stay."""
    before = outputs.read_about(output, "label")
    write_about(output, about_job(model, before["sink"], before.get("sink_options", {}), before["inputs"]), before, run)
    terminal.say(f"{model.path} takes over (fingerprint {model.fingerprint})")


def tell(
    flags: argparse.Namespace, job: Job, settled: books.Books, seconds: float, allowed: Callable[[int], float]
) -> int:
    """Say what has become of the records; returns the exit code, by the dead letters that are allowed among so many."""
    where = files.join(flags.output, "labels", f"part-*{job.sink.suffix}")
    more = {"pruned": settled.pruned} if flags.prune else {}
    terminal.summary("label", {**books_of(settled), **more, "seconds": seconds, "labels": where})
    warn(settled, job.others)
    hint_at_size(flags.output, settled.held.total(), job.plan)
    if settled.read and settled.committed == 0:
        terminal.fail("nothing was labelled; see dead_letters/")
        return 3
    if settled.letters > allowed(settled.read):
        terminal.fail(f"{settled.letters:,} dead letters are more than --max-dead-letters {flags.max_dead_letters}")
        return 3
    return 0


def books_of(settled: books.Books) -> dict[str, int]:
    """What became of the records of a run, by the names that users see."""
    return {
        "read": settled.read,
        "labelled": settled.done,
        "dead_lettered": settled.dead_lettered,
        "skipped": settled.skipped,
    }


def write_books(output: str, settled: books.Books, model: TrainedModel, seconds: float, *, pruned: bool) -> None:
    """Write label.json.

    Args:
        output: directory of the output.
        settled: books of the run.
        model: that labelled.
        seconds: that it took.
        pruned: whether it was to prune.
    """
    before = 0
    if settled.skipped:  # rows of an earlier run are still there
        before = outputs.read_books(output, "label").get("smaller_batch", 0)
    unusual = {
        "of_another_model": settled.of_another_model,
        "lost": settled.lost,
        "smaller_batch": books.least(settled.smaller_batch, before),
    }
    write_json(
        files.join(output, "label.json"),
        {
            **books_of(settled),
            "rows": settled.committed,
            "dead_letters": settled.committed_letters,
            "of_other_inputs": settled.kept,
            **({"pruned": settled.pruned} if pruned else {}),
            **{name: count for name, count in unusual.items() if count},
            "fingerprint": model.fingerprint,
            "plugins": versions_of(model.config),
            "seconds": seconds,
        },
    )


def warn(settled: books.Books, other_inputs: Sequence[str]) -> None:
    """Say what a user should know of a run beyond its counts.

    Args:
        settled: its books.
        other_inputs: that the output was fed from.
    """
    others = ", ".join(other_inputs) or "the records that this input no longer has"
    for line in settled.damaged:
        terminal.say(f"warning: {line}; it was made anew")
    if settled.lost:
        terminal.say(
            f"warning: at least {settled.lost:,} rows and dead letters of other inputs stood in these files and are "
            f"lost; label them again: {others}"
        )
    if settled.of_another_model:
        terminal.say(
            f"warning: {settled.of_another_model:,} rows and dead letters of other inputs are still of another model; "
            f"label them, too: {others}; or remove them with --prune"
        )
    warn_of_smaller_batch(settled.smaller_batch)


def warn_of_smaller_batch(rows: int) -> None:
    """Say that memory ran out, and how many rows the network was given at a time after that; 0 where it did not."""
    if rows:
        terminal.say(
            f"warning: memory ran out, and some records were labelled {rows} at a time; the last digits of their "
            "scores may differ from another run's"
        )


def hint_at_size(output: str, held: int, plan: parts.Plan) -> None:
    """Say that an output has outgrown its parts."""
    if held > _OUTGROWN * plan.parts * parts.RECORDS_PER_PART:
        terminal.say(f"{held:,} records are many for {plan.parts:,} parts: mmstream repartition {output}")


def check_model(before: Mapping[str, Any], model: TrainedModel, output: str, *, relabel: bool) -> None:
    """An output holds the labels of one model.

    Args:
        before: its job.json; {} where it is new.
        model: that is to label.
        output: its directory.
        relabel: replace the labels of another model.

    Raises:
        MmstreamError: it holds those of another, and they are not to be replaced.
    """
    if before.get("embeddings", model.embeddings) != model.embeddings:
        has, wants = ("no", "some") if model.embeddings else ("some", "none")
        raise MmstreamError(f"{output} holds labels with {has} embeddings, and {wants} are asked for; name another")
    if relabel or before.get("fingerprint", model.fingerprint) == model.fingerprint:
        return
    lines = "\n".join(f"  {line}" for line in what_differs(before["fingerprints"], model.fingerprints))
    raise MmstreamError(
        f"{output} holds labels of another model. What differs:\n{lines}\n"
        "Name another --output, or replace these labels, part by part, with --relabel"
    )


def check_columns(before: Mapping[str, Any], model: TrainedModel, output: str) -> None:
    """Rows of other inputs, which stay, have the columns of this model's.

    Raises:
        MmstreamError: they have not.
    """
    columns = before["schema"].keys() ^ model.schema.keys()
    if columns:
        raise MmstreamError(
            f"{output} holds rows of other inputs, made by a model with other columns (they differ in "
            f"{', '.join(sorted(columns))}); remove them with --prune, or name another --output"
        )


def number_of(inputs: Sequence[Mapping[str, Any]], path: str) -> int:
    """The number of an input among those of an output; a new one gets the next."""
    known = {each["path"]: each["number"] for each in inputs}
    return known.get(path, max(known.values(), default=-1) + 1)


def about_job(
    model: TrainedModel, sink: str, options: Mapping[str, Any], inputs: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """What job.json says: whose labels these are, and where the records came from, the latest input last."""
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


def renamed(flags: argparse.Namespace) -> dict[str, str]:
    """New column name -> the name that it has in the input, as the flags say.

    Raises:
        MmstreamError: a flag is malformed.
    """
    rename = {}
    for text in flags.column:
        new, separator, old = text.partition("=")
        if not (new and separator and old):
            raise MmstreamError(f"--column {text}: expected NEW=OLD, as image=path")
        rename[new] = old
    return rename


def input_for(model: TrainedModel, flags: argparse.Namespace) -> Input:
    """What the job reads: with the training source's id column, and its parameters if the source is of that kind."""
    path = files.absolute(flags.input)
    use = flags.source or source_for(path)
    rename = renamed(flags)
    trained = model.config.source
    roots = [files.absolute(root) for root in flags.root]
    return Input(use, trained.parameters if use == trained.use else {}, path, trained.id, rename, roots=roots)


def check_input(model: TrainedModel, job_input: Input, rows: Sequence[Mapping[str, Any]]) -> None:
    """The first rows have an id, and a column of a field that some head reads.

    Raises:
        MmstreamError: they have not; nothing has been touched yet.
    """
    columns = {column for row in rows for column, value in row.items() if value is not None}
    if rows and job_input.id is not None and job_input.id not in columns:
        raise MmstreamError(
            f"the input has no column {job_input.id!r}, which names a record; say which does with "
            f"--column {job_input.id}=… It has: {listed(sorted(columns))}"
        )
    model.preprocessor.check_columns(rows, needed="any")


def parse_share(text: str) -> Callable[[int], float]:
    """ "5%" or "20" as a function: how many dead letters are allowed among so many records."""
    try:
        number = float(text.removesuffix("%"))
    except ValueError as error:
        raise MmstreamError(f"--max-dead-letters {text}: expected a share as 5%, or a number") from error
    return (lambda read: read * number / 100) if text.endswith("%") else (lambda read: number)
