"""The `mmstream` command. Heavy imports stand inside the commands that need them."""

from __future__ import annotations

import argparse
import dataclasses
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from mmstream import config_file, files, flags, plugins, supervisor, terminal, worker
from mmstream.config import Config
from mmstream.errors import MmstreamError


def command() -> int:
    """The `mmstream` command of a shell; a long job on this machine gets a supervisor."""
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
    known = parser()
    args, rest = known.parse_known_args()
    if args.run in _JOBS and flags.runner_in(rest) in flags.LOCAL_RUNNERS and not getattr(args, "preview", None):
        terminal.set_mode(args.speech)
        return terminal.exit_code(known, lambda: supervisor.supervise(sys.argv[1:], args.stall_timeout))
    terminal.divert_library_noise()
    return main()


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    known = parser()
    args, rest = known.parse_known_args(argv)
    terminal.set_mode(args.speech)
    if rest and args.run not in _JOBS:
        known.error(f"unrecognized arguments: {' '.join(rest)}")
    return terminal.exit_code(known, lambda: args.run(args, rest))


def parser() -> argparse.ArgumentParser:
    """The command line, with a subparser for each command."""
    known = terminal.Parser(
        prog="mmstream", description="Preprocess, train and label multimodal records with pluggable parts."
    )
    commands = known.add_subparsers(required=True, metavar="COMMAND")
    for name, run, add_flags, summary in (
        ("init", _init, flags.add_init_flags, "Look at data and write a first config for them."),
        ("check", _check, flags.add_config_flags, "Check a config and list all of its problems."),
        ("describe", _describe, flags.add_describe_flags, "Show a config's parts, shapes, parameters and memory."),
        ("preprocess", _preprocess, flags.add_preprocess_flags, "Turn a dataset into examples."),
        ("train", _train, flags.add_train_flags, "Train the network that a config describes."),
        ("evaluate", _evaluate, flags.add_evaluate_flags, "Measure a model on a split of the examples."),
        ("compare", _compare, flags.add_compare_flags, "Measure models on the same examples, side by side."),
        ("label", _label, flags.add_label_flags, "Label records with a trained model."),
        ("audit", _audit, flags.add_audit_flags, "Check that an output is whole: each record once, of one model."),
        ("replay", _replay, flags.add_replay_flags, "Try dead letters again."),
        ("repair", _repair, flags.add_repair_flags, "Mend the files that jobs keep in an output."),
        ("repartition", _repartition, flags.add_repartition_flags, "Cut an output that has grown into more parts."),
        ("export", _export, flags.add_export_flags, "Write a model as a TensorFlow SavedModel that takes raw values."),
        ("verify", _verify, flags.add_verify_flags, "Compare what every path to a model makes of the same records."),
    ):
        subparser = commands.add_parser(name, help=summary, description=summary)
        add_flags(subparser)
        flags.add_speech_flags(subparser)
        subparser.set_defaults(run=run)
    _add_plugins(commands)
    return known


def _add_plugins(commands: Any) -> None:
    summary = "Show the installed plugins and their components."
    plugins_parser = commands.add_parser("plugins", help=summary, description=summary)
    subcommands = plugins_parser.add_subparsers(required=True, metavar="list|show")
    listed = subcommands.add_parser("list", help="name, version and components of each, or what went wrong with it")
    shown = subcommands.add_parser("show", help="what a component does, its parameters, and how a config names it")
    shown.add_argument("name", metavar="NAME", help="of a component, as cnn")
    for subparser, run in ((listed, _plugins_list), (shown, _plugins_show)):
        flags.add_json_flag(subparser)
        flags.add_speech_flags(subparser)
        subparser.set_defaults(run=run)


def _init(args: argparse.Namespace, rest: list[str]) -> int:
    from mmstream.starting_config import starting_config

    if files.exists(args.output):
        raise MmstreamError(f"{args.output} is there already; name another with --output")
    text = starting_config(files.absolute(args.path), files.absolute(files.parent(args.output)))
    files.write_bytes(args.output, text.encode())
    terminal.result(text.rstrip("\n"), lines=True)
    terminal.say(f"→ {args.output}; look at it, then: mmstream check {args.output}")
    return 0


