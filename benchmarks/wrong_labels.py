"""Measure how many planted wrong labels are among the records that `mmstream evaluate` doubts most.

    .venv/bin/python benchmarks/wrong_labels.py run DATA --output work/wrong [--only emoji] [--seeds 1 2 3]
    .venv/bin/python benchmarks/wrong_labels.py table work/wrong/results.json

DATA is a folder with a folder for each of `DATASETS`. In a copy of its manifest, 5 % of the labels of each column are
replaced: a class by another class, one tag of a list by a tag that the record lacks; each value is as likely as any
other. A network is trained, and labels are checked. Precision is the share of planted errors among the first hundred
doubted records, or as many as were planted, if these are fewer; if fewer are doubted, the rest counts as wrong.
"cleanlab's own order" is that of its scores of all values, for the same expectations. A row is measured once.
"""

from __future__ import annotations

import argparse
import base64
import dataclasses
import gzip
import io
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import cleanlab.multilabel_classification
import cleanlab.rank
import keras
import numpy as np
from PIL import Image

import mmstream
from mmstream.config.loading import load_config
from mmstream.evaluation import doubtful_labels, label_quality
from mmstream.evaluation.predictions import predict_split
from mmstream.preprocessing import examples
from mmstream.trained_model.artefact import load

SEEDS = (1, 2, 3)
SHARE = 0.05
"""How many of the labels are replaced."""
FEWEST = 5
"""A value that fewer records have replaces none."""

Rows = list[dict[str, Any]]


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A data set and how a network is trained on it.

    Attributes:
        rows: reads it: {"id", …} each.
        columns: those in which errors are planted.
        config: all of the config but the source.
    """

    rows: Callable[[Path], Rows]
    columns: Sequence[str]
    config: str


def manifest(path: str, count: int | None = None) -> Callable[[Path], Rows]:
    """Reads a manifest below DATA; rows without an id are called by their number."""

    def read(data: Path) -> Rows:
        rows = [json.loads(line) for line in (data / path).read_text().splitlines()]
        chosen = rows if count is None else [rows[n] for n in np.random.default_rng(0).permutation(len(rows))[:count]]
        return [{"id": str(number), **row, "_from": str((data / path).parent)} for number, row in enumerate(chosen)]

    return read


def mnist(data: Path) -> Rows:
    """MNIST's own files."""
    images, labels = (
        gzip.decompress((data / f"digits/mnist-first2000-{name}-ubyte.gz").read_bytes())
        for name in ("images-idx3", "labels-idx1")
    )
    rows = []
    for number, label in enumerate(labels[8:]):
        pixels = np.frombuffer(images, np.uint8, 28 * 28, 16 + 28 * 28 * number).reshape(28, 28)
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "PNG")
        picture = base64.b64encode(buffer.getvalue()).decode()
        rows.append({"id": f"mnist-{number:05d}", "image": picture, "label": str(label), "_from": str(data)})
    return rows


