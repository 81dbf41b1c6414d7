"""The options of the jobs, whether from the command line or from Python."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal

STALL_SECONDS = 600.0
"""A worker counts as hung when it has been processing the same records for this long."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class InputOptions:
    """Options of the input.

    Attributes:
        input: a file, a folder, a pattern such as "shards/*.tar", or the URI of a stream.
        source: name of the component that reads it; None to choose it by the suffix.
        roots: further folders that media may lie in.
        columns: new column name -> the name that it has in the input.
    """

    input: str
    source: str | None = None
    roots: Sequence[str] = ()
    columns: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, kw_only=True)
class JobOptions:
    """Options of every job.

    Attributes:
        output: directory of the output.
        threads: size of the thread pool of each worker process; None for one thread per core of its machine.
        break_lock: take the output over from a job that hangs.
    """

    output: str
    threads: int | None = None
    break_lock: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class LabelOptions(JobOptions, InputOptions):
    """Options of every way of labelling.

    Attributes:
        model: directory of the model.
        embeddings: whether rows get embeddings.
        sink: format of the labels.
        sink_options: parameters of the sink.
        resume: how a rerun sees that a record has changed; None to keep the output's setting, at first that of the
            model's config.
        relabel: replace the labels of another model, part by part.
        prune: remove labels of records that are not in the input.
        expect: the fingerprint that the model must have; None for any.
        stall_seconds: how long work on one record may take where it is tried alone.
        follow: folder of models, the newest of which takes over; "" to keep this model, as in every batch.
    """

    model: str
    embeddings: bool = False
    sink: str = "parquet"
    sink_options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    resume: Literal["values", "metadata", "content"] | None = None
    relabel: bool = False
    prune: bool = False
    expect: str | None = None
    stall_seconds: float = STALL_SECONDS
    follow: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class StreamOptions(LabelOptions):
    """Options of labelling unbounded input.

    Attributes:
        every: seconds between two checks of the files.
        max_latency: seconds that a record may wait for others; only with `--streaming`.
        publish: URI that labels are also sent to, only with `--streaming`; "" for none.
    """

    every: float = 5.0
    max_latency: float = 10.0
    publish: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class TuneOptions:
    """Options of the search for settings.

    Attributes:
        examples: output of `mmstream preprocess`.
        output: local directory of the search.
        trials: how many trials to finish, including those of earlier runs.
        minutes: how long all trials together may take, including those of earlier runs; None for no limit.
        metric: what to optimise, such as "group.accuracy" or "val_loss"; None for the mean of the heads' main metrics.
        seed: determines which values are tried.
        pruning: whether trials that are worse than the median of the others are ended early.
        break_lock: take the output over from a search that hangs.
    """

    examples: str
    output: str
    trials: int = 20
    minutes: float | None = None
    metric: str | None = None
    seed: int = 1
    pruning: bool = True
    break_lock: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReplayOptions(JobOptions):
    """Options of replaying dead letters.

    Attributes:
        only: what a letter must hold, such as {"stage": "decode"}.
        error: a regular expression to find in the class or the message of its error; "" for every error.
        input: the input whose records are tried, if there are several; or the new path of the only one; "" if it has
            not moved.
        model: new path of the model; "" if it has not moved.
        roots: further folders that media may lie in.
    """

    only: Mapping[str, str] = dataclasses.field(default_factory=dict)
    error: str = ""
    input: str = ""
    model: str = ""
    roots: Sequence[str] = ()
