"""The `mmstream` command. Heavy imports are inside the commands that need them."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from mmstream import terminal
from mmstream.commands import configs, installed, models, outputs
from mmstream.options import flags
from mmstream.runtime.imports import importing
from mmstream.supervision import supervisor, worker

_SWITCH_SECONDS = 0.0005
"""How long a thread may run Python code while another waits for its turn. The threads of a job often call libraries,
and wait for their turn after each call: with Python's 5 milliseconds, longer than the call takes."""


def command() -> int:
    """Run the `mmstream` shell command; a long job on this machine gets a supervisor."""
    sys.setswitchinterval(_SWITCH_SECONDS)
    if worker.is_child():
        worker.begin()
        terminal.divert_library_noise()
        code = None
        try:
            code = main()
            return code
        except SystemExit as ending:  # wrong usage
            code = ending.code if isinstance(ending.code, int) else None
            raise
        finally:
            worker.ended(code)
    command_line = parser()
    args, rest = command_line.parse_known_args()
    if args.run in _JOBS and flags.runner_in(rest) in flags.LOCAL_RUNNERS and not getattr(args, "preview", None):
        terminal.set_mode(args.speech)
        return terminal.exit_code(command_line, lambda: supervisor.supervise(sys.argv[1:], args.stall_timeout))
    terminal.divert_library_noise()
    return main()


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    command_line = parser()
    args, rest = command_line.parse_known_args(argv)
    terminal.set_mode(args.speech)
    if rest and args.run not in _JOBS:
        command_line.error(f"unrecognized arguments: {' '.join(rest)}")
    return terminal.exit_code(command_line, lambda: args.run(args, rest))


def parser() -> argparse.ArgumentParser:
    """Make the command-line parser, with a subparser for each command; a function's docstring is its help text."""
    command_line = terminal.Parser(
        prog="mmstream", description="Preprocess, train and label multimodal records with pluggable parts."
    )
    commands = command_line.add_subparsers(required=True, metavar="COMMAND")
    for name, run, add_flags in (
        ("init", configs.init, flags.add_init_flags),
        ("check", configs.check, flags.add_config_flags),
        ("describe", configs.describe, flags.add_describe_flags),
        ("preprocess", _preprocess, flags.add_preprocess_flags),
        ("train", models.train, flags.add_train_flags),
        ("tune", models.tune, flags.add_tune_flags),
        ("evaluate", models.evaluate, flags.add_evaluate_flags),
        ("compare", models.compare, flags.add_compare_flags),
        ("baseline", models.baseline, flags.add_baseline_flags),
        ("label", _label, flags.add_label_flags),
        ("audit", outputs.audit, flags.add_audit_flags),
        ("replay", _replay, flags.add_replay_flags),
        ("repair", outputs.repair, flags.add_repair_flags),
        ("repartition", outputs.repartition, flags.add_repartition_flags),
        ("export", models.export, flags.add_export_flags),
        ("verify", models.verify, flags.add_verify_flags),
    ):
        subparser = commands.add_parser(name, help=run.__doc__, description=run.__doc__)
        add_flags(subparser)
        flags.add_speech_flags(subparser)
        subparser.set_defaults(run=run)
    _add_plugins(commands)
    return command_line


def _add_plugins(commands: Any) -> None:
    summary = "Show the installed plugins and their components."
    plugins_parser = commands.add_parser("plugins", help=summary, description=summary)
    subcommands = plugins_parser.add_subparsers(required=True, metavar="list|show")
    listed = subcommands.add_parser("list", help="name, version and components of each, or why it failed to load")
    shown = subcommands.add_parser("show", help="what a component does, its parameters, and how a config names it")
    shown.add_argument("name", metavar="NAME", help="name of a component, such as cnn")
    for subparser, run in ((listed, installed.list_plugins), (shown, installed.show_component)):
        flags.add_json_flag(subparser)
        flags.add_speech_flags(subparser)
        subparser.set_defaults(run=run)


def _preprocess(args: argparse.Namespace, rest: list[str]) -> int:
    """Turn a dataset into examples."""
    with importing():
        from beam_jobs import preprocess

    return preprocess.run(args, rest)


def _label(args: argparse.Namespace, rest: list[str]) -> int:
    """Label records with a trained model."""
    with importing():
        from beam_jobs import label

    return label.run(args, rest)


def _replay(args: argparse.Namespace, rest: list[str]) -> int:
    """Try dead letters again."""
    with importing():
        from beam_jobs import replay

    return replay.run(args, rest)


_JOBS = (_preprocess, _label, _replay)
"""The commands that run a Beam pipeline, and so take Beam's options."""


if __name__ == "__main__":
    sys.exit(command())