def _check(args: argparse.Namespace, rest: list[str]) -> int:
    config = _load_config(args)
    from mmstream.description import compose_unfitted

    compose_unfitted(config)
    terminal.say(f"{args.config} is sound")
    return 0


def _describe(args: argparse.Namespace, rest: list[str]) -> int:
    config = _load_config(args)
    from mmstream.description import STAND_IN_VALUES, describe_config

    found = describe_config(config, args.examples)
    if args.json:
        terminal.json_result(found)
        return 0
    columns = ("part", "use", "reads", "gives", "parameters")
    terminal.show_table(columns, [[row[column] for column in columns] for row in found["parts"]])
    terminal.show_table(("memory", "MiB"), list(found["memory"].items()))
    terminal.result(f"{found['parameters']:,} parameters in all")
    if not args.examples:
        terminal.say(f"vocabularies are taken to hold {STAND_IN_VALUES:,} values; --examples gives the true ones")
    return 0


def _preprocess(args: argparse.Namespace, rest: list[str]) -> int:
    from beam_jobs import preprocess

    return preprocess.run(args, rest)


def _label(args: argparse.Namespace, rest: list[str]) -> int:
    from beam_jobs import label

    return label.run(args, rest)


def _replay(args: argparse.Namespace, rest: list[str]) -> int:
    from beam_jobs import replay

    return replay.run(args, rest)


def _audit(args: argparse.Namespace, rest: list[str]) -> int:
    from mmstream.audit import audit

    findings = audit(args.output, args.input)
    if args.json:
        terminal.json_result(dataclasses.asdict(findings))
    else:
        for problem in findings.problems:
            terminal.result(problem)
    terminal.summary("audit", {**findings.counts, "problems": len(findings.problems)})
    return 1 if findings.problems else 0


def _repartition(args: argparse.Namespace, rest: list[str]) -> int:
    from mmstream.repartition import repartition

    before, after = repartition(args.output, take_over=args.break_lock)
    terminal.summary("repartition", {"parts_before": before, "parts": after, "output": args.output})
    return 0


def _repair(args: argparse.Namespace, rest: list[str]) -> int:
    from mmstream.repair import repair

    made = repair(args.output, take_over=args.break_lock)
    for line in made.done:
        terminal.say(line)
    for line in made.lost:
        terminal.fail(line)
    terminal.summary("repair", {"mended": len(made.done), "not mended": len(made.lost), "output": args.output})
    return 1 if made.lost else 0


_JOBS = (_preprocess, _label, _replay)
"""Commands that run a Beam pipeline, and take Beam's options."""


def _train(args: argparse.Namespace, rest: list[str]) -> int:
    config = _load_config(args)
    from mmstream import training

    started = time.monotonic()
    verbose = {"quiet": 0, "json": 0}.get(args.speech)
    model = training.train(config, args.examples, args.output, verbose=verbose, take_over=args.break_lock)
    about = {"epochs": model.about["epochs"], "best_epoch": model.about["best_epoch"]}
    terminal.summary("train", {**about, "seconds": round(time.monotonic() - started, 1), "model": args.output})
    return 0


def _evaluate(args: argparse.Namespace, rest: list[str]) -> int:
    from mmstream import evaluation
    from mmstream.trained_model import load

    model = load(args.model, embeddings=True)
    found = evaluation.evaluate(model, args.examples, args.split)
    folder, metrics = found.write(), found.metrics
    terminal.json_result(metrics)
    rows = {f"{name} from {', '.join(head['reads'])}": _scores(head) for name, head in metrics["heads"].items()}
    rows |= {
        f"{name}, as texts": _scores(head["written"]) for name, head in metrics["heads"].items() if "written" in head
    }
    rows |= {f"retrieval {name}": _scores(found) for name, found in metrics["retrieval"].items()}
    terminal.summary("evaluate", {"records": metrics["records"], **rows, "metrics and report": folder})
    for name, head in metrics["heads"].items():
        for warning in head["warnings"]:
            terminal.say(f"warning: {name}: {warning}")
    return 0


