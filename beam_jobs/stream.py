"""Label what arrives, on a Beam runner that has streams: `mmstream label --streaming`."""

from __future__ import annotations

import argparse
import contextlib
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from beam_jobs.label_job import RECORDS_OF_A_STREAM, Job, check_input, input_for, open_model, opened, take_over
from beam_jobs.watch import await_records, check_flags
from mmstream import books, commits, files, jobs, lock, terminal
from mmstream.errors import MmstreamError, UsageError, describe
from mmstream.interfaces import Row
from mmstream.json_files import write_json
from mmstream.sources import source_of_scheme
from mmstream.stages.reading import Input, columns_of
from mmstream.stages.stream import LabelStream, ReadStream, publisher_for
from mmstream.successors import Successors
from mmstream.trained_model import TrainedModel, versions_of

_LOOK_SECONDS = 2.0
_STREAMS_SECONDS = 60.0
_SAMPLE_SECONDS = 5.0
"""So long a stream may take to give its first rows, which are checked."""
_ON_FLINK = {"--checkpointing_interval": 10_000, "--max_bundle_time_mills": 200}
"""Milliseconds, unless the user says otherwise. Between two stages a record waits for the end of its bundle."""


def run(flags: argparse.Namespace, beam_flags: Sequence[str]) -> int:
    """Run the pipeline until a signal asks to end, or the runner ends it; returns the exit code.

    Raises:
        MmstreamError: it cannot start, or cannot go on.
    """
    started = time.monotonic()
    options = _options(flags, beam_flags)
    with terminal.until_asked_to_end() as ending, jobs.status("stream") as show:
        if flags.publish:
            _check_publisher(flags.publish)
        model = open_model(flags)
        job_input = _input(model, flags, ending, show)
        if job_input is None:
            return 0
        with opened(flags, model, job_input, RECORDS_OF_A_STREAM) as job:
            kept, streams = _Books(flags, job, model, started), _Streams(job.input)
            if ending.asked:
                return 0
            pipeline = _Running(_build(flags, job, model, options))
            try:
                while not ending.wait(_LOOK_SECONDS) and pipeline.is_running():
                    held = kept.write()
                    show(f"{held['rows']:,} labelled · {held['dead_letters']:,} dead letters")
                    streams.check()
            finally:
                pipeline.end()
            held = kept.write()
    terminal.summary("stream", {**held, "labels": files.join(flags.output, "labels")})
    return 0


class _Streams:
    """Sees to it that all streams of an input are read: a runner learns their names once.

    Args:
        job_input: the input.
    """

    def __init__(self, job_input: Input) -> None:
        self._input, self._source = job_input, job_input.source()
        self._names = set(self._source.streams(job_input.path))
        self._looked = time.monotonic()

    def check(self) -> None:
        """Look, now and then.

        Raises:
            MmstreamError: there are others now.
        """
        if not self._names or time.monotonic() - self._looked < _STREAMS_SECONDS:
            return
        self._looked = time.monotonic()
        try:
            others = set(self._source.streams(self._input.path)) - self._names
        except MmstreamError:  # whoever has them does not answer; the workers wait for it, too
            return
        if others:
            raise MmstreamError(
                f"{self._input.path} has more partitions than at the start ({', '.join(sorted(others))}); start again, "
                "without a savepoint: what the output holds is passed over"
            )


class _Books:
    """Keeps label.json current, and job.json, when the workers have gone over to a newer model.

    Args:
        flags: of the command.
        job: that holds the output.
        model: that labels.
        started: when, by the monotonic clock.
    """

    def __init__(self, flags: argparse.Namespace, job: Job, model: TrainedModel, started: float) -> None:
        self._output, self._run, self._parts = flags.output, job.run, job.plan.parts
        self._model, self._started = model, started
        self._successors = Successors(flags.follow, model) if flags.follow else None
        self._known = {model.fingerprint}
        """Fingerprints of this model, and of those before it."""

    def write(self) -> dict[str, int]:
        """What the output holds, by its commit records. How often a record was read nobody knows.

        Raises:
            MmstreamError: another job has taken the output over.
        """
        lock.check(self._output, self._run)
        records = list(commits.every_recorded(self._output, self._parts))
        self._go_over({commit.fingerprint for commit in records if commit} - self._known)
        held = books.held_by(records)
        found = {"rows": held.total() - held["dead_lettered"], "dead_letters": held["dead_lettered"]}
        about: dict[str, Any] = {
            **found,
            "fingerprint": self._model.fingerprint,
            "plugins": versions_of(self._model.config),
            "seconds": round(time.monotonic() - self._started, 3),
        }
        try:
            write_json(files.join(self._output, "label.json"), about)
        except OSError as error:  # the workers have their own say about it
            terminal.say(f"warning: cannot write label.json: {describe(error)}")
        return found

    def _go_over(self, new: set[str]) -> None:
        """Workers have made labels with models of these fingerprints; one may be newer, the others are older."""
        for fingerprint in new:
            newer = self._successors.with_fingerprint(fingerprint) if self._successors else None
            if newer:
                self._known.add(fingerprint)
                self._model = newer
                take_over(self._output, newer, self._run)


