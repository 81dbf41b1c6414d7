"""What every Beam job does around its pipeline: options, the run's name, progress, failures."""

from __future__ import annotations

import argparse
import contextlib
import datetime
import logging
import re
import shutil
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import apache_beam as beam
from apache_beam.options.pipeline_options import JobServerOptions, PipelineOptions, StandardOptions
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.text import Text

from mmstream import books, files, terminal
from mmstream import scratch as temporary
from mmstream.errors import MmstreamError, UsageError
from mmstream.flags import LOCAL_RUNNERS, add_speech_flags

_IN_PROCESS = "apache_beam.runners.portability.fn_api_runner.FnApiRunner"


def _kinds_of(error: type[Exception]) -> Iterator[str]:
    """The names, as tracebacks have them, of a class of errors and of all below it that are no fault of the code."""
    if not issubclass(error, ValueError):
        module = "" if error.__module__ == "builtins" else f"{error.__module__}."
        yield re.escape(f"{module}{error.__qualname__}")
    for kind in error.__subclasses__():
        yield from _kinds_of(kind)


_KINDS = (
    r"mmstream\.errors\.\w+",
    *dict.fromkeys(_kinds_of(OSError)),
    r"tensorflow\.python\.framework\.errors_impl\.(?:PermissionDenied|NotFound)Error",
)
_MENDABLE = re.compile(rf"^(?:{'|'.join(_KINDS)}): (.*?)(?: \[while running .*|\n\n|\Z)", re.DOTALL | re.MULTILINE)
"""A traceback's last line, of an error that users can mend: one of mmstream's, a full disk, a missing permission."""
_INTERRUPTED = re.compile(r"^KeyboardInterrupt(?:$|: | \[while running )", re.MULTILINE)
_OUT_OF_MEMORY = re.compile(
    r"^(?:[\w.]*MemoryError|tensorflow\.python\.framework\.errors_impl\.ResourceExhaustedError)"
    r"(?:$|: | \[while running )",
    re.MULTILINE,
)
_UNREACHABLE = re.compile(r"java\.net\.\w+: .*")
"""What a job server says when it cannot reach the cluster."""
_OF_FLINK = (
    *("checkpointing_interval", "finish_bundle_before_checkpointing", "min_pause_between_checkpoints"),
    *("max_bundle_time_mills", "savepoint_path", "state_backend_storage_path"),
)
"""Options, given as --name=value, that only the Java side of the Flink runner knows."""
_LINE_SECONDS = 1
_MESSAGE_SECONDS = 30


def main(
    name: str,
    summary: str | None,
    add_flags: Callable[[argparse.ArgumentParser], None],
    run: Callable[[argparse.Namespace, list[str]], int],
    argv: Sequence[str] | None,
) -> int:
    """Run a job file as a program; returns its exit code.

    Args:
        name: of the module in `beam_jobs`.
        summary: what it does.
        add_flags: adds the job's flags to a parser.
        run: does it, given the flags and those that go to Beam.
        argv: the command line, None for this process's.
    """
    parser = terminal.Parser(prog=f"python -m beam_jobs.{name}", description=summary)
    add_flags(parser)
    add_speech_flags(parser)
    flags, beam_flags = parser.parse_known_args(argv)
    terminal.set_mode(flags.speech)
    return terminal.exit_code(parser, lambda: run(flags, beam_flags))


def beam_options(flags: Sequence[str]) -> PipelineOptions:
    """Beam's options from the flags that the job itself does not know; runs in process unless a runner is named.

    Raises:
        UsageError: Beam does not know a flag either.
    """
    options = PipelineOptions(list(flags))
    parsers: list[argparse.ArgumentParser] = []
    options.get_all_options(add_extra_args_fn=parsers.append)
    _, others = parsers[0].parse_known_args(list(flags))
    unknown = [flag for flag in others if flag.lstrip("-").partition("=")[0] not in _OF_FLINK]
    if unknown:
        raise UsageError(f"unknown option {unknown[0].partition('=')[0]!r}, which Beam does not know either")
    if is_in_process(options):
        options.view_as(StandardOptions).runner = _IN_PROCESS
    _tie_job_server(options.view_as(JobServerOptions))
    return options


def is_in_process(options: PipelineOptions) -> bool:
    """Whether pipelines run in this process, which cannot run those without an end."""
    return options.view_as(StandardOptions).runner in (*LOCAL_RUNNERS, _IN_PROCESS)


def _tie_job_server(options: JobServerOptions) -> None:
    """Let the Java job server that Beam starts end with this process, also when this is killed; Linux can do that."""
    java = options.job_server_java_launcher
    if shutil.which("setpriv"):  # of util-linux
        options.job_server_java_launcher = "setpriv"
        options.job_server_jvm_properties = ["--pdeathsig", "KILL", java, *options.job_server_jvm_properties]


