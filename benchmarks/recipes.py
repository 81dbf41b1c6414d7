"""Measure what each choice of `mmstream init` is worth: train the config as it is written, and with one choice undone.

    .venv/bin/python benchmarks/recipes.py run DATA --output work/recipes [--only products] [--seeds 1 2 3]
    .venv/bin/python benchmarks/recipes.py table work/recipes/results.json

DATA is a folder with the data sets, one folder each; see `DATASETS`. Each row is measured where the choice occurs. A
row that is already in results.json is not trained again. `table` prints Markdown: the main metric of each head, and the
best baseline.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import mmstream
from mmstream.config.loading import load_config
from mmstream.config.schema import Config

SEEDS = (1, 2, 3)


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A data set.

    Attributes:
        path: its file below DATA.
        targets: the columns to predict; () if `init` finds them.
        only: the columns that are kept, none of which names files; () for all.
    """

    path: str
    targets: Sequence[str] = ()
    only: Sequence[str] = ()


_TEXTS = ("id", "name", "text", "level", "force", "category", "equipment", "muscles")
DATASETS = {
    "exercises": Dataset("exercises/manifest.jsonl", ("equipment",), _TEXTS),
    "products": Dataset("products/manifest.jsonl"),
    "signs": Dataset("digits/sign.jsonl", ("label",)),
    "groceries": Dataset("grocery/manifest.jsonl"),
    "emoji": Dataset("emoji/manifest.jsonl"),
}
AS_WRITTEN = "as `init` writes it"


@dataclasses.dataclass(frozen=True)
class Row:
    """A choice that is undone.

    Attributes:
        name: what is used in its place.
        changes: the config as `init` writes it → changes, as `--set` takes them; [] where the choice does not occur.
    """

    name: str
    changes: Callable[[Config], list[str]]


def _encoders(by: str, other: str) -> Callable[[Config], list[str]]:
    """Use another encoder."""
    return lambda config: [
        f"model.encoders.{name}={{use: {other}}}" for name, part in config.model.encoders.items() if part.use == by
    ]


def _gru_alone(config: Config) -> list[str]:
    """What `init` wrote before it knew n-grams and linear models."""
    changes = _encoders("ngrams", "gru")(config)
    return [*changes, "model.wide=false"] if changes else []


def _augmented(config: Config) -> list[str]:
    return [f"fields.{name}.augment=[]" for name, field in config.fields.items() if field.parameters.get("augment")]


ROWS = (
    Row(AS_WRITTEN, lambda config: []),
    Row("`gru`, not `ngrams`", _encoders("ngrams", "gru")),
    Row("`text_cnn`, not `ngrams`", _encoders("ngrams", "text_cnn")),
    Row("`gru`, and `wide: false`", _gru_alone),
    Row("`wide: false`", lambda config: ["model.wide=false"] if config.model.wide else []),
    Row(
        "fusion `attention`, not `late`",
        lambda config: ["model.fusion={use: attention}"] if config.model.fusion else [],
    ),
    Row("`auxiliary: 0`", lambda config: ["model.auxiliary=0"] if config.model.auxiliary else []),
    Row(
        "`modality_dropout: 0`",
        lambda config: ["training.modality_dropout=0"] if config.training.modality_dropout else [],
    ),
    Row("no augmentation", _augmented),
    Row("15 epochs", lambda config: ["training.epochs=15"] if config.training.epochs > 15 else []),
    Row("batches of 64", lambda config: ["training.batch_size=64"] if config.training.batch_size < 64 else []),
    Row("no early stopping", lambda config: ["training.early_stopping=null"] if config.training.early_stopping else []),
)


