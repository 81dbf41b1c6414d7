"""The flags of commands and jobs: the `mmstream` command and the job files take the same ones."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from mmstream.options.jobs import STALL_SECONDS
from mmstream.options.values import count, count_or_none, minutes, seconds, seed
from mmstream.records.record import SPLITS
from mmstream.storage.files import expanded

LOCAL_RUNNERS = (None, "DirectRunner", "direct")
"""Values of --runner with which a job runs in its own process."""
BEAM_EPILOG = "Options that are not listed here, such as --runner=FlinkRunner, are passed on to Beam."


def runner_in(beam_flags: Sequence[str]) -> str | None:
    """The runner that is named in Beam's flags; None if none is."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--runner")
    return parser.parse_known_args(beam_flags)[0].runner


def add_config_flags(parser: argparse.ArgumentParser) -> None:
    """Flags of everything that reads a config."""
    _add_config(parser)
    summary = "override a key, such as training.epochs=3"
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help=summary)
    parser.add_argument("--tiny", action="store_true", help="try the config end to end in seconds, on a few records")


def add_speech_flags(parser: argparse.ArgumentParser) -> None:
    """Flags of every command, for the way in which it reports."""
    how = parser.add_mutually_exclusive_group()
    how.add_argument(
        "--quiet", dest="speech", action="store_const", const="quiet", help="print only warnings and errors"
    )
    how.add_argument(
        "--json-logs", dest="speech", action="store_const", const="json", help="print messages as JSON, one per line"
    )
    parser.set_defaults(speech="text")


def add_init_flags(parser: argparse.ArgumentParser) -> None:
    """Flags of `mmstream init`."""
    parser.add_argument(
        "path", type=expanded, metavar="PATH", help="the data: a file, a folder, or a pattern such as 'shards/*.tar'"
    )
    parser.add_argument(
        "--output", type=expanded, default="config.yaml", metavar="CONFIG", help="file to write (default: config.yaml)"
    )
    text = "a column to predict (repeatable; default: guessed)"
    parser.add_argument("--target", action="append", default=[], metavar="COLUMN", help=text)
    text = "let encoders with pretrained weights, such as those of mmstream-pretrained, read pictures and texts"
    parser.add_argument("--pretrained", action="store_true", help=text)
    _add_source(parser, "data")


def add_describe_flags(parser: argparse.ArgumentParser) -> None:
    """Flags of `mmstream describe`."""
    add_config_flags(parser)
    parser.add_argument(
        "--examples", type=expanded, default="", metavar="DIR", help="take the true vocabularies from these examples"
    )
    add_json_flag(parser)


def add_json_flag(parser: argparse.ArgumentParser) -> None:
    """Flags of commands whose result may be JSON."""
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def add_preprocess_flags(parser: argparse.ArgumentParser) -> None:
    """Flags of `mmstream preprocess`."""
    parser.epilog = BEAM_EPILOG
    add_config_flags(parser)
    parser.add_argument(
        "--output", type=expanded, required=True, metavar="DIR", help="for examples/, transform/, dead_letters/, …"
    )
    _add_job_flags(parser)


def add_train_flags(parser: argparse.ArgumentParser) -> None:
    """Flags of `mmstream train`."""
    add_config_flags(parser)
    parser.add_argument(
        "--examples", type=expanded, required=True, metavar="DIR", help="output of `mmstream preprocess`"
    )
    parser.add_argument("--output", type=expanded, required=True, metavar="MODEL", help="the model's directory")
    add_break_lock_flag(parser)
    add_json_flag(parser)


def add_tune_flags(parser: argparse.ArgumentParser) -> None:
    """Flags of `mmstream tune`."""
    add_config_flags(parser)
    parser.add_argument(
        "--examples", type=expanded, required=True, metavar="DIR", help="output of `mmstream preprocess`"
    )
    parser.add_argument(
        "--output", type=expanded, required=True, metavar="DIR", help="for best.yaml, trials.json and trials/"
    )
    total = "including those of earlier runs"
    summary = f"how many trials to finish, {total} (default: 20)"
    parser.add_argument("--trials", type=count, default=20, metavar="N", help=summary)
    summary = f"how long all trials together may take, {total} (default: no limit)"
    parser.add_argument("--minutes", type=minutes, metavar="M", help=summary)
    summary = (
        "what to optimise on the validation split, such as group.accuracy or val_loss (default: the mean of the main "
        "metrics of all heads)"
    )
    parser.add_argument("--metric", metavar="METRIC", help=summary)
    summary = "determines which values are tried (default: 1)"
    parser.add_argument("--seed", type=seed, default=1, metavar="N", help=summary)
    summary = "train every trial to its end, even if it is worse than most others"
    parser.add_argument("--no-pruning", action="store_true", help=summary)
    add_break_lock_flag(parser)
    add_json_flag(parser)