def _input(
    model: TrainedModel, flags: argparse.Namespace, ending: terminal.Ending, show: Callable[[str], None]
) -> Input | None:
    """What is to be read, checked as far as records are there; None if asked to end before there were any.

    Raises:
        MmstreamError: it cannot be reached, or the model cannot read its first records.
    """
    if not source_of_scheme(flags.input):
        found = await_records(model, flags, ending, show, {})
        return found[0] if found else None
    job_input = input_for(model, flags)
    check_input(model, job_input, columns_of(_first_rows(job_input), job_input))
    return job_input


def _first_rows(job_input: Input) -> Iterator[Row]:
    """What stands at the beginning of each stream, as far as it is there.

    Raises:
        MmstreamError: a stream cannot be reached.
    """
    source = job_input.source()
    for name in source.streams(job_input.path):
        until = time.monotonic() + _SAMPLE_SECONDS
        with contextlib.closing(source.stream(job_input.path, name, None)) as stream:
            while not (messages := stream.read()) and time.monotonic() < until:
                continue
        yield from (message.row for message in messages)


def _check_publisher(uri: str) -> None:
    """Connect once, so that a wrong URI is told before anything has begun.

    Raises:
        MmstreamError: nothing can be sent there.
    """
    publisher = publisher_for(uri)
    publisher.open(uri)
    publisher.close()


class _Running:
    """A pipeline that runs elsewhere.

    Args:
        pipeline: that is to run.

    Raises:
        MmstreamError: it cannot be started.
    """

    def __init__(self, pipeline: beam.Pipeline) -> None:
        terminal.quieten_loggers()
        with jobs.mendable(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._result = pipeline.run()
        self._error: BaseException | None = None
        self._asked = False
        self._thread = threading.Thread(target=self._wait, name="pipeline", daemon=True)
        self._thread.start()

    def is_running(self) -> bool:
        """Whether it has not ended yet."""
        return self._thread.is_alive()

    def end(self) -> None:
        """Cancel it if it runs still.

        Raises:
            MmstreamError: it has failed, and users can mend that.
            RuntimeError: it has failed.
        """
        if self.is_running():
            self._asked = True
            self._result.cancel()
        self._thread.join()
        if self._error is not None and not self._asked:
            with jobs.mendable():
                raise self._error

    def _wait(self) -> None:
        try:
            self._result.wait_until_finish()
        except Exception as error:  # noqa: BLE001 - it is raised again by `end`, in the thread that waits for it
            self._error = error


def _options(flags: argparse.Namespace, beam_flags: Sequence[str]) -> PipelineOptions:
    """Beam's options: a stream, with checkpoints.

    Raises:
        UsageError: something makes no sense for a stream.
    """
    check_flags(flags, "--streaming")
    if flags.publish and flags.publish.rstrip("/") == flags.input.rstrip("/"):
        raise UsageError(f"--publish {flags.publish} is the input, which would feed itself for ever")
    if any("flinkrunner" in flag.lower() for flag in beam_flags):
        # Otherwise what a bundle has given when a checkpoint ends it waits for the next bundle, which may never come.
        beam_flags = [*beam_flags, "--finish_bundle_before_checkpointing"]
        given = {flag.partition("=")[0] for flag in beam_flags}
        beam_flags = [*beam_flags, *(f"{name}={value}" for name, value in _ON_FLINK.items() if name not in given)]
    options = jobs.beam_options([*beam_flags, "--streaming"])
    if jobs.is_in_process(options):
        raise UsageError("--streaming needs a runner that has streams, as --runner=FlinkRunner; --watch needs none")
    return options


def _build(flags: argparse.Namespace, job: Job, model: TrainedModel, options: PipelineOptions) -> beam.Pipeline:
    pipeline = beam.Pipeline(options=options)
    _ = (
        pipeline
        | ReadStream(job.input, model.preprocessor.reads(), flags.output, flags.every)
        | LabelStream(
            job.model,
            flags.sink,
            job.sink_options,
            job.input,
            flags.output,
            job.run,
            job.plan.parts,
            flags.threads,
            flags.max_latency,
            flags.stall_timeout,
            flags.publish or "",
        )
    )
    return pipeline
