"""The jobs as Python functions. They print nothing, but return results and log to the `mmstream` logger."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from mmstream.config.loading import load_config
from mmstream.config.schema import Config
from mmstream.options.jobs import STALL_SECONDS, JobOptions, LabelOptions, TuneOptions
from mmstream.outputs import ownership
from mmstream.runtime.imports import importing
from mmstream.storage.files import expanded
from mmstream.trained_model.artefact import TrainedModel

Path = str | os.PathLike[str]


def preprocess(
    config: Path | Config,
    *,
    output: Path,
    threads: int | None = None,
    break_lock: bool = False,
    beam_options: Sequence[str] = (),
) -> dict[str, Any]:
    """Turn the dataset that a config names into examples, as `mmstream preprocess` does.

    Args:
        config: the path of a config file, or what `load_config` returned.
        output: directory of the examples; an existing output of this job is brought up to date.
        threads: size of the thread pool of each worker process; None for one thread per core.
        break_lock: whether to take the output over from a job that hangs.
        beam_options: options for Beam, such as "--runner=FlinkRunner"; without a runner, the job runs in this process.

    Returns:
        the contents of preprocess.json: how many records were read, became examples, were dead-lettered or skipped.

    Raises:
        MmstreamError: the job is impossible with this config, data or output.
        OSError: the disk or a remote filesystem failed.
    """
    with importing():
        from beam_jobs import preprocess as job

    options = JobOptions(output=_path(output), threads=threads, break_lock=break_lock)
    loaded = config if isinstance(config, Config) else load_config(_path(config), open_values="first")
    return job.preprocess(loaded, options, beam_options)


def train(config: Path | Config, *, examples: Path, output: Path, break_lock: bool = False) -> TrainedModel:
    """Train the network that a config describes, as `mmstream train` does.

    Args:
        config: the path of a config file, or what `load_config` returned.
        examples: an output of `preprocess`.
        output: a local directory for the model; an interrupted training there is resumed.
        break_lock: whether to take the output over from a training that hangs.

    Returns:
        the model; `history()` gives the losses and metrics of each epoch.

    Raises:
        MmstreamError: the config and the examples do not match, or the output holds something else.
        OSError: the disk failed.
    """
    with importing():
        from mmstream.training import train as training

    return training.train(_loaded(config), _path(examples), _path(output), verbose=0, take_over=break_lock)


def tune(
    config: Path,
    *,
    examples: Path,
    output: Path,
    trials: int = 20,
    minutes: float | None = None,
    metric: str | None = None,
    seed: int = 1,
    pruning: bool = True,
    overrides: Sequence[str] = (),
    break_lock: bool = False,
) -> dict[str, Any]:
    """Search for the best values of those that a config leaves open, as `mmstream tune` does.

    Args:
        config: the path of a config file with open values.
        examples: an output of `preprocess`.
        output: a local directory for the search; an interrupted search there is continued.
        trials: how many trials to finish, including those of earlier calls.
        minutes: how long all trials together may take, including those of earlier calls; None for no limit.
        metric: what to optimise on the validation split, such as "group.accuracy" or "val_loss"; None for the mean of
            the main metrics of all heads.
        seed: determines which values are tried.
        pruning: whether trials that are worse than the median of the others are ended early.
        overrides: such as "training.epochs=3", as for `load_config`.
        break_lock: whether to take the output over from a search that hangs.

    Returns:
        the content of trials.json; the best config is in best.yaml in the output.

    Raises:
        MmstreamError: the config and the examples do not match, the output holds another search, or no trial is
            complete.
        OSError: the disk failed.
    """
    with importing():
        from mmstream.tuning import search

    options = TuneOptions(
        examples=_path(examples),
        output=_path(output),
        trials=trials,
        minutes=minutes,
        metric=metric,
        seed=seed,
        pruning=pruning,
        break_lock=break_lock,
    )
    return search.tune(_path(config), overrides, options)


def evaluate(
    model: Path | TrainedModel,
    *,
    examples: Path,
    split: Literal["train", "validation", "test"] = "test",
    baselines: Literal["none", "fast", "all"] = "fast",
    check_labels: int = 5_000,
) -> dict[str, Any]:
    """Measure a model on a split of its examples, as `mmstream evaluate` does.

    Args:
        model: the directory of the model, or a loaded model.
        examples: the output of `preprocess` that the model was trained on.
        split: the split that is measured.
        baselines: the simple models that the model is compared with; "all" also fits slower models of text. There are
            none for the training split, to which they are fitted.
        check_labels: how many records of the training split, and of the measured one, are checked for wrong labels; 0
            for none.

    Returns:
        the content of metrics.json, which is written into the model's directory, as is the report.

    Raises:
        MmstreamError: the model and the examples do not match, or the split is empty.
        OSError: the disk failed.
    """
    with importing():
        from mmstream.evaluation import evaluate as evaluation

    if not isinstance(model, TrainedModel) or not model.embeddings:
        model = TrainedModel(model.path if isinstance(model, TrainedModel) else _path(model), embeddings=True)
    measured = evaluation.evaluate(model, _path(examples), split, baselines, check_labels)
    measured.write()
    return measured.metrics


def label_files(
    model: Path,
    *,
    input: Path,
    output: Path,
    source: str | None = None,
    roots: Sequence[Path] = (),
    columns: Mapping[str, str] | None = None,
    embeddings: bool = False,
    sink: str = "parquet",
    sink_options: Mapping[str, Any] | None = None,
    resume: Literal["values", "metadata", "content"] | None = None,
    relabel: bool = False,
    prune: bool = False,
    expect: str | None = None,
    threads: int | None = None,
    stall_timeout: float = STALL_SECONDS,
    break_lock: bool = False,
    beam_options: Sequence[str] = (),
) -> dict[str, Any]:
    """Label files with a trained model, as `mmstream label` does.

    Args:
        model: the directory of the model.
        input: what to label: a file, a folder, or a pattern such as "shards/*.tar".
        output: directory that gets labels/, dead_letters/ and label.json; an existing output of this job is brought up
            to date.
        source: name of the component that reads the input; None to choose it by the suffix.
        roots: further folders that media may lie in.
        columns: new column name -> its name in the input.
        embeddings: whether label rows include embeddings.
        sink: the format of the labels.
        sink_options: parameters of the sink.
        resume: how a rerun sees that a record has changed: by its columns, also by the size and time of its files, or
            by their bytes; None to keep the output's setting, at first that of the model's config.
        relabel: whether to replace the labels of another model, part by part.
        prune: whether to remove labels of records that are not in the input.
        expect: the fingerprint that the model must have; None for any.
        threads: size of the thread pool of each worker process; None for one thread per core.
        stall_timeout: how many seconds work on a record may take when it is tried alone.
        break_lock: whether to take the output over from a job that hangs.
        beam_options: options for Beam, such as "--runner=FlinkRunner"; without a runner, the job runs in this process.

    Returns:
        the contents of label.json: how many records were read, labelled, dead-lettered or skipped.

    Raises:
        MmstreamError: the job is impossible with this model, input or output. Records that cannot be labelled raise
            nothing; they become dead letters, and are counted.
        OSError: the disk or a remote filesystem failed.
    """
    with importing():
        from beam_jobs import label as job

    options = LabelOptions(
        model=_path(model),
        input=_path(input),
        output=_path(output),
        source=source,
        roots=[_path(root) for root in roots],
        columns=columns or {},
        embeddings=embeddings,
        sink=sink,
        sink_options=sink_options or {},
        resume=resume,
        relabel=relabel,
        prune=prune,
        expect=expect,
        threads=threads,
        stall_seconds=stall_timeout,
        break_lock=break_lock,
    )
    job.label(options, beam_options)
    return ownership.read_summary(options.output, "label")


def _loaded(config: Path | Config) -> Config:
    return config if isinstance(config, Config) else load_config(_path(config))


def _path(path: Path) -> str:
    return expanded(os.fspath(path))
