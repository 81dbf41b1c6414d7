"""Label records as they arrive, on a Beam runner that supports streaming: `mmstream label --streaming`."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from beam_jobs import running
from mmstream import terminal
from mmstream.errors import MmstreamError, UsageError, describe
from mmstream.inputs.input import Input
from mmstream.inputs.items import columns_of
from mmstream.inputs.sources import source_of_scheme
from mmstream.interfaces import Row
from mmstream.jobs.labelling import RECORDS_OF_A_STREAM, Job, check_input, input_for, open_model, opened, take_over
from mmstream.jobs.progress import status
from mmstream.jobs.renaming import check_given
from mmstream.jobs.watch import await_records, check_endless
from mmstream.options.jobs import StreamOptions
from mmstream.outputs import commit_records, lock, reconciliation
from mmstream.runtime.concurrency import one_tensorflow_thread
from mmstream.stages.stream import LabelStream, ReadStream, publisher_for
from mmstream.storage import files
from mmstream.storage.json_files import write_json
from mmstream.trained_model.artefact import TrainedModel
from mmstream.trained_model.successors import Successors
from mmstream.trained_model.versions import versions_of

_LOOK_SECONDS = 2.0
_STREAMS_SECONDS = 60.0
_SAMPLE_SECONDS = 5.0
"""Seconds that a stream may take to give its first rows, which are checked."""
_ON_FLINK = {"--checkpointing_interval": 10_000, "--max_bundle_time_mills": 200}
"""Milliseconds, unless the user says otherwise. Between two stages a record waits for the end of its bundle."""


@one_tensorflow_thread()
def run(options: StreamOptions, beam_flags: Sequence[str]) -> None:
    """Run the pipeline until a signal asks it to stop, or the runner ends it.

    Raises:
        MmstreamError: it cannot start, or cannot go on.
    """
    started = time.monotonic()
    pipeline_options = _pipeline_options(options, beam_flags)
    with terminal.until_asked_to_end() as ending, status("stream") as show:
        if options.publish:
            _check_publisher(options.publish)
        model = open_model(options)
        job_input = _input(model, options, ending, show)
        if job_input is None:
            return
        with opened(options, model, job_input, RECORDS_OF_A_STREAM) as job:
            kept, streams = _Books(options, job, model, started), _Streams(job.input)
            if ending.asked:
                return
            pipeline = _Running(_build(options, job, model, pipeline_options))
            try:
                while not ending.wait(_LOOK_SECONDS) and pipeline.is_running():
                    held = kept.write()
                    show(f"{held['rows']:,} labelled · {held['dead_letters']:,} dead letters")
                    streams.check()
            finally:
                pipeline.end()
            held = kept.write()
    terminal.summary("stream", {**held, "labels": files.join(options.output, "labels")})


class _Streams:
    """Detects streams that were added to an input later: a runner learns the names of streams only once.

    Args:
        job_input: the input.
    """

    def __init__(self, job_input: Input) -> None:
        self._input, self._source = job_input, job_input.source()
        self._names = set(self._source.streams(job_input.path))
        self._looked = time.monotonic()

    def check(self) -> None:
        """Look for new streams, from time to time.

        Raises:
            MmstreamError: the streams have changed.
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
                f"{self._input.path} has partitions that it did not have when the job started: "
                f"{', '.join(sorted(others))}. Start the job again without a savepoint; records that the "
                "output already holds are left alone"
            )


class _Books:
    """Keeps label.json up to date, and job.json, too, when the workers have switched to a newer model.

    Args:
        options: options of the job.
        job: the job that holds the output.
        model: the model that labels.
        started: when the job started, by the monotonic clock.
    """

    def __init__(self, options: StreamOptions, job: Job, model: TrainedModel, started: float) -> None:
        self._output, self._run, self._parts = options.output, job.run, job.plan.parts
        self._model, self._started = model, started
        self._successors = Successors(options.follow, model) if options.follow else None
        self._known = {model.fingerprint}
        """Fingerprints of this model, and of those before it."""

    def write(self) -> dict[str, int]:
        """Write label.json; returns what the output holds, by commit records. How often a record was read is unknown.

        Raises:
            MmstreamError: another job has taken the output over.
        """
        lock.check(self._output, self._run)
        records = list(commit_records.every_recorded(self._output, self._parts))
        self._go_over({commit.fingerprint for commit in records if commit} - self._known)
        held = reconciliation.held_by(records)
        counts = {"rows": held.total() - held["dead_lettered"], "dead_letters": held["dead_lettered"]}
        about: dict[str, Any] = {
            **counts,
            "fingerprint": self._model.fingerprint,
            "plugins": versions_of(self._model.config),
            "seconds": round(time.monotonic() - self._started, 3),
        }
        try:
            write_json(files.join(self._output, "label.json"), about)
        except OSError as error:  # the workers report such an error themselves
            terminal.warn(f"cannot write label.json: {describe(error)}")
        return counts

    def _go_over(self, new: set[str]) -> None:
        """Take over the newer model if its fingerprint is among these, which workers use; the others are older."""
        for fingerprint in new:
            newer = self._successors.with_fingerprint(fingerprint) if self._successors else None
            if newer:
                self._known.add(fingerprint)
                self._model = newer
                take_over(self._output, newer, self._run)