DATASETS = {
    "mnist": Dataset(
        mnist,
        ("label",),
        """
split: {validation: 0.1, test: 0.2}
fields: {image: {use: image, size: [28, 28], augment: [{crop: 0.1}, {rotate: 10}]}, label: {use: category}}
model:
  width: 64
  encoders: {image: {use: cnn, filters: [16, 32, 64]}}
  heads: {label: {use: classification, reads: image}}
training: {epochs: 20, batch_size: 32}
""",
    ),
    "sign": Dataset(
        manifest("digits/sign.jsonl"),
        ("label",),
        """
split: {validation: 0.15, test: 0.15}
fields:
  image: {use: image, size: [64, 64], augment: [{crop: 0.2}, {rotate: 10}, {brightness: 0.2}]}
  label: {use: category}
model:
  width: 64
  encoders: {image: {use: cnn, filters: [32, 64, 128]}}
  heads: {label: {use: classification, reads: image}}
training: {epochs: 60, batch_size: 16}
""",
    ),
    "exercises": Dataset(
        manifest("exercises/manifest.jsonl"),
        ("equipment", "muscles"),
        """
split: {validation: 0.1, test: 0.15}
fields:
  image:     {use: image, size: [48, 48], augment: [{crop: 0.2}]}
  text:      {use: text, length: 128, lowercase: true}
  equipment: {use: category}
  muscles:   {use: tags, min_count: 5}
model:
  width: 64
  encoders: {image: {use: cnn, filters: [16, 32, 64]}, text: {use: bag_of_words}}
  fusion: {use: concat}
  heads:
    equipment: {use: classification, reads: [image, text]}
    muscles:   {use: tagging, reads: [image, text]}
training: {epochs: 30, batch_size: 16}
""",
    ),
    "products": Dataset(
        manifest("products/manifest.jsonl"),
        ("categories",),
        """
split: {validation: 0.1, test: 0.15}
fields:
  image:      {use: image, size: [48, 48], augment: [{crop: 0.2}]}
  text:       {use: text, length: 128, lowercase: true}
  categories: {use: tags, min_count: 3}
model:
  width: 64
  encoders: {image: {use: cnn, filters: [16, 32, 64]}, text: {use: bag_of_words}}
  fusion: {use: concat}
  heads: {categories: {use: tagging, reads: [image, text]}}
training: {epochs: 40, batch_size: 16}
""",
    ),
    "emoji": Dataset(
        manifest("emoji/manifest.jsonl"),
        ("group", "keywords"),
        """
split: {validation: 0.1, test: 0.1}
fields:
  image:    {use: image, size: [32, 32], augment: [{crop: 0.2}, {rotate: 10}]}
  text:     {use: text, length: 8}
  keywords: {use: tags, min_count: 5}
  group:    {use: category}
model:
  width: 64
  encoders: {image: {use: cnn, filters: [16, 32, 64]}, text: {use: bag_of_words}}
  fusion: {use: concat}
  heads:
    group:         {use: classification, reads: [image, text]}
    group_by_look: {use: classification, target: group, reads: image, label_smoothing: 0.1}
    keywords:      {use: tagging, reads: [image, text]}
training: {epochs: 25, batch_size: 32, optimizer: {use: adamw, learning_rate: 0.001, weight_decay: 0.02}}
""",
    ),
    "easy_vqa": Dataset(
        manifest("easy_vqa/manifest.jsonl", 6_000),
        ("answer",),
        """
split: {validation: 0.1, test: 0.15, group: image}
fields:
  image:    {use: image, size: [48, 48], augment: []}
  question: {use: text, length: 12, lowercase: true}
  answer:   {use: category}
model:
  width: 64
  encoders: {image: {use: cnn, filters: [16, 32, 64]}, question: {use: gru}}
  fusion: {use: cross_attention}
  heads: {answer: {use: classification}}
training: {epochs: 16, batch_size: 64}
""",
    ),
}


def plant(rows: Rows, columns: Sequence[str], seed: int) -> dict[str, list[str]]:
    """Replace labels in rows; returns {column: ids of the rows that were changed}."""
    random, planted = np.random.default_rng(seed), {}
    for column in columns:
        counts = Counter(value for row in rows for value in values_of(row, column))
        names = sorted((name for name, count in counts.items() if count >= FEWEST), key=str)
        having = [row for row in rows if values_of(row, column)]
        chosen = [having[n] for n in random.permutation(len(having))[: round(SHARE * len(having))]]
        for row in chosen:
            own = values_of(row, column)
            other = random.choice([n for n in range(len(names)) if names[n] not in own])
            if isinstance(row[column], list):
                row[column] = list(own)
                row[column][random.integers(len(own))] = names[other]
            else:
                row[column] = names[other]
        planted[column] = [row["id"] for row in chosen]
    return planted


def values_of(row: Mapping[str, Any], column: str) -> Sequence[Any]:
    """The class or the tags of a row; none if it has none."""
    value = row.get(column)
    return value if isinstance(value, list) else [] if value in (None, "") else [value]


def make(data: Path, dataset: str, seed: int, folder: Path) -> None:
    """Plant errors, preprocess, train; what is there already is left."""
    if (folder / "model" / "model.json").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    about, rows = DATASETS[dataset], DATASETS[dataset].rows(data.resolve())
    (folder / "planted.json").write_text(json.dumps(plant(rows, about.columns, seed)))
    for row in rows:
        if (Path(row["_from"]) / row["image"][:200]).is_file():
            row["image"] = f"{row['_from']}/{row['image']}"
    path, config_path = folder.resolve() / "manifest.jsonl", folder / "config.yaml"
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    source = f"source: {{use: jsonl, path: {path}, id: id, roots: [{data.resolve()}]}}\ngolden: 2\n"
    config_path.write_text(source + about.config)
    mmstream.preprocess(config_path, output=folder / "examples")
    mmstream.train(
        load_config(str(config_path), [f"training.seed={seed}"]), examples=folder / "examples", output=folder / "model"
    )


