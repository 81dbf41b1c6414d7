"""The flags of commands and jobs: the `mmstream` command and the job files take the same ones."""

from __future__ import annotations

import argparse
import os

BEAM_EPILOG = "Options that are not listed go to Beam, as --runner=FlinkRunner."


def add_config_flags(parser: argparse.ArgumentParser) -> None:
    """Of everything that reads a config."""
    parser.add_argument("config", metavar="CONFIG", help="the YAML file")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="override, as training.epochs=3"
    )
    parser.add_argument("--tiny", action="store_true", help="prove the config end to end in seconds, on a few records")


def add_preprocess_flags(parser: argparse.ArgumentParser) -> None:
    """Of `mmstream preprocess`."""
    parser.epilog = BEAM_EPILOG
    add_config_flags(parser)
    parser.add_argument("--output", required=True, metavar="DIR", help="gets examples/, transform/, dead_letters/, …")
    _add_threads(parser)


def add_train_flags(parser: argparse.ArgumentParser) -> None:
    """Of `mmstream train`."""
    add_config_flags(parser)
    parser.add_argument("--examples", required=True, metavar="DIR", help="output of `mmstream preprocess`")
    parser.add_argument("--output", required=True, metavar="MODEL", help="the model's directory")


def add_model_flag(parser: argparse.ArgumentParser) -> None:
    """Of everything that reads a model."""
    parser.add_argument("model", metavar="MODEL", help="directory that `mmstream train` made")


def add_evaluate_flags(parser: argparse.ArgumentParser) -> None:
    """Of `mmstream evaluate`."""
    add_model_flag(parser)
    parser.add_argument(
        "--examples", required=True, metavar="DIR", help="the output of `mmstream preprocess` it came from"
    )
    parser.add_argument("--split", default="test", choices=("train", "validation", "test"))


def add_label_flags(parser: argparse.ArgumentParser) -> None:
    """Of `mmstream label`."""
    parser.epilog = BEAM_EPILOG
    add_model_flag(parser)
    parser.add_argument(
        "--input", required=True, metavar="PATH", help="what to label: a manifest, or a folder of media"
    )
    parser.add_argument("--output", required=True, metavar="DIR", help="gets labels/, dead_letters/, label.json")
    parser.add_argument("--source", metavar="NAME", help="how to read the input; by default its suffix tells")
    parser.add_argument(
        "--root", action="append", default=[], metavar="DIR", help="media may lie here too (repeatable)"
    )
    rename = "the input's column OLD is the model's NEW (repeatable)"
    parser.add_argument("--column", action="append", default=[], metavar="NEW=OLD", help=rename)
    parser.add_argument("--embeddings", action="store_true", help="also write the embeddings of each record")
    most = "end with exit code 3 above this, as 5%% or 20 (default: 100%%)"
    parser.add_argument("--max-dead-letters", default="100%", metavar="SHARE", help=most)
    parser.add_argument("--sink", default="parquet", metavar="NAME", help="format of the labels (default: parquet)")
    _add_threads(parser)


def _add_threads(parser: argparse.ArgumentParser) -> None:
    summary = "how many work at once in a worker (default: one a core)"
    parser.add_argument("--threads", type=int, default=os.cpu_count(), metavar="N", help=summary)