def _input(
    model: TrainedModel, options: StreamOptions, ending: terminal.Ending, show: Callable[[str], None]
) -> Input | None:
    """The input, checked against the records that have arrived; None if asked to stop before any had.

    Raises:
        MmstreamError: the input cannot be reached, or the model cannot read its first records.
    """
    if not source_of_scheme(options.input):
        records = await_records(model, options, ending, show, {})
        return records[0] if records else None
    job_input = input_for(model, options)
    rows = list(_first_rows(job_input))
    check_given(job_input, rows)
    check_input(model, job_input, columns_of(rows, job_input))
    return job_input


def _first_rows(job_input: Input) -> Iterator[Row]:
    """The first rows of each stream, if any have arrived.

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
    """Connect once, so that a wrong URI is reported before anything has begun.

    Raises:
        MmstreamError: nothing can be published there.
    """
    publisher = publisher_for(uri)
    publisher.open(uri)
    publisher.close()


class _Running:
    """A pipeline that runs elsewhere.

    Args:
        pipeline: the pipeline to run.

    Raises:
        MmstreamError: it cannot be started.
    """

    def __init__(self, pipeline: beam.Pipeline) -> None:
        terminal.quieten_loggers()
        with running.mendable(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._result = pipeline.run()
        self._error: BaseException | None = None
        self._asked = False
        self._thread = threading.Thread(target=self._wait, name="pipeline", daemon=True)
        self._thread.start()

    def is_running(self) -> bool:
        """Whether it is still running."""
        return self._thread.is_alive()

    def end(self) -> None:
        """Cancel it if it is still running.

        Raises:
            MmstreamError: it has failed in a way that users can fix.
            RuntimeError: it has failed in another way.
        """
        if self.is_running():
            self._asked = True
            self._result.cancel()
        self._thread.join()
        if self._error is not None and not self._asked:
            with running.mendable():
                raise self._error

    def _wait(self) -> None:
        try:
            self._result.wait_until_finish()
        except Exception as error:  # noqa: BLE001 - it is raised again by `end`, in the thread that waits for it
            self._error = error


def _pipeline_options(options: StreamOptions, beam_flags: Sequence[str]) -> PipelineOptions:
    """Beam's options, for streaming with checkpoints.

    Raises:
        UsageError: an option makes no sense for a stream.
    """
    check_endless(options)
    if options.publish.rstrip("/") == options.input.rstrip("/"):
        raise UsageError(f"--publish {options.publish} is the input, which would then feed itself forever")
    if any("flinkrunner" in flag.lower() for flag in beam_flags):
        # Otherwise what a bundle has given when a checkpoint ends it waits for the next bundle, which may never come.
        beam_flags = [*beam_flags, "--finish_bundle_before_checkpointing"]
        given = {flag.partition("=")[0] for flag in beam_flags}
        beam_flags = [*beam_flags, *(f"{name}={value}" for name, value in _ON_FLINK.items() if name not in given)]
    pipeline_options = running.beam_options([*beam_flags, "--streaming"])
    if running.is_in_process(pipeline_options):
        raise UsageError("--streaming needs a runner that supports streaming, such as --runner=FlinkRunner")
    return pipeline_options


def _build(options: StreamOptions, job: Job, model: TrainedModel, pipeline_options: PipelineOptions) -> beam.Pipeline:
    pipeline = beam.Pipeline(options=pipeline_options)
    _ = (
        pipeline
        | ReadStream(job.input, model.preprocessor.reads(), options.output, options.every)
        | LabelStream(
            model=dataclasses.replace(job.model, follow=options.follow),  # each worker switches on its own
            sink=options.sink,
            sink_options=options.sink_options,
            job_input=job.input,
            output=options.output,
            run=job.run,
            parts=job.plan.parts,
            threads=options.threads,
            latency=options.max_latency,
            stall_seconds=options.stall_seconds,
            publish=options.publish,
        )
    )
    return pipeline
