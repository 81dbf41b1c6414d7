"""What every Beam job does around its pipeline: options, the run's name, progress, failures, the books."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import re
import threading
import warnings
from collections.abc import Iterator, Sequence

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from mmstream import parts, terminal
from mmstream.errors import MmstreamError, UsageError

_IN_PROCESS = "apache_beam.runners.portability.fn_api_runner.FnApiRunner"
_PROGRESS_SECONDS = 0.5


@dataclasses.dataclass(frozen=True)
class Books:
    """What became of the records of a run.

    Attributes:
        read: rows that the source gave.
        done: labelled, or turned into examples, in this run.
        dead_lettered: in this run.
        skipped: left as an earlier run made them.
        kept: rows and letters of other inputs that the output still holds.
        committed: rows or examples that the output holds now.
        committed_letters: dead letters that it holds now.
    """

    read: int
    done: int
    dead_lettered: int
    skipped: int
    kept: int
    committed: int
    committed_letters: int


def beam_options(flags: Sequence[str]) -> PipelineOptions:
    """Beam's options from the flags that the job itself does not know; runs in process unless a runner is named.

    Raises:
        UsageError: Beam does not know a flag either.
    """
    options = PipelineOptions(list(flags))
    known = {name for kind in PipelineOptions.__subclasses__() for name in options.view_as(kind).get_all_options()}
    for flag in flags:
        name = flag.removeprefix("--").removeprefix("no_").partition("=")[0]
        if flag.startswith("--") and name not in known:
            raise UsageError(f"unknown option {flag.partition('=')[0]!r}, which Beam does not know either")
    if options.view_as(StandardOptions).runner in (None, "DirectRunner", "direct"):
        options.view_as(StandardOptions).runner = _IN_PROCESS
    return options


def new_run() -> str:
    """The name of a run: when it started, UTC, to the microsecond."""
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H-%M-%S.%fZ")


@contextlib.contextmanager
def pipeline(options: PipelineOptions) -> Iterator[beam.Pipeline]:
    """A pipeline that is run, to its end, on leaving; a failure that users can mend comes out as such.

    Raises:
        MmstreamError: a stage raised one.
        RuntimeError: anything else went wrong in a stage.
    """
    terminal.quieten_loggers()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with beam.Pipeline(options=options) as built:
                yield built
    except MmstreamError:
        raise
    except RuntimeError as error:  # a runner hands on what a worker raised as the text of its traceback
        found = re.search(r"^mmstream\.errors\.\w+: (.*?)(?: \[while running .*|\n\n|\Z)", str(error), re.S | re.M)
        if found is None:
            raise
        raise MmstreamError(found[1].strip()) from error


@contextlib.contextmanager
def progress(title: str, output: str, run: str, plan: parts.Plan) -> Iterator[None]:
    """A line that follows the parts of a run until the block ends; nothing where the output is no terminal."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[books]}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(title, total=plan.parts, books="")
        ended = threading.Event()

        def follow() -> None:
            while not ended.wait(_PROGRESS_SECONDS):
                totals = parts.read_run(output, run)
                books = (
                    f"{totals['parts']}/{plan.parts} parts · {totals.get('read', 0):,} records · "
                    f"{totals.get('dead_lettered', 0):,} dead letters"
                )
                bar.update(task, completed=totals["parts"], books=books)

        thread = threading.Thread(target=follow, name="progress")
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()


def settle(output: str, run: str, plan: parts.Plan, done: str) -> Books:
    """Close the books of a run: what was read at the source must be what the parts account for and hold.

    Args:
        output: directory of the output.
        run: the run's start.
        plan: of the output.
        done: name of the count of good records in this run's notes, as "labelled".

    Raises:
        MmstreamError: they do not balance.
    """
    totals = parts.read_run(output, run)
    commits = [parts.read_commit(output, part) for part in range(plan.parts)]
    missing = [parts.part_name(part) for part, commit in enumerate(commits) if commit is None]
    letters = sum(commit.counts["dead_lettered"] for commit in commits if commit)
    rows = sum(sum(commit.counts.values()) for commit in commits if commit) - letters
    books = Books(
        totals.get("rows", 0),
        totals.get(done, 0),
        totals.get("dead_lettered", 0),
        totals.get("skipped", 0),
        totals.get("kept", 0),
        rows,
        letters,
    )
    accounted = books.done + books.dead_lettered + books.skipped
    held = books.committed + books.committed_letters - books.kept
    if missing or not books.read == totals.get("read") == accounted == held:
        raise MmstreamError(
            f"the books of {output} do not balance: {books.read} read at the source, {totals.get('read')} reached the "
            f"parts, {accounted} accounted for, {held} held, parts without a commit record: {missing or 'none'}. "
            "Run the same command again; if this repeats, it is a bug"
        )
    return books
