"""The `mmstream` command. Heavy imports stand inside the commands that need them."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence

from mmstream import config_file, plugins
from mmstream.errors import MmstreamError, describe


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code: 0 done, 1 failed, 2 wrong usage, 3 more dead letters than allowed."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    parser, flags, rest = _parse(sys.argv[1:] if argv is None else list(argv))
    if rest and not getattr(flags, "takes_beam_options", False):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    try:
        return flags.command(flags, rest)
    except MmstreamError as error:
        if type(error).__name__ == "UnknownFlagError":
            parser.error(describe(error))
        print(f"mmstream: {describe(error)}", file=sys.stderr)  # noqa: T201
        return 1
    except KeyboardInterrupt:
        print("mmstream: interrupted; the same command goes on from here", file=sys.stderr)  # noqa: T201
        return 130


def _parse(argv: list[str]) -> tuple[argparse.ArgumentParser, argparse.Namespace, list[str]]:
    parser = argparse.ArgumentParser(
        prog="mmstream", description="Preprocess, train and label multimodal records with pluggable parts."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, run: Callable[[argparse.Namespace, list[str]], int], summary: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=summary, description=summary)
        command.set_defaults(command=run)
        return command

    beam = "Options that are not listed go to Beam, as --runner=FlinkRunner."
    one = add("preprocess", _preprocess, "Turn a dataset into examples.")
    one.epilog = beam
    one.set_defaults(takes_beam_options=True)
    config_file.add_config_flags(one)
    _add_output(one, "gets examples/, transform/, golden/, dead_letters/, preprocess.json")
    _add_threads(one)

    one = add("train", _train, "Train the network that a config describes.")
    config_file.add_config_flags(one)
    one.add_argument("--examples", required=True, metavar="DIR", help="output of `mmstream preprocess`")
    _add_output(one, "the model's directory", metavar="MODEL")

    one = add("evaluate", _evaluate, "Measure a model on a split of the examples.")
    one.add_argument("model", metavar="MODEL", help="directory that `mmstream train` made")
    one.add_argument(
        "--examples", required=True, metavar="DIR", help="the output of `mmstream preprocess` it came from"
    )
    one.add_argument("--split", default="test", choices=("train", "validation", "test"))

    one = add("label", _label, "Label records with a trained model.")
    one.epilog = beam
    one.set_defaults(takes_beam_options=True)
    one.add_argument("model", metavar="MODEL", help="directory that `mmstream train` made")
    one.add_argument("--input", required=True, metavar="PATH", help="what to label: a manifest, or a folder of media")
    _add_output(one, "gets labels/, dead_letters/, label.json")
    one.add_argument("--source", metavar="NAME", help="how to read the input; by default its suffix tells")
    one.add_argument("--root", action="append", default=[], metavar="DIR", help="media may lie here too (repeatable)")
    rename = "the input's column OLD is the model's NEW (repeatable)"
    one.add_argument("--column", action="append", default=[], metavar="NEW=OLD", help=rename)
    one.add_argument("--embeddings", action="store_true", help="also write the embeddings of each record")
    most = "end with exit code 3 above this, as 5%% or 20 (default: 100%%)"
    one.add_argument("--max-dead-letters", default="100%", metavar="SHARE", help=most)
    one.add_argument("--sink", default="parquet", metavar="NAME", help="format of the labels (default: parquet)")
    _add_threads(one)

    one = add("check", _check, "Check a config and list all of its problems.")
    config_file.add_config_flags(one)

    one = add("verify", _verify, "Run a model's golden records and show how far they are from training.")
    one.add_argument("model", metavar="MODEL", help="directory that `mmstream train` made")

    one = add("plugins", _plugins_list, "Show the installed plugins.")
    (listing := one.add_subparsers(required=True, metavar="list")).required = True
    listed = listing.add_parser("list", help="name, version and components of each, or what went wrong with it")
    listed.add_argument("--json", action="store_true", help="as JSON")

    flags, rest = parser.parse_known_args(argv)
    return parser, flags, rest


def _add_output(parser: argparse.ArgumentParser, summary: str, metavar: str = "DIR") -> None:
    parser.add_argument("--output", required=True, metavar=metavar, help=summary)


def _add_threads(parser: argparse.ArgumentParser) -> None:
    summary = "how many work at once in a worker (default: one a core)"
    parser.add_argument("--threads", type=int, default=os.cpu_count(), metavar="N", help=summary)


def _preprocess(flags: argparse.Namespace, rest: list[str]) -> int:
    from beam_jobs import preprocess

    return preprocess.run(flags, rest)


def _label(flags: argparse.Namespace, rest: list[str]) -> int:
    os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")  # the job's own threads keep the cores busy
    from beam_jobs import label

    return label.run(flags, rest)


def _train(flags: argparse.Namespace, rest: list[str]) -> int:
    config = config_file.load_config(flags.config, flags.set, tiny=flags.tiny)
    for warning in config_file.warnings(config):
        _say(f"warning: {warning}")
    from mmstream import training

    model = training.train(config, flags.examples, flags.output)
    _say(f"trained {model.about['epochs']} epochs, the best was {model.about['best_epoch']} → {flags.output}")
    return 0


def _evaluate(flags: argparse.Namespace, rest: list[str]) -> int:
    from mmstream import evaluation
    from mmstream.trained_model import load

    model = load(flags.model, embeddings=True)
    metrics = evaluation.evaluate(model, flags.examples, flags.split)
    path = evaluation.write_metrics(model, metrics)
    print(json.dumps(metrics, indent=1, ensure_ascii=False))  # noqa: T201
    _say(f"→ {path}")
    return 0


def _check(flags: argparse.Namespace, rest: list[str]) -> int:
    config = config_file.load_config(flags.config, flags.set, tiny=flags.tiny)
    for warning in config_file.warnings(config):
        _say(f"warning: {warning}")
    _say(f"{flags.config} is sound")
    return 0


def _verify(flags: argparse.Namespace, rest: list[str]) -> int:
    from rich.console import Console
    from rich.table import Table

    from mmstream.trained_model import load

    model = load(flags.model, embeddings=True)
    differences = model.verify()
    table = Table("tensor", "largest difference", "allowed", "")
    for difference in differences:
        verdict = "ok" if difference.within else "DIFFERS"
        table.add_row(difference.name, f"{difference.largest:.3g}", f"{difference.allowed:.3g}", verdict)
    Console().print(table)
    if not differences:
        _say(f"{flags.model} has no golden records (`golden: 0`); nothing can be verified")
        return 1
    wrong = sum(not difference.within for difference in differences)
    _say(f"{wrong} of {len(differences)} differ" if wrong else "the model reproduces its golden records")
    return 1 if wrong else 0


def _plugins_list(flags: argparse.Namespace, rest: list[str]) -> int:
    loaded, _ = plugins.load()
    if flags.json:
        rows = [
            {
                "name": plugin.name,
                "distribution": plugin.distribution,
                "version": plugin.version,
                "components": plugin.components,
                "error": plugin.problem or None,
            }
            for plugin in loaded
        ]
        print(json.dumps(rows, indent=1, ensure_ascii=False))  # noqa: T201
        return 0
    for plugin in loaded:
        print(f"{plugin.name} {plugin.version} ({plugin.distribution})")  # noqa: T201
        for kind, names in plugin.components.items():
            print(f"  {kind}: {', '.join(names)}")  # noqa: T201
        if plugin.error:
            print(f"  BROKEN: {plugin.problem}")  # noqa: T201
    return 0


def _say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())