def add_model_flag(parser: argparse.ArgumentParser) -> None:
    """Flags of everything that reads a model."""
    parser.add_argument("model", type=expanded, metavar="MODEL", help="directory that `mmstream train` made")


def add_export_flags(parser: argparse.ArgumentParser) -> None:
    """Flags of `mmstream export`."""
    add_model_flag(parser)
    parser.add_argument(
        "--to", type=expanded, required=True, metavar="DIR", help="for the SavedModel; must not exist yet"
    )
    _add_embeddings(parser, "also output the embeddings of each record")


def add_evaluate_flags(parser: argparse.ArgumentParser) -> None:
    """Flags of `mmstream evaluate`."""
    add_model_flag(parser)
    parser.add_argument(
        "--examples",
        type=expanded,
        required=True,
        metavar="DIR",
        help="output of `mmstream preprocess` that the model was trained on",
    )
    _add_split(parser)
    _add_baselines(parser, "none", "fast", "all")
    summary = "how many records of each split to check for wrong labels; 0 for none (default: 5000)"
    parser.add_argument("--check-labels", type=count_or_none, default=5_000, metavar="N", help=summary)
    add_json_flag(parser)


def add_baseline_flags(parser: argparse.ArgumentParser) -> None:
    """Flags of `mmstream baseline`."""
    _add_config(parser)
    parser.add_argument(
        "--examples", type=expanded, required=True, metavar="DIR", help="output of `mmstream preprocess`"
    )
    _add_split(parser)
    _add_baselines(parser, "fast", "all")
    add_json_flag(parser)


def add_compare_flags(parser: argparse.ArgumentParser) -> None:
    """Flags of `mmstream compare`."""
    parser.add_argument(
        "models", type=expanded, metavar="MODEL", nargs="+", help="directories that `mmstream train` made"
    )
    summary = "output of `mmstream preprocess` that fits all models, or one for each, in the same order (repeatable)"
    parser.add_argument("--examples", type=expanded, action="append", required=True, metavar="DIR", help=summary)
    _add_split(parser)
    _add_baselines(parser, "none", "fast", "all")
    add_json_flag(parser)


def _add_config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", type=expanded, metavar="CONFIG", help="the YAML file")


def _add_baselines(parser: argparse.ArgumentParser, *efforts: str) -> None:
    summary = "simple models to compare with; `all` also fits slower models of text (default: fast)"
    parser.add_argument("--baselines", default="fast", choices=efforts, help=summary)


