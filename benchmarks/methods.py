"""What each method does on real data: trains configs with several seeds and writes the figures down.

    .venv/bin/python benchmarks/methods.py run DATA --output work/methods [--only emoji] [--seeds 1 2 3]
    .venv/bin/python benchmarks/methods.py table work/methods/results.json

DATA is a folder with the data sets, one folder each; see `DATASETS`. A row that stands in results.json already is not
trained again. `table` prints the table of docs/methods.md.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import trivial

from mmstream.config_file import load_config
from mmstream.records import digest_of

ROOT = Path(__file__).parents[1]
MMSTREAM = (sys.executable, "-m", "mmstream.cli")
CAPTIONS = ("caption.chrf", "caption.written.unique", "caption.written.in_training", "caption.written.first_for_image")


@dataclasses.dataclass(frozen=True)
class Row:
    """A line of the table.

    Attributes:
        name: of the row.
        dataset: whose examples it is trained on; a key of `DATASETS`.
        changes: to the data set's config, as `--set` takes them.
        shown: the figures, as paths in metrics.json's "heads", or in "retrieval" after "retrieval.".
        headline: with all seeds; other rows get the first one only.
    """

    name: str
    dataset: str
    changes: Sequence[str]
    shown: Sequence[str]
    headline: bool = False


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A config, and where its manifest lies below DATA."""

    config: str
    path: str


DATASETS = {
    "emoji": Dataset("benchmarks/methods/emoji.yaml", "emoji/manifest.jsonl"),
    "easy_vqa": Dataset("examples/easy_vqa/config.yaml", "easy_vqa/manifest.jsonl"),
    "digits": Dataset("examples/digits/mnist.yaml", "digits/mnist.parquet"),
    "products": Dataset("examples/products/config.yaml", "products/manifest.jsonl"),
    "grocery": Dataset("examples/grocery/config.yaml", "grocery/manifest.jsonl"),
}
_ADVERSARY = (
    "model.objectives.natural={use: adversarial_caption, head: caption, target: text, field: image, weight: 0.3, "
    "from_epoch: 21, warm_up: 4}"
)
_MATCH = "model.heads.caption.match=image"
_RETRIEVAL = ("retrieval.image->text.r@10", "retrieval.text->image.r@10")
ROWS = (
    Row(
        "tags, group, retrieval",
        "emoji",
        (),
        ("keywords.map", "group.accuracy", *_RETRIEVAL),
        headline=True,
    ),
    Row("captions, likelihood only", "emoji", (), CAPTIONS, headline=True),
    Row("captions + adversarial", "emoji", (_ADVERSARY,), CAPTIONS, headline=True),
    Row("captions + matching", "emoji", (_MATCH,), CAPTIONS, headline=True),
    Row("captions + adversarial + matching", "emoji", (_ADVERSARY, _MATCH), CAPTIONS, headline=True),
    Row("handwritten digits", "digits", (), ("label.accuracy",), headline=True),
    Row("questions about pictures", "easy_vqa", (), ("answer.accuracy",), headline=True),
    Row("products", "products", (), ("color.accuracy", "material.map", "climate.map"), headline=True),
    Row("groceries", "grocery", (), ("fine.accuracy", "coarse.accuracy", "top.accuracy"), headline=True),
    *(
        Row(f"weights of losses: {weighting}", "emoji", (f"training.weighting={weighting}",), tasks)
        for tasks in [("keywords.map", "group.accuracy", "caption.chrf")]
        for weighting in ("uncertainty", "dynamic")
    ),
    *(
        Row(f"alignment: {use}", "emoji", (f"model.objectives.align.use={use}",), _RETRIEVAL)
        for use in ("sigmoid_contrastive", "matching")
    ),
)