def _compare(args: argparse.Namespace, rest: list[str]) -> int:
    from mmstream import comparison

    found = comparison.compare(args.models, args.examples, args.split)
    if args.json:
        terminal.json_result(found)
    else:
        terminal.show_table(comparison.COLUMNS, list(comparison.table(found)))
        if refused := found["not_comparable"]:
            terminal.show_table(("not comparable", "model", "why"), [tuple(each.values()) for each in refused])
    for name, about in found["models"].items():
        if about["left_out"]:
            terminal.say(
                f"warning: {about['left_out']:,} of {about['left_out'] + found['records']:,} records of {name} are not "
                "among those of every other model; they are left out"
            )
    return 0


def _scores(metrics: Mapping[str, Any]) -> str:
    numbers = {name: value for name, value in metrics.items() if isinstance(value, float | int)}
    return " · ".join(f"{name} {terminal.shown(value)}" for name, value in numbers.items())


def _verify(args: argparse.Namespace, rest: list[str]) -> int:
    from mmstream.trained_model import load

    model = load(args.model, embeddings=True)
    differences = model.verify()
    if args.input:
        differences += _verify_input(args)
    if not differences:
        raise MmstreamError(f"{args.model} has no golden records (`golden: 0`); nothing can be verified")
    rows = [(d.name, d.largest, d.allowed, "ok" if d.within else "DIFFERS") for d in differences]
    terminal.show_table(("tensor", "largest difference", "allowed", ""), rows)
    wrong = sum(not difference.within for difference in differences)
    if wrong:
        raise MmstreamError(f"{wrong} of {len(differences)} differ")
    terminal.say(f"the model reproduces its golden records{', and all paths agree' if args.input else ''}")
    return 0


def _verify_input(args: argparse.Namespace) -> list[Any]:
    from beam_jobs.label_job import input_for
    from mmstream.trained_model import load
    from mmstream.verification import verify_records

    model = load(args.model)
    return verify_records(model, input_for(model, args), args.records)


def _export(args: argparse.Namespace, rest: list[str]) -> int:
    from mmstream.export import export
    from mmstream.trained_model import load

    about = export(load(args.model, embeddings=args.embeddings), args.to)
    for title in ("inputs", "outputs"):
        rows = [(name, each["dtype"], each["shape"], each.get("holds", "")) for name, each in about[title].items()]
        terminal.show_table((title, "dtype", "shape", ""), rows)
    for record, why in about["golden"]["refused"].items():
        terminal.say(f"warning: the graph refuses golden record {record!r}: {why}")
    terminal.summary("export", {"golden_records_that_come_out_equal": about["golden"]["equal"], "saved_model": args.to})
    return 0


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
        terminal.json_result(rows)
        return 0
    for plugin in loaded:
        terminal.result(f"{plugin.name} {plugin.version} ({plugin.distribution})")
        for kind, names in plugin.components.items():
            terminal.result(f"  {kind}: {', '.join(names)}")
        for why in plugin.refused.values():
            terminal.result(f"  REFUSED: {why}", lines=True)
        if plugin.error:
            terminal.result(f"  BROKEN: {plugin.problem}", lines=True)
    return 0


def _plugins_show(args: argparse.Namespace, rest: list[str]) -> int:
    from mmstream.catalogue import entries_of

    entries = entries_of(args.name)
    if args.json:
        terminal.json_result([dataclasses.asdict(entry) for entry in entries])
        return 0
    for entry in entries:
        terminal.result(f"{entry.kind} {entry.name} ({entry.distribution}, {entry.reference})\n", lines=True)
        terminal.result(f"{entry.text}\n", lines=True)
        if entry.source:
            terminal.result(f"Source: {entry.source}\n", lines=True)
        if entry.parameters:
            rows = [(p.name, p.type, "(needed)" if p.default is None else p.default, p.text) for p in entry.parameters]
            terminal.show_table(("parameter", "type", "default", ""), rows)
        if entry.example:
            terminal.result(f"In a config:\n\n{entry.example}\n", lines=True)
    return 0


def _load_config(args: argparse.Namespace) -> Config:
    config = config_file.load_config(args.config, args.set, tiny=args.tiny)
    for warning in config_file.warnings(config):
        terminal.say(f"warning: {warning}")
    return config


if __name__ == "__main__":
    sys.exit(command())