def measure(folder: Path) -> dict[str, Any]:
    """{head: {"seconds", split: {"records", "planted", "first", "precision", "cleanlab"}}} of a trained model."""
    model, path = load(folder / "model", embeddings=True), str(folder / "examples")
    planted = json.loads((folder / "planted.json").read_text())
    predictions = predict_split(model, path, "test")
    ranked: list[tuple[int, np.ndarray]] = []

    def remember(expected: np.ndarray, hot: np.ndarray, exclusive: bool) -> label_quality.Quality:
        quality = label_quality.quality_of(expected, hot, exclusive)
        ranked.append((len(hot), np.argsort(scores_of_cleanlab(quality.probabilities, hot, exclusive), kind="stable")))
        return quality

    started = time.monotonic()
    with mock.patch.object(doubtful_labels, "quality_of", remember):  # what is expected is given to both
        doubts = doubtful_labels.find_doubtful(predictions, path, "test", 5_000)
    seconds, figures = round(time.monotonic() - started), {}
    splits = {split: records_of(path, split, list(planted)) for split in ("train", "test")}
    for head in model.heads:
        target = model.heads[head]["target"]
        exclusive, figures[head] = model.head(head).label_type == "string", {"seconds": seconds}
        values = label_quality.CheckedValues.of(model.fitted(head).vocabulary, splits["train"][1][target], exclusive)
        for split, (ids, given) in splits.items():
            count, ours = ranked.pop(0)
            rows, _ = values.hot(given[target])
            checked = [ids[row] for row in rows]
            assert len(checked) == count, "every record can be read"
            wrong = set(planted[target]).intersection(checked)
            first = min(100, len(wrong))
            found = [doubt.id in wrong for doubt in doubts if (doubt.head, doubt.split) == (head, split)]
            figures[head][split] = {
                "records": count,
                "planted": len(wrong),
                "first": first,
                "precision": sum(found[:first]) / first,
                "cleanlab": sum(checked[place] in wrong for place in ours[:first]) / first,
            }
    return figures


def scores_of_cleanlab(probabilities: np.ndarray, hot: np.ndarray, exclusive: bool) -> np.ndarray:
    """float[N]: cleanlab's self-confidence of classes, and its moving average over all tags."""
    if exclusive:
        return cleanlab.rank.get_label_quality_scores(hot.argmax(1), probabilities)
    labels = [np.flatnonzero(row).tolist() for row in hot]
    return cleanlab.multilabel_classification.get_label_quality_scores(labels, probabilities)


def records_of(path: str, split: str, fields: Sequence[str]) -> tuple[list[str], dict[str, list[Any]]]:
    """The ids of the records of a split, in order, and {field: their given values}."""
    ids, given = [], {field: [] for field in fields}
    for batch in examples.read_examples(examples.shards_of(path, split)).batch(256):
        ids += examples.told(batch, ["_id"])[0]
        for field, values in examples.given(batch, list(fields)).items():
            given[field] += list(values)
    return ids, given


def run(data: Path, output: Path, only: Sequence[str], seeds: Sequence[int]) -> None:
    """Make and measure what is not in results.json yet."""
    place = output / "results.json"
    results: dict[str, Any] = json.loads(place.read_text()) if place.exists() else {}
    for dataset in only or DATASETS:
        for seed in seeds:
            key = f"{dataset}/{seed}"
            if key not in results:
                make(data, dataset, seed, output / f"{dataset}-{seed}")
                results[key] = measure(output / f"{dataset}-{seed}")
                place.write_text(json.dumps(results, indent=1, ensure_ascii=False))
                print(key, results[key], flush=True)
                keras.backend.clear_session()


def table(results: Mapping[str, Any]) -> Iterator[str]:
    """Yield Markdown: a line for each head and split, with the mean over the seeds."""
    yield "| data | label | split | records | planted | first | precision | cleanlab's own order |"
    yield "| --- | --- | --- | --- | --- | --- | --- | --- |"
    for dataset in DATASETS:
        runs = [each for key, each in results.items() if key.split("/")[0] == dataset]
        for head in runs[0] if runs else ():
            for split in ("train", "test"):
                rows = [each[head][split] for each in runs]
                counts = [" ".join(str(row[key]) for row in rows) for key in ("records", "planted", "first")]
                means = [f"{np.mean([row[key] for row in rows]):.2f}" for key in ("precision", "cleanlab")]
                yield f"| {' | '.join((dataset, head, split, *counts, *means))} |"


def main() -> None:
    """Run a command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True, dest="command")
    runs, tables = commands.add_parser("run"), commands.add_parser("table")
    runs.add_argument("data", type=Path)
    runs.add_argument("--output", type=Path, required=True)
    runs.add_argument("--only", nargs="*", default=(), choices=DATASETS)
    runs.add_argument("--seeds", nargs="*", type=int, default=SEEDS)
    tables.add_argument("results", type=Path)
    given = parser.parse_args()
    if given.command == "run":
        run(given.data, given.output, given.only, given.seeds)
    else:
        print("\n".join(table(json.loads(given.results.read_text()))))


if __name__ == "__main__":
    main()
