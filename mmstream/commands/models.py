"""Commands about a model: `train`, `tune`, `evaluate`, `compare`, `verify` and `export`."""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from typing import Any

from mmstream import terminal
from mmstream.commands.configs import loaded_config
from mmstream.config import loading
from mmstream.errors import MmstreamError
from mmstream.options import flags, idle_flags
from mmstream.options.jobs import TuneOptions
from mmstream.runtime.imports import importing


def train(args: argparse.Namespace, rest: list[str]) -> int:
    """Train the network that a config describes."""
    config = loaded_config(args)
    with importing():
        from mmstream.evaluation import result_tables
        from mmstream.training import train

    started = time.monotonic()
    verbose = 0 if args.json or args.speech != "text" else None
    model = train.train(config, args.examples, args.output, verbose=verbose, take_over=args.break_lock)
    about = {"epochs": model.about["epochs"], "best_epoch": model.about["best_epoch"]}
    history = model.history()
    if args.json:
        terminal.json_result({**about, "history": history, "model": args.output})
    else:
        best = next((row for row in history if row["epoch"] == about["best_epoch"]), {})
        terminal.show_table((f"epoch {about['best_epoch']}", *result_tables.EPOCH), list(result_tables.epoch(best)))
    terminal.summary("train", {**about, "seconds": round(time.monotonic() - started, 1), "model": args.output})
    return 0


def tune(args: argparse.Namespace, rest: list[str]) -> int:
    """Search for the best values of those that a config leaves open."""
    with importing():
        from mmstream.tuning import results, search

    started = time.monotonic()
    options = TuneOptions(
        examples=args.examples,
        output=args.output,
        trials=args.trials,
        minutes=args.minutes,
        metric=args.metric,
        seed=args.seed,
        pruning=not args.no_pruning,
        break_lock=args.break_lock,
    )
    about = search.tune(args.config, args.set, options, tiny=args.tiny)
    if args.json:
        terminal.json_result(about)
    else:
        terminal.show_table(*results.table(about))
        if shares := results.importance(about):
            terminal.show_table(("open value", "importance"), shares)
    best = f"{args.output.rstrip('/')}/{search.BEST}"
    seconds = round(time.monotonic() - started, 1)
    terminal.summary(
        "tune", {"trials": len(about["trials"]), "best_trial": about["best"], "seconds": seconds, "best": best}
    )
    for warning in results.warnings(about):
        terminal.warn(warning)
    return 0


def evaluate(args: argparse.Namespace, rest: list[str]) -> int:
    """Measure a model on a split of the examples."""
    with importing():
        from mmstream.evaluation import evaluate, result_tables
        from mmstream.trained_model.artefact import load

    model = load(args.model, embeddings=True)
    evaluation = evaluate.evaluate(model, args.examples, args.split, args.baselines, args.check_labels)
    folder, metrics = evaluation.write(), evaluation.metrics
    if args.json:
        terminal.json_result(metrics)
    else:
        terminal.show_table(result_tables.SCORES, list(result_tables.scores(metrics)))
        terminal.show_table(result_tables.CONTRIBUTIONS, list(result_tables.contributions(metrics)))
        if beside := list(result_tables.baselines(metrics)):
            terminal.show_table(result_tables.BASELINES, beside)
    terminal.summary(
        "evaluate", {"split": metrics["split"], "records": metrics["records"], "metrics and report": folder}
    )
    _say_why_no_baselines(metrics)
    for what, warning in result_tables.warnings(metrics):
        terminal.warn(f"{what}: {warning}")
    return 0


def _say_why_no_baselines(measured: Mapping[str, Any]) -> None:
    if "no_baselines" in measured:
        terminal.say(f"note: there are no baselines: {measured['no_baselines']}")


def baseline(args: argparse.Namespace, rest: list[str]) -> int:
    """Measure simple models on examples, to see what a network has to beat."""
    config = loading.load_config(args.config, open_values="first")
    with importing():
        from mmstream.evaluation import baselines
        from mmstream.training.made_with import check_fields, read_about_examples

    started = time.monotonic()
    check_fields(config, read_about_examples(args.examples), args.examples)
    measured = baselines.measure(config, args.examples, args.split, args.baselines)
    if args.json:
        terminal.json_result(measured)
    else:
        terminal.show_table(baselines.COLUMNS, list(baselines.table(measured)))
    about = {"split": measured["split"], "records": measured["records"]}
    terminal.summary("baseline", {**about, "seconds": round(time.monotonic() - started, 1)})
    return 0


def compare(args: argparse.Namespace, rest: list[str]) -> int:
    """Measure models on the same examples, side by side."""
    with importing():
        from mmstream.evaluation import comparison

    compared = comparison.compare(args.models, args.examples, args.split, args.baselines)
    if args.json:
        terminal.json_result(compared)
    else:
        terminal.show_table(comparison.COLUMNS, list(comparison.table(compared)))
        if refused := compared["not_comparable"]:
            terminal.show_table(("not comparable", "model", "why"), [tuple(each.values()) for each in refused])
    _say_why_no_baselines(compared)
    for name, about in compared["models"].items():
        if about["left_out"]:
            terminal.warn(
                f"{about['left_out']:,} of {about['left_out'] + compared['records']:,} records of {name} are not "
                "shared by all other models; they are left out"
            )
    return 0


def verify(args: argparse.Namespace, rest: list[str]) -> int:
    """Check that a model produces the same results for the same records on every code path."""
    with importing():
        from mmstream.trained_model.artefact import load

    if not args.input:
        idle_flags.refuse(args, flags.add_verify_flags, ("source", "root", "column", "records"), "without --input")
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
        raise MmstreamError(f"{wrong} of {len(differences)} results differ")
    terminal.say(f"the model reproduces its golden records{', and all code paths agree' if args.input else ''}")
    return 0


def _verify_input(args: argparse.Namespace) -> list[Any]:
    with importing():
        from mmstream.commands.verification import verify_records
        from mmstream.inputs.input import pieces_of, rows_of
        from mmstream.jobs.labelling import input_for
        from mmstream.jobs.renaming import check_given, parse_columns
        from mmstream.options.jobs import InputOptions
        from mmstream.trained_model.artefact import load

    model = load(args.model)
    options = InputOptions(input=args.input, source=args.source, roots=args.root, columns=parse_columns(args.column))
    job_input = input_for(model, options)
    check_given(job_input, rows_of(job_input, pieces_of(job_input)))
    return verify_records(model, job_input, args.records)


def export(args: argparse.Namespace, rest: list[str]) -> int:
    """Write a model as a TensorFlow SavedModel that takes raw values."""
    with importing():
        from mmstream.trained_model.artefact import load
        from mmstream.trained_model.export import export

    about = export(load(args.model, embeddings=args.embeddings), args.to)
    for title in ("inputs", "outputs"):
        rows = [(name, each["dtype"], each["shape"], each.get("holds", "")) for name, each in about[title].items()]
        terminal.show_table((title, "dtype", "shape", ""), rows)
    for record, why in about["golden"]["refused"].items():
        terminal.warn(f"the graph rejects golden record {record!r}: {why}")
    terminal.summary("export", {"golden_records_that_come_out_equal": about["golden"]["equal"], "saved_model": args.to})
    return 0