def run(data: Path, output: Path, only: Sequence[str], seeds: Sequence[int]) -> None:
    """Train and measure what is not in results.json yet."""
    output.mkdir(parents=True, exist_ok=True)
    place = output / "results.json"
    results: dict[str, Any] = json.loads(place.read_text()) if place.exists() else {}
    for seed in seeds:
        for name in only or DATASETS:
            folder = output / name
            config = written(name, data, folder)
            for row in ROWS:
                changes = row.changes(load_config(str(config)))
                key = f"{name}/{row.name}/{seed}"
                if key in results or not (changes or row.name == AS_WRITTEN):
                    continue
                results[key] = measured(config, folder, changes, seed)
                place.write_text(json.dumps(results, indent=1))
                print(f"{key}: {results[key]}", flush=True)


def written(name: str, data: Path, folder: Path) -> Path:
    """The config that `init` writes for a data set, with its examples beside it."""
    dataset, config = DATASETS[name], folder / "config.yaml"
    if not config.exists():
        folder.mkdir(parents=True, exist_ok=True)
        source = data / dataset.path
        if dataset.only:
            rows = [json.loads(line) for line in source.read_text().splitlines()]
            source = folder / "rows.jsonl"
            source.write_text("".join(json.dumps({key: row[key] for key in dataset.only}) + "\n" for row in rows))
        flags = [flag for target in dataset.targets for flag in ("--target", target)]
        command = [sys.executable, "-m", "mmstream.cli", "init", str(source), "--output", str(config), *flags]
        subprocess.run(command, check=True)
    if not (folder / "examples").exists():
        mmstream.preprocess(config, output=folder / "examples")
    return config


def measured(config: Path, folder: Path, changes: Sequence[str], seed: int) -> dict[str, Any]:
    """{"<head>.<metric>": value, "seconds": of the training, "baselines": {"<head>.<metric>": the best value}}."""
    model = folder / "model"
    shutil.rmtree(model, ignore_errors=True)
    changed = load_config(str(config), [*changes, f"training.seed={seed}"])
    started = time.monotonic()
    mmstream.train(changed, examples=folder / "examples", output=model)
    seconds = round(time.monotonic() - started)
    heads = mmstream.evaluate(model, examples=folder / "examples", check_labels=0)["heads"]
    names = {head: f"{head}.{about['metric']}" for head, about in heads.items()}
    return {
        **{names[head]: round(about[about["metric"]], 4) for head, about in heads.items()},
        "baselines": {names[head]: round(about["best_baseline"]["value"], 4) for head, about in heads.items()},
        "seconds": seconds,
    }


def table(results: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines of a table for each data set."""
    for name in DATASETS:
        runs = {
            row.name: [results[key] for seed in SEEDS if (key := f"{name}/{row.name}/{seed}") in results]
            for row in ROWS
        }
        if not runs[AS_WRITTEN]:
            continue
        metrics = list(runs[AS_WRITTEN][0]["baselines"])
        yield f"| {name} | {' | '.join(metrics)} | seeds | seconds |"
        yield "| --- " * (len(metrics) + 3) + "|"
        best = [np.mean([run["baselines"][metric] for run in runs[AS_WRITTEN]]) for metric in metrics]
        yield f"| best baseline | {' | '.join(f'{value:.3f}' for value in best)} | | |"
        for row in ROWS:
            if found := runs[row.name]:
                values = " | ".join(_spread([run[metric] for run in found]) for metric in metrics)
                yield f"| {row.name} | {values} | {len(found)} | {max(run['seconds'] for run in found)} |"
        yield ""


def _spread(values: Sequence[float]) -> str:
    mean = f"{np.mean(values):.3f}"
    return mean if len(values) == 1 else f"{mean} ({min(values):.3f}–{max(values):.3f})"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True, dest="command")
    runs = commands.add_parser("run")
    runs.add_argument("data", type=Path)
    runs.add_argument("--output", type=Path, required=True)
    runs.add_argument("--only", nargs="+", default=[], choices=DATASETS)
    runs.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    commands.add_parser("table").add_argument("results", type=Path)
    arguments = parser.parse_args()
    if arguments.command == "run":
        run(arguments.data.resolve(), arguments.output.resolve(), arguments.only, arguments.seeds)
    else:
        print("\n".join(table(json.loads(arguments.results.read_text()))))
