"""Measure what each way to balance classes does to the rare ones and to accuracy, on data cut to be imbalanced.

    .venv/bin/python benchmarks/imbalance.py run DATA --output work/imbalance [--only digits] [--seeds 1 2 3]
    .venv/bin/python benchmarks/imbalance.py table work/imbalance/results.json

DATA holds emoji/manifest.jsonl and digits/mnist.parquet, as for methods.py. The training split is cut so that the sizes
of classes fall exponentially, the last class having a fiftieth of the first one's records; a seed decides which records
are left, and is that of the training. The test split is the same for all seeds, and keeps every record. There is no
validation split, in which a rare class would have a record or none: every network is trained for all epochs. The tags
of the emoji are rare by nature; they are not cut, and have a validation split, from which their thresholds come. A row
that is already in results.json is not trained again. `table` prints Markdown.
"""

from __future__ import annotations

import argparse
import base64
import dataclasses
import json
import shutil
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pyarrow.parquet

import mmstream
from mmstream.config.loading import load_config
from mmstream.evaluation.outcomes import metrics_of
from mmstream.evaluation.predictions import predict_split
from mmstream.records.record import digest_of

SEEDS = (1, 2, 3)
RATIO = 50
"""How many records the most frequent class has for one of the rarest."""
TEST, VALIDATION = 0.25, 0.1