def _add_split(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--split", default="test", choices=SPLITS)


def add_verify_flags(parser: argparse.ArgumentParser) -> None:
    """Flags of `mmstream verify`."""
    add_model_flag(parser)
    _add_input(parser, "also compare the results of all code paths on these records", required=False)
    parser.add_argument("--records", type=count, default=64, metavar="N", help="how many to compare (default: 64)")


def _add_source(parser: argparse.ArgumentParser, what: str) -> None:
    parser.add_argument("--source", metavar="NAME", help=f"how to read the {what} (default: chosen by its suffix)")


def _add_root(parser: argparse.ArgumentParser) -> None:
    summary = "another folder from which media may be read (repeatable)"
    parser.add_argument("--root", type=expanded, action="append", default=[], metavar="DIR", help=summary)


def _add_input(parser: argparse.ArgumentParser, summary: str, *, required: bool) -> None:
    """Flags for the input, its source, the folders of its media, and the names of its columns."""
    parser.add_argument("--input", type=expanded, required=required, metavar="PATH", help=summary)
    _add_source(parser, "input")
    _add_root(parser)
    rename = "read the input's column OLD as the model's column NEW (repeatable)"
    parser.add_argument("--column", action="append", default=[], metavar="NEW=OLD", help=rename)


def add_label_flags(parser: argparse.ArgumentParser) -> None:
    """Flags of `mmstream label`."""
    parser.epilog = BEAM_EPILOG
    add_model_flag(parser)
    _add_input(parser, "what to label: a file, a folder, or a pattern such as 'shards/*.tar'", required=True)
    parser.add_argument("--output", type=expanded, metavar="DIR", help="for labels/, dead_letters/, label.json")
    parser.add_argument(
        "--preview", type=count, metavar="N", help="show the labels of the first N rows and write nothing"
    )
    _add_embeddings(parser, "also write the embeddings of each record")
    most = "exit with code 3 if there are more than this, such as 5%% or 20 (default: 100%%)"
    parser.add_argument("--max-dead-letters", default="100%", metavar="SHARE", help=most)
    parser.add_argument("--sink", default="parquet", metavar="NAME", help="format of the labels (default: parquet)")
    option = "a parameter of the sink, such as formulas=escape for csv (repeatable); `mmstream plugins show` lists them"
    parser.add_argument("--sink-option", action="append", default=[], metavar="NAME=VALUE", help=option)
    parser.add_argument(
        "--resume",
        choices=("values", "metadata", "content"),
        help="how a rerun detects that a record has changed: by its columns (values), and also by the size and "
        "time of its files (metadata) or by their bytes (content); default: as in the previous run, initially as in "
        "the model's config",
    )
    parser.add_argument("--relabel", action="store_true", help="replace the labels of another model, part by part")
    parser.add_argument("--prune", action="store_true", help="remove labels of records that are not in the input")
    parser.add_argument("--expect", metavar="FINGERPRINT", help="refuse any other model")
    _add_job_flags(parser)
    _add_stream_flags(parser)


def _add_stream_flags(parser: argparse.ArgumentParser) -> None:
    """Flags of `mmstream label` for unbounded input."""
    summary = "keep running and label what is new or has changed, until SIGTERM"
    parser.add_argument("--watch", action="store_true", help=summary)
    summary = "like --watch, but as a Beam pipeline, on a runner that supports streaming, such as Flink"
    parser.add_argument("--streaming", action="store_true", help=summary)
    summary = (
        "how often to look at files; a file is complete if it has not changed since the previous look, or, with "
        "--streaming, for this long (default: 5)"
    )
    parser.add_argument("--every", type=seconds, default=5.0, metavar="SECONDS", help=summary)
    summary = (
        "switch to the newest model in this folder as soon as it is finished and valid; with --watch or --streaming"
    )
    parser.add_argument("--follow", type=expanded, metavar="MODELS", help=summary)
    summary = "how long --streaming may wait for more records to label together (default: 10)"
    parser.add_argument("--max-latency", type=seconds, default=10.0, metavar="SECONDS", help=summary)
    summary = "also send labels and dead letters to this URI, such as kafka://broker:9092/topic; with --streaming"
    parser.add_argument("--publish", metavar="URI", help=summary)


def add_break_lock_flag(parser: argparse.ArgumentParser) -> None:
    """Flags of everything that writes to an output directory."""
    summary = "take over the output of a hung job, which can then commit nothing more"
    parser.add_argument("--break-lock", action="store_true", help=summary)


def _add_embeddings(parser: argparse.ArgumentParser, summary: str) -> None:
    parser.add_argument("--embeddings", action="store_true", help=summary)


def add_replay_flags(parser: argparse.ArgumentParser) -> None:
    """Flags of `mmstream replay`."""
    parser.epilog = BEAM_EPILOG
    _add_output(parser)
    parser.add_argument(
        "--only", action="append", default=[], metavar="KEY=VALUE", help="e.g. stage=decode or field=image (repeatable)"
    )
    parser.add_argument("--error", metavar="REGEX", help="a regular expression to find in the error's class or message")
    summary = "if there are several inputs, the one to replay; if there is only one, its new location"
    parser.add_argument("--input", type=expanded, default="", metavar="PATH", help=summary)
    parser.add_argument(
        "--model",
        type=expanded,
        metavar="MODEL",
        help="the model's new location; it must be the model that made the labels",
    )
    _add_root(parser)
    _add_job_flags(parser)


def add_audit_flags(parser: argparse.ArgumentParser) -> None:
    """Flags of `mmstream audit`."""
    _add_output(parser)
    summary = "the job's input; the output must account for each of its records exactly once, in its current state"
    parser.add_argument("--input", type=expanded, default="", metavar="PATH", help=summary)
    add_json_flag(parser)


def add_repartition_flags(parser: argparse.ArgumentParser) -> None:
    """Flags of `mmstream repartition`."""
    _add_output(parser)
    add_break_lock_flag(parser)


def add_repair_flags(parser: argparse.ArgumentParser) -> None:
    """Flags of `mmstream repair`."""
    _add_output(parser)
    add_break_lock_flag(parser)


def _add_output(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("output", type=expanded, metavar="DIR", help="output of an earlier job")


def _add_job_flags(parser: argparse.ArgumentParser) -> None:
    add_break_lock_flag(parser)
    parser.add_argument(
        "--stall-timeout",
        type=seconds,
        default=STALL_SECONDS,
        metavar="SECONDS",
        help="terminate a worker that has been processing the same records for this long, and find the record at fault "
        "(default: 600); on a cluster, this applies only when a record is tried alone",
    )
    summary = "threads of each worker process (default: one per core)"
    parser.add_argument("--threads", type=count, metavar="N", help=summary)
