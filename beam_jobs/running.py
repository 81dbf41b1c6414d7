"""Shared by all Beam jobs, around their pipelines: handling Beam's options, and failures."""

from __future__ import annotations

import argparse
import contextlib
import logging
import re
import shutil
import warnings
from collections.abc import Callable, Iterator, Sequence

import apache_beam as beam
from apache_beam.options.pipeline_options import JobServerOptions, PipelineOptions, StandardOptions

from mmstream import terminal
from mmstream.errors import NO_SPACE, MmstreamError, UsageError
from mmstream.options.flags import LOCAL_RUNNERS, add_speech_flags
from mmstream.options.idle_flags import refuse
from mmstream.supervision import worker

_IN_PROCESS = "apache_beam.runners.portability.fn_api_runner.FnApiRunner"


def _kinds_of(error: type[Exception]) -> Iterator[str]:
    """The names, as in tracebacks, of a class of errors and of those subclasses that are not the code's fault."""
    if not issubclass(error, ValueError):
        module = "" if error.__module__ == "builtins" else f"{error.__module__}."
        yield re.escape(f"{module}{error.__qualname__}")
    for kind in error.__subclasses__():
        yield from _kinds_of(kind)


_EXHAUSTED = r"tensorflow\.python\.framework\.errors_impl\.ResourceExhaustedError"
_KINDS = (
    r"mmstream\.errors\.\w+",
    *dict.fromkeys(_kinds_of(OSError)),
    r"tensorflow\.python\.framework\.errors_impl\.(?:PermissionDenied|NotFound)Error",
    rf"{_EXHAUSTED}(?=: [^\n]*{NO_SPACE})",
)
_MENDABLE = re.compile(rf"^(?:{'|'.join(_KINDS)}): (.*?)(?: \[while running .*|\n\n|\Z)", re.DOTALL | re.MULTILINE)
"""The last line of a traceback of an error that users can fix: one of mmstream's, a full disk, a missing permission."""
_INTERRUPTED = re.compile(r"^KeyboardInterrupt(?:$|: | \[while running )", re.MULTILINE)
_OUT_OF_MEMORY = re.compile(
    rf"^(?:[\w.]*MemoryError|{_EXHAUSTED}(?!: [^\n]*{NO_SPACE}))"
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


def main(
    name: str,
    summary: str | None,
    add_flags: Callable[[argparse.ArgumentParser], None],
    run: Callable[[argparse.Namespace, list[str]], int],
    argv: Sequence[str] | None,
) -> int:
    """Run a job file as a program; returns its exit code.

    Args:
        name: name of the module in `beam_jobs`.
        summary: what it does.
        add_flags: adds the job's flags to a parser.
        run: does it, given the job's flags and those for Beam.
        argv: the command line; None for that of this process.
    """
    parser = terminal.Parser(prog=f"python -m beam_jobs.{name}", description=summary)
    add_flags(parser)
    add_speech_flags(parser)
    flags, beam_flags = parser.parse_known_args(argv)
    terminal.set_mode(flags.speech)
    return terminal.exit_code(parser, lambda: run(flags, beam_flags))


def beam_options(flags: Sequence[str]) -> PipelineOptions:
    """Beam's options, from the flags that the job does not know; if they name no runner, pipelines run in this process.

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


def check_supervised(flags: argparse.Namespace, add_flags: Callable[[argparse.ArgumentParser], None]) -> None:
    """Check that there is a supervisor if the flags ask for hung workers to be ended and no stage of the job ends them.

    Args:
        flags: flags of the job.
        add_flags: adds the job's flags to a parser.

    Raises:
        UsageError: the flags ask for it, and there is no supervisor.
    """
    if not worker.is_supervised():
        refuse(flags, add_flags, ["stall-timeout"], "here: only the `mmstream` command on one machine has a supervisor")


def is_in_process(options: PipelineOptions) -> bool:
    """Whether pipelines run in this process, which cannot run streaming ones."""
    return options.view_as(StandardOptions).runner in (*LOCAL_RUNNERS, _IN_PROCESS)


def _tie_job_server(options: JobServerOptions) -> None:
    """Have Beam's Java job server stop when this process ends, even if this process is killed; Linux only."""
    java = options.job_server_java_launcher
    if shutil.which("setpriv"):  # of util-linux
        options.job_server_java_launcher = "setpriv"
        options.job_server_jvm_properties = ["--pdeathsig", "KILL", java, *options.job_server_jvm_properties]


@contextlib.contextmanager
def pipeline(options: PipelineOptions) -> Iterator[beam.Pipeline]:
    """A pipeline that runs to its end when the block is left.

    Raises:
        MmstreamError: a stage raised one, or something else failed that users can fix.
        RuntimeError: anything else went wrong in a stage.
    """
    terminal.quieten_loggers()
    with mendable(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with beam.Pipeline(options=options) as built:
            yield built


@contextlib.contextmanager
def mendable() -> Iterator[None]:
    """While the block runs, raise a pipeline's failure as an MmstreamError if users can fix it.

    Raises:
        MmstreamError: a stage raised one, or something else failed that users can fix.
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
            if any(match.start() > last for match in pattern.finditer(text)):
                raise kind from error
        messages = [each[1].strip() for each in mendable]
        if not messages and (unreachable := _UNREACHABLE.search(text)):
            messages = [f"the runner cannot reach its cluster: {unreachable[0]}"]
        if not messages:
            raise
        logging.getLogger(__name__).exception("the pipeline failed")  # to the log of the run
        raise MmstreamError(messages[-1]) from error