@contextlib.contextmanager
def pipeline(options: PipelineOptions) -> Iterator[beam.Pipeline]:
    """A pipeline that is run, to its end, on leaving.

    Raises:
        MmstreamError: a stage raised one, or something else went wrong that users can mend.
        RuntimeError: anything else went wrong in a stage.
    """
    terminal.quieten_loggers()
    with mendable(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with beam.Pipeline(options=options) as built:
            yield built


@contextlib.contextmanager
def mendable() -> Iterator[None]:
    """While the block runs, a failure of a pipeline that users can mend comes out as such.

    Raises:
        MmstreamError: a stage raised one, or something else went wrong that users can mend.
        KeyboardInterrupt: a stage was interrupted.
        MemoryError: memory ran out in a stage.
        RuntimeError: anything else went wrong in a stage.
    """
    try:
        yield
    except MmstreamError:
        raise
    except RuntimeError as error:  # a runner hands on what a worker raised as the text of its traceback
        text = str(error)
        mendable = list(_MENDABLE.finditer(text))
        last = max((each.start() for each in mendable), default=-1)
        for kind, pattern in ((KeyboardInterrupt, _INTERRUPTED), (MemoryError, _OUT_OF_MEMORY)):
            if any(found.start() > last for found in pattern.finditer(text)):
                raise kind from error
        found = [each[1].strip() for each in mendable]
        if not found and (unreachable := _UNREACHABLE.search(text)):
            found = [f"the runner cannot reach its cluster: {unreachable[0]}"]
        if not found:
            raise
        logging.getLogger(__name__).exception("the pipeline failed")  # to the log of the run
        raise MmstreamError(found[-1]) from error


@contextlib.contextmanager
def scratch(output: str) -> Iterator[str]:
    """A folder for what a run needs in between: of this machine, or in the output where that is not."""
    if not files.is_remote(output):
        with temporary.folder() as here:
            yield str(here)
        return
    folder = files.join(output, "scratch")
    yield folder
    files.remove_folder(folder)


@contextlib.contextmanager
def log(output: str, run: str) -> Iterator[None]:
    """While the block runs, what libraries say goes to `logs/<start>.log` of the output."""
    name = f"{run}.log"
    with tempfile.TemporaryDirectory(prefix="mmstream-") as scratch:
        path = Path(scratch if files.is_remote(output) else output, "logs", name)
        try:
            with terminal.library_log(path):
                yield
        finally:
            if files.is_remote(output):
                files.write_bytes(files.join(output, "logs", name), path.read_bytes())


@contextlib.contextmanager
def status(title: str) -> Iterator[Callable[[str], None]]:
    """How a job without an end shows how it stands: one line on a terminal, a message now and then elsewhere."""
    if terminal.is_interactive():
        with Console(stderr=True).status("") as line:
            yield lambda facts: line.update(Text(f"{title}: {facts}"))
        return
    said, when = "", -float(_MESSAGE_SECONDS)

    def show(facts: str) -> None:
        nonlocal said, when
        if facts != said and time.monotonic() - when >= _MESSAGE_SECONDS:
            said, when = facts, time.monotonic()
            terminal.say(f"{title}: {facts}")

    yield show


@contextlib.contextmanager
def progress(title: str, output: str, run: str, rows: int) -> Iterator[None]:
    """Follow a run until the block ends: one line on a terminal, a message now and then elsewhere.

    Args:
        title: of the line.
        output: directory of the output, where parts note what they have done.
        run: the run's start.
        rows: how many records there are.
    """
    started = time.monotonic()
    noted = books.Run(output, run)
    ended = threading.Event()
    interactive = terminal.is_interactive()

    def follow(show: Callable[[int, str], None]) -> None:
        while not ended.wait(_LINE_SECONDS if interactive else _MESSAGE_SECONDS):
            totals = noted.read()
            done, letters = totals["read"], totals["dead_lettered"]
            rate = done / (time.monotonic() - started)
            left = datetime.timedelta(seconds=round((rows - done) / rate)) if rate else "?"
            show(done, f"{done:,}/{rows:,} records · {rate:,.0f}/s · {left} left · {letters:,} dead letters")

    with contextlib.ExitStack() as stack:
        if interactive:
            columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[facts]}"))
            bar = stack.enter_context(Progress(*columns, console=Console(stderr=True), transient=True))
            task = bar.add_task(title, total=rows, facts="")
            show = lambda done, facts: bar.update(task, completed=done, facts=facts)  # noqa: E731
        else:
            show = lambda done, facts: terminal.say(f"{title}: {facts}")  # noqa: E731
        thread = threading.Thread(target=follow, args=(show,), name="progress")
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
