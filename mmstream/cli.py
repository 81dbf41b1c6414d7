"""The `mmstream` command. Heavy imports stand inside the commands that need them."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence

from mmstream import config_file, flags, plugins, terminal
from mmstream.errors import MmstreamError, UsageError, describe


def command() -> int:
    """The `mmstream` command of a shell."""
    terminal.divert_library_noise()
    return main()


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code: 0 done, 1 failed, 2 wrong usage, 3 more dead letters than allowed."""
    parser, args, rest = _parse(sys.argv[1:] if argv is None else list(argv))
    if rest and args.run not in (_preprocess, _label):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    try:
        return args.run(args, rest)
    except UsageError as error:
        parser.error(describe(error))
    except (MmstreamError, OSError) as error:  # a full disk, a folder that may not be written
        terminal.say(f"mmstream: {describe(error)}")
        return 1
    except KeyboardInterrupt:
        terminal.say("mmstream: interrupted; the same command goes on from here")
        return 130


def _parse(argv: list[str]) -> tuple[argparse.ArgumentParser, argparse.Namespace, list[str]]:
    parser = argparse.ArgumentParser(
        prog="mmstream", description="Preprocess, train and label multimodal records with pluggable parts."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, run, add_flags, summary in (
        ("preprocess", _preprocess, flags.add_preprocess_flags, "Turn a dataset into examples."),
        ("train", _train, flags.add_train_flags, "Train the network that a config describes."),
        ("evaluate", _evaluate, flags.add_evaluate_flags, "Measure a model on a split of the examples."),
        ("label", _label, flags.add_label_flags, "Label records with a trained model."),
        ("check", _check, flags.add_config_flags, "Check a config and list all of its problems."),
        ("verify", _verify, flags.add_model_flag, "Compare a model's golden records with what training kept."),
        ("plugins", _plugins_list, _add_plugins_flags, "Show the installed plugins."),
    ):
        subparser = commands.add_parser(name, help=summary, description=summary)
        add_flags(subparser)
        subparser.set_defaults(run=run)
    return parser, *parser.parse_known_args(argv)


def _add_plugins_flags(parser: argparse.ArgumentParser) -> None:
    listing = parser.add_subparsers(required=True, metavar="list")
    listed = listing.add_parser("list", help="name, version and components of each, or what went wrong with it")
    listed.add_argument("--json", action="store_true", help="as JSON")


def _preprocess(args: argparse.Namespace, rest: list[str]) -> int:
    from beam_jobs import preprocess

    return preprocess.run(args, rest)


def _label(args: argparse.Namespace, rest: list[str]) -> int:
    from beam_jobs import label

    return label.run(args, rest)


def _train(args: argparse.Namespace, rest: list[str]) -> int:
    config = config_file.load_config(args.config, args.set, tiny=args.tiny)
    for warning in config_file.warnings(config):
        terminal.say(f"warning: {warning}")
    from mmstream import training

    model = training.train(config, args.examples, args.output)
    terminal.say(f"trained {model.about['epochs']} epochs, the best was {model.about['best_epoch']} → {args.output}")
    return 0


def _evaluate(args: argparse.Namespace, rest: list[str]) -> int:
    from mmstream import evaluation
    from mmstream.trained_model import load

    model = load(args.model, embeddings=True)
    metrics = evaluation.evaluate(model, args.examples, args.split)
    path = evaluation.write_metrics(model, metrics)
    print(json.dumps(metrics, indent=1, ensure_ascii=False))  # noqa: T201
    terminal.say(f"→ {path}")
    return 0


def _check(args: argparse.Namespace, rest: list[str]) -> int:
    config = config_file.load_config(args.config, args.set, tiny=args.tiny)
    for warning in config_file.warnings(config):
        terminal.say(f"warning: {warning}")
    terminal.say(f"{args.config} is sound")
    return 0


def _verify(args: argparse.Namespace, rest: list[str]) -> int:
    from rich.console import Console
    from rich.table import Table

    from mmstream.trained_model import load

    model = load(args.model, embeddings=True)
    differences = model.verify()
    table = Table("tensor", "largest difference", "allowed", "")
    for difference in differences:
        verdict = "ok" if difference.within else "DIFFERS"
        table.add_row(difference.name, f"{difference.largest:.3g}", f"{difference.allowed:.3g}", verdict)
    Console().print(table)
    if not differences:
        terminal.say(f"{args.model} has no golden records (`golden: 0`); nothing can be verified")
        return 1
    wrong = sum(not difference.within for difference in differences)
    terminal.say(f"{wrong} of {len(differences)} differ" if wrong else "the model reproduces its golden records")
    return 1 if wrong else 0


def _plugins_list(args: argparse.Namespace, rest: list[str]) -> int:
    loaded, _ = plugins.load()
    if args.json:
        rows = [
            {
                "name": plugin.name,
                "distribution": plugin.distribution,
                "version": plugin.version,
                "components": plugin.components,
                "refused": list(plugin.refused.values()),
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
        for why in plugin.refused.values():
            print(f"  REFUSED: {why}")  # noqa: T201
        if plugin.error:
            print(f"  BROKEN: {plugin.problem}")  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(command())