CONFIG = """
source: {{use: jsonl, path: {manifest}, id: id, roots: [{roots}]}}
split: {{column: split}}
fields:
  image:  {{use: image, size: [{pixels}, {pixels}], augment: [{{crop: 0.2}}, {{rotate: 10}}]}}
  target: {target}
model:
  width: 64
  encoders: {{image: {{use: cnn, filters: [16, 32, 64]}}}}
  heads: {{target: {{use: {head}, reads: image}}}}
golden: 2
training: {{epochs: {epochs}, batch_size: 32, optimizer: {{use: adamw, learning_rate: 0.001, weight_decay: {decay}}}}}
"""


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A data set and how a network is trained on it.

    Attributes:
        path: its file below DATA.
        rows: reads this file: {"id", "image", "target", "group"}, where records of one group stay in one split.
        config: the arguments of `CONFIG`.
        frequent_first: the classes in the order in which they are cut; () for no cut.
        shown: the metrics to show; the first is the main one.
    """

    path: str
    rows: Callable[[Path], list[dict[str, Any]]]
    config: Mapping[str, Any]
    frequent_first: Sequence[str]
    shown: Sequence[str]


def emoji(path: Path, target: str = "group") -> list[dict[str, Any]]:
    """Emoji; drawings of one emoji in several styles are a group."""
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    return [
        {"id": row["id"], "image": str(path.parent / row["image"]), "target": row[target], "group": row["text"]}
        for row in rows
    ]


def tags(path: Path) -> list[dict[str, Any]]:
    """Emoji and their keywords."""
    return emoji(path, "keywords")


def digits(path: Path) -> list[dict[str, Any]]:
    """Handwritten digits."""
    return [
        {
            "id": row["id"],
            "image": base64.b64encode(row["image"]).decode(),
            "target": str(row["label"]),
            "group": row["id"],
        }
        for row in pyarrow.parquet.read_table(path).to_pylist()
    ]


_CATEGORY = {"target": "{use: category}", "head": "classification"}
_DECAY = 0.02
"""As in methods/emoji.yaml."""
_CLASSES = ("accuracy", "balanced_accuracy", "rare_recall")
_GROUPS = (
    "people_&_body",
    "flags",
    "objects",
    "symbols",
    "travel_&_places",
    "smileys_&_emotion",
    "animals_&_nature",
    "food_&_drink",
    "activities",
)
DATASETS = {
    "digits": Dataset(
        "digits/mnist.parquet",
        digits,
        {**_CATEGORY, "pixels": 28, "epochs": 40, "decay": 0.004},
        tuple(map(str, range(10))),
        _CLASSES,
    ),
    "emoji groups": Dataset(
        "emoji/manifest.jsonl",
        emoji,
        {**_CATEGORY, "head": "classification, label_smoothing: 0.1", "pixels": 32, "epochs": 25, "decay": _DECAY},
        _GROUPS,
        _CLASSES,
    ),
    "emoji tags": Dataset(
        "emoji/manifest.jsonl",
        tags,
        {"target": "{use: tags, min_count: 5}", "head": "tagging", "pixels": 32, "epochs": 25, "decay": _DECAY},
        (),
        ("map", "micro_f1", "rare_recall"),
    ),
}
NONE = "nothing"
ROWS = {
    NONE: (),
    "balance: class_weights": ("model.heads.target.balance=class_weights",),
    "balance: focal": ("model.heads.target.balance=focal",),
    "balance: logit_adjustment": ("model.heads.target.balance=logit_adjustment",),
    "sampling: {balanced: …}": ("training.sampling={balanced: target}",),
    "balance: positive_weights": ("model.heads.target.balance=positive_weights",),
}


def rows_of(dataset: str) -> dict[str, tuple[str, ...]]:
    """The rows of a data set: what is done to balance its classes or tags, and the changes to the config."""
    of_tags = "positive_weights"
    fits = (of_tags,) if not DATASETS[dataset].frequent_first else ("class_weights", "focal", "adjustment", "sampling")
    return {name: changes for name, changes in ROWS.items() if name == NONE or any(each in name for each in fits)}


def cut(rows: Sequence[dict[str, Any]], frequent_first: Sequence[str], seed: int) -> list[dict[str, Any]]:
    """Give each row its split, and leave out rows of the training split as the profile says."""
    for row in rows:
        place = int(digest_of([row["group"]])[:8], 16) / 16**8
        validation = 0 if frequent_first else VALIDATION
        row["split"] = "test" if place < TEST else "validation" if place < TEST + validation else "train"
    if not frequent_first:
        return list(rows)
    random = np.random.default_rng(seed)
    by_class: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        if row["split"] == "train":
            by_class[row["target"]].append(row)
    kept = [row for row in rows if row["split"] == "test"]
    for place, name in enumerate(frequent_first):
        count = round(len(by_class[frequent_first[0]]) * RATIO ** (-place / (len(frequent_first) - 1)))
        kept += [by_class[name][n] for n in random.permutation(len(by_class[name]))[:count]]
    return kept


def run(data: Path, output: Path, only: Sequence[str], seeds: Sequence[int]) -> None:
    """Train and measure what is not in results.json yet."""
    output.mkdir(parents=True, exist_ok=True)
    place = output / "results.json"
    results: dict[str, Any] = json.loads(place.read_text()) if place.exists() else {}
    for dataset in only or DATASETS:
        for seed in seeds:
            for name, changes in rows_of(dataset).items():
                key = f"{dataset}/{name}/{seed}"
                if key not in results:
                    results[key] = measure(data, dataset, changes, seed, output)
                    place.write_text(json.dumps(results, indent=1, ensure_ascii=False))
                    print(key, results[key], flush=True)


def measure(data: Path, dataset: str, changes: Sequence[str], seed: int, output: Path) -> dict[str, Any]:
    """Metrics of one training, its seconds, and how many training records each class has."""
    about, folder = DATASETS[dataset], output / f"{dataset.replace(' ', '_')}-{seed}"
    path = data.resolve() / about.path
    rows = cut(about.rows(path), about.frequent_first, seed)
    config_path, model = folder / "config.yaml", folder / "model"
    if not (folder / "examples" / "preprocess.json").exists():
        folder.mkdir(parents=True, exist_ok=True)
        manifest = folder.resolve() / "manifest.jsonl"
        manifest.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
        config_path.write_text(CONFIG.format(manifest=manifest, roots=path.parent, **about.config))
        mmstream.preprocess(config_path, output=folder / "examples")
    shutil.rmtree(model, ignore_errors=True)
    keras.backend.clear_session()
    started = time.monotonic()
    config = load_config(str(config_path), [*changes, f"training.seed={seed}"])
    trained = mmstream.train(config, examples=folder / "examples", output=model)
    seconds = round(time.monotonic() - started)
    outcome = predict_split(trained, str(folder / "examples"), "test").outcome("target")
    metrics = metrics_of(trained.head("target"), outcome)
    counts = Counter(row["target"] for row in rows if row["split"] == "train") if about.frequent_first else {}
    return {"seconds": seconds, "train": counts, **{name: metrics[name] for name in about.shown}}


def table(results: Mapping[str, Any]) -> Iterator[str]:
    """Yield Markdown: a line for each row, with the mean over the seeds and the range."""
    for kind in dict.fromkeys(about.shown for about in DATASETS.values()):
        yield f"| data | setting | {' | '.join(kind)} |"
        yield f"| --- | --- |{' --- |' * len(kind)}"
        for dataset, about in DATASETS.items():
            for name in rows_of(dataset) if about.shown == kind else ():
                runs = [results[f"{dataset}/{name}/{seed}"] for seed in SEEDS if f"{dataset}/{name}/{seed}" in results]
                if runs:
                    figures = " | ".join(spread([each[metric] for each in runs]) for metric in kind)
                    yield f"| {dataset} | {name} | {figures} |"
        yield ""


def spread(values: Sequence[float]) -> str:
    """Write the mean of some values, the smallest and the largest."""
    return f"{np.mean(values):.3f} ({min(values):.3f}–{max(values):.3f})"


def main() -> None:
    """Run a command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True, dest="command")
    runs = commands.add_parser("run")
    runs.add_argument("data", type=Path)
    runs.add_argument("--output", type=Path, required=True)
    runs.add_argument("--only", nargs="*", default=(), choices=DATASETS)
    runs.add_argument("--seeds", nargs="*", type=int, default=SEEDS)
    tables = commands.add_parser("table")
    tables.add_argument("results", type=Path)
    given = parser.parse_args()
    if given.command == "run":
        run(given.data, given.output, given.only, given.seeds)
    else:
        print("\n".join(table(json.loads(given.results.read_text()))).rstrip())


if __name__ == "__main__":
    main()