def run(data: Path, output: Path, only: Sequence[str], seeds: Sequence[int]) -> None:
    """Train and measure what is not in results.json yet."""
    output.mkdir(parents=True, exist_ok=True)
    place = output / "results.json"
    results: dict[str, Any] = json.loads(place.read_text()) if place.exists() else {}
    for row in ROWS:
        if only and row.dataset not in only:
            continue
        dataset = DATASETS[row.dataset]
        source = ("--set", f"source.path={(data / dataset.path).resolve()}")
        examples = output / row.dataset / "examples"
        mmstream("preprocess", ROOT / dataset.config, *source, "--output", examples)
        if f"trivial/{row.dataset}" not in results:
            results[f"trivial/{row.dataset}"] = trivial.baselines(load_config(str(ROOT / dataset.config)), examples)
        for seed in seeds if row.headline else seeds[:1]:
            key = "/".join((row.dataset, *row.changes, str(seed)))
            if key not in results:
                results[key] = train(row, examples, source, seed, output / row.dataset)
                place.write_text(json.dumps(results, indent=1))


def train(row: Row, examples: Path, source: Sequence[str], seed: int, folder: Path) -> dict[str, Any]:
    """Metrics of a row with a seed, and the seconds of its training."""
    changes = [flag for change in (*row.changes, f"training.seed={seed}") for flag in ("--set", change)]
    model = folder / f"model-{digest_of([row.changes, seed])}"
    started = time.monotonic()
    mmstream("train", ROOT / DATASETS[row.dataset].config, *source, *changes, "--examples", examples, "--output", model)
    seconds = time.monotonic() - started
    mmstream("evaluate", model, "--examples", examples)
    metrics = json.loads((model / "evaluation" / "test" / "metrics.json").read_text())
    return {"seconds": round(seconds), "heads": metrics["heads"], "retrieval": metrics["retrieval"]}


def mmstream(*arguments: object) -> None:
    """One command; what it prints is not shown unless it fails."""
    done = subprocess.run([*MMSTREAM, *map(str, arguments)], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"mmstream {' '.join(map(str, arguments))} failed:\n{done.stderr}")


def table(results: Mapping[str, Any]) -> Iterator[str]:
    """The table, as Markdown: a line for each figure of each row, with the range over the seeds."""
    yield "| data | row | figure | mmstream | trivial | seconds |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for row in ROWS:
        start = "/".join((row.dataset, *row.changes)) + "/"
        found = [each for key, each in results.items() if key.startswith(start) and key.removeprefix(start).isdigit()]
        for path in row.shown if found else ():
            values = [look_up(each, path) for each in found]
            baseline = results.get(f"trivial/{row.dataset}", {}).get(path)
            told = "" if baseline is None else f"{baseline['value']:.3f} ({baseline['by']})"
            seconds = max(each["seconds"] for each in found)
            yield f"| {row.dataset} | {row.name} | {path} | {spread(values)} | {told} | {seconds} |"


def look_up(found: Mapping[str, Any], path: str) -> float:
    """A figure by its path."""
    place: Any = found["retrieval"] if path.startswith("retrieval.") else found["heads"]
    for step in path.removeprefix("retrieval.").split("."):
        place = place[step]
    return float(place)


def spread(values: Sequence[float]) -> str:
    """The mean, and the smallest and the largest of several."""
    if len(values) == 1:
        return f"{values[0]:.3f}"
    return f"{np.mean(values):.3f} ({min(values):.3f}–{max(values):.3f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True, dest="command")
    runs = commands.add_parser("run")
    runs.add_argument("data", type=Path)
    runs.add_argument("--output", type=Path, required=True)
    runs.add_argument("--only", nargs="*", default=[], choices=DATASETS)
    runs.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    tables = commands.add_parser("table")
    tables.add_argument("results", type=Path)
    flags = parser.parse_args()
    if flags.command == "run":
        run(flags.data, flags.output, flags.only, flags.seeds)
    else:
        print(*table(json.loads(flags.results.read_text())), sep="\n")


if __name__ == "__main__":
    main()
