"""Measure each method on real data: train configs with several seeds and record the metrics.

    .venv/bin/python benchmarks/methods.py run DATA --output work/methods [--only emoji] [--seeds 1 2 3]
    .venv/bin/python benchmarks/methods.py table work/methods/results.json

DATA is a folder with the data sets, one folder each; see `DATASETS`. A row that is already in results.json is not
trained again. `table` prints Markdown.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mmstream.config.loading import load_config
from mmstream.config.schema import Config
from mmstream.evaluation import baselines
from mmstream.models.compose import compose
from mmstream.models.multimodal_model import MultimodalModel
from mmstream.preprocessing.preprocessor import Preprocessor
from mmstream.records.record import digest_of
from mmstream.training import train
from mmstream.training.checkpoint import Checkpoint
from mmstream.training.saving import save_model

ROOT = Path(__file__).parents[1]
SEEDS = (1, 2, 3)
MMSTREAM = (sys.executable, "-m", "mmstream.cli")


@dataclasses.dataclass(frozen=True)
class Row:
    """A line of the table.

    Attributes:
        name: of the row.
        dataset: the data set that it is trained on; a key of `DATASETS`.
        shown: the figures, as paths in metrics.json's "heads", or in "retrieval" after "retrieval.".
        changes: to the data set's config, as `--set` takes them.
        labelling: changes that only affect labelling: the row uses the network that was trained without them.
        headline: whether it is run with all of `SEEDS`; other rows get only the first one.
    """

    name: str
    dataset: str
    shown: Sequence[str]
    changes: Sequence[str] = ()
    labelling: Sequence[str] = ()
    headline: bool = False

    def key(self, seed: int) -> str:
        """The name in results.json of this row with a seed."""
        return "/".join((self.dataset, *self.changes, *self.labelling, str(seed)))


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A config, and the path of its manifest below DATA."""

    config: str
    path: str


DATASETS = {
    "emoji": Dataset("benchmarks/methods/emoji.yaml", "emoji/manifest.jsonl"),
    "fused": Dataset("benchmarks/methods/fused.yaml", "emoji/manifest.jsonl"),
    "easy_vqa": Dataset("examples/easy_vqa/config.yaml", "easy_vqa/manifest.jsonl"),
    "digits": Dataset("examples/digits/mnist.yaml", "digits/mnist.parquet"),
    "products": Dataset("examples/products/config.yaml", "products/manifest.jsonl"),
    "grocery": Dataset("examples/grocery/config.yaml", "grocery/manifest.jsonl"),
}
_ADVERSARY = (
    "model.objectives.natural={use: adversarial_caption, head: caption, target: text, field: image, weight: 0.3, "
    "from_epoch: 20, warm_up: 4}"
)
_MATCH = "model.heads.caption.match=image"
_IMPUTE = (
    "model.objectives.absent={use: adversarial, fields: [image, text]}",
    "model.impute=absent",
)
_SHORT, _BFLOAT16 = "training.epochs=20", "training.precision=mixed_bfloat16"
_LATE = ("model.heads.caption.from_epoch=5", "model.heads.caption.warm_up=4")
_DROPOUT = "training.modality_dropout=0.3"
_WRITTEN = ("distinct_1", "distinct_2", "unique", "in_training", "first_for_image")
_CAPTIONS = ("caption.chrf", "caption.exact", *(f"caption.written.{name}" for name in _WRITTEN))
_RETRIEVAL = ("retrieval.image->text.r@10", "retrieval.text->image.r@10")
_MAIN = ("keywords.map", "group.accuracy", *_RETRIEVAL)
_TASKS = ("keywords.map", "group.accuracy", "caption.chrf")
_ABSENT = tuple(
    f"{head}.{which}"
    for head in ("keywords.fields", "group.fields")
    for which in ("image.whole", "image.alone", "text.alone")
)
FUSIONS = {
    "fused": {"keywords": "map", "group": "accuracy"},
    "easy_vqa": {"answer": "accuracy"},
    "products": {"material": "map", "climate": "map"},
}
"""Heads that read several fields, and the metric of each that counts most."""
ROWS = (
    Row("tags, group, retrieval, captions", "emoji", (*_MAIN, *_CAPTIONS), headline=True),
    Row("captions + adversarial", "emoji", _CAPTIONS, (_ADVERSARY,), headline=True),
    Row("captions + matching", "emoji", _CAPTIONS, labelling=(_MATCH,), headline=True),
    Row("captions + adversarial + matching", "emoji", _CAPTIONS, (_ADVERSARY,), (_MATCH,), headline=True),
    Row("handwritten digits", "digits", ("label.accuracy",), headline=True),
    Row("questions about pictures", "easy_vqa", ("answer.accuracy",), headline=True),
    Row("products", "products", ("color.accuracy", "material.map", "climate.map"), headline=True),
    Row("groceries", "grocery", ("fine.accuracy", "coarse.accuracy", "top.accuracy"), (_BFLOAT16,), headline=True),
    Row("fixed weights, contrastive", "emoji", (*_TASKS, *_RETRIEVAL), (_SHORT,)),
    Row("uncertainty weighting", "emoji", _TASKS, (_SHORT, "training.weighting=uncertainty")),
    Row("dynamic weight average", "emoji", _TASKS, (_SHORT, "training.weighting=dynamic")),
    Row("captions from epoch 5, at full weight from epoch 9", "emoji", _TASKS, (_SHORT, *_LATE)),
    Row("sigmoid_contrastive", "emoji", _RETRIEVAL, (_SHORT, "model.objectives.align.use=sigmoid_contrastive")),
    Row("matching", "emoji", _RETRIEVAL, (_SHORT, "model.objectives.align.use=matching")),
    Row("picture and name", "fused", _ABSENT),
    Row("picture and name, modality dropout", "fused", _ABSENT, (_DROPOUT,)),
    Row("picture and name, imputed", "fused", _ABSENT, _IMPUTE),
    Row("picture and name, dropout and imputed", "fused", _ABSENT, (*_IMPUTE, _DROPOUT)),
)


def run(data: Path, output: Path, only: Sequence[str], seeds: Sequence[int]) -> None:
    """Train and measure what is not in results.json yet."""
    output.mkdir(parents=True, exist_ok=True)
    place = output / "results.json"
    results: dict[str, Any] = json.loads(place.read_text()) if place.exists() else {}
    for seed in seeds:
        for row in ROWS:
            if (only and row.dataset not in only) or not (row.headline or seed == SEEDS[0]):
                continue
            folder, source = output / row.dataset, data / DATASETS[row.dataset].path
            if f"baselines/{row.dataset}" not in results:
                config = load_config(str(ROOT / DATASETS[row.dataset].config))
                results[f"baselines/{row.dataset}"] = best_baselines(config, preprocess(row.dataset, source, folder))
                place.write_text(json.dumps(results, indent=1))
            if row.key(seed) not in results:
                results[row.key(seed)] = measure(row, source, seed, folder, results)
                place.write_text(json.dumps(results, indent=1))
                print(f"{row.name}, seed {seed}: {results[row.key(seed)]['seconds']} s", flush=True)


def best_baselines(config: Config, examples: Path) -> dict[str, dict[str, Any]]:
    """{"<head>.<metric>": {"value", "by"}}: the best baseline by each metric on the test split, and its name.

    Args:
        config: whose heads are predicted.
        examples: output of `mmstream preprocess`.
    """
    best: dict[str, dict[str, Any]] = {}
    for head, about in baselines.measure(config, str(examples), "test", "fast")["heads"].items():
        for by, figures in about["baselines"].items():
            for metric, value in figures.items():
                path = f"{head}.{metric}"
                if metric != "intervals" and value > best.get(path, {"value": -np.inf})["value"]:
                    best[path] = {"value": value, "by": by}
    return best


@functools.cache
def preprocess(dataset: str, source: Path, folder: Path) -> Path:
    """Bring the examples of a data set up to date; returns their path."""
    at = ("--set", f"source.path={source.resolve()}")
    mmstream("preprocess", ROOT / DATASETS[dataset].config, *at, "--output", folder / "examples")
    return folder / "examples"


def measure(row: Row, source: Path, seed: int, folder: Path, results: Mapping[str, Any]) -> dict[str, Any]:
    """Metrics of a row with a seed, and the seconds of its training; `results` has the row whose network it uses."""
    model = folder / f"model-{digest_of([row.changes, seed])}"
    examples = preprocess(row.dataset, source, folder)
    at = (f"source.path={source.resolve()}", f"training.seed={seed}")
    changes = [flag for change in (*row.changes, *at) for flag in ("--set", change)]
    if not row.labelling:  # what an interrupted run left would make its training look short
        shutil.rmtree(model, ignore_errors=True)
    config, started = ROOT / DATASETS[row.dataset].config, time.monotonic()
    mmstream("train", config, *changes, "--examples", examples, "--output", model)
    seconds = round(time.monotonic() - started)
    if row.labelling:
        model = relabelled(row, seed, model, examples)
        seconds = results[dataclasses.replace(row, labelling=()).key(seed)]["seconds"]
    mmstream("evaluate", model, "--examples", examples)
    metrics = json.loads((model / "evaluation" / "test" / "metrics.json").read_text())
    return {"seconds": seconds, "heads": metrics["heads"], "retrieval": metrics["retrieval"]}


def relabelled(row: Row, seed: int, trained: Path, examples: Path) -> Path:
    """Make a model with the weights of a trained one, but with the labels made as `row.labelling` says."""
    output = trained.with_name(f"{trained.name}-{digest_of(row.labelling)}")
    shutil.rmtree(output, ignore_errors=True)
    shutil.copytree(trained / "training", output / "training")
    changes = (*row.changes, *row.labelling, f"training.seed={seed}")
    config = load_config(str(ROOT / DATASETS[row.dataset].config), changes)
    preprocessor = Preprocessor(config.fields, str(examples / "transform"))
    composition = compose(config, preprocessor.specs, preprocessor.fitted)
    model = MultimodalModel(composition, config)
    model.build()
    model.compile(optimizer=train.make_optimizer(config, 1))
    model.optimizer.build(model.trainable_variables)
    checkpoint = Checkpoint(output / "training", config)
    checkpoint.restore_best(model)
    save_model(config, composition, str(examples), str(output), checkpoint, {})
    return output


def mmstream(*arguments: object) -> None:
    """Run one command; what it prints is shown only if it fails."""
    done = subprocess.run([*MMSTREAM, *map(str, arguments)], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"mmstream {' '.join(map(str, arguments))} failed:\n{done.stderr}")


def tables(results: Mapping[str, Any]) -> Iterator[str]:
    """Yield Markdown: a line for each figure of each row, with the range over the seeds; then what fusion gains."""
    yield "| data | row | figure | mmstream | best baseline | seconds |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for row in ROWS:
        runs = runs_of(row, results)
        for path in row.shown if runs else ():
            best = _chance(runs, path) or results[f"baselines/{row.dataset}"].get(path)
            other = "" if best is None else f"{best['value']:.3f} ({best['by']})"
            seconds = max(each["seconds"] for each in runs)
            yield f"| {row.dataset} | {row.name} | {path} | {spread(look_up(runs, path))} | {other} | {seconds} |"
    yield ""
    yield "| data | row | figure | all fields | best field alone | difference |"
    yield "| --- | --- | --- | --- | --- | --- |"
    gains = []
    for row in ROWS:
        runs = runs_of(row, results)
        for head, metric in FUSIONS.get(row.dataset, {}).items() if runs and not row.changes else ():
            whole = [each["heads"][head][metric] for each in runs]
            alone = [max(field["alone"] for field in each["heads"][head]["fields"].values()) for each in runs]
            gain = np.mean(whole) - np.mean(alone)
            gains.append(gain)
            figure = f"{head}.{metric}"
            yield f"| {row.dataset} | {row.name} | {figure} | {spread(whole)} | {spread(alone)} | {gain:+.3f} |"
    if gains:
        yield f"| | pooled | | | | {np.mean(gains):+.3f} |"


def _chance(runs: Sequence[Mapping[str, Any]], path: str) -> dict[str, Any] | None:
    """The recall of a random order, if one candidate is right: "retrieval.<way>.r@<k>" → k / candidates; else None."""
    if not path.startswith("retrieval."):
        return None
    _, way, metric = path.split(".")
    return {"value": min(int(metric.removeprefix("r@")) / runs[0]["retrieval"][way]["candidates"], 1.0), "by": "chance"}


def runs_of(row: Row, results: Mapping[str, Any]) -> list[Any]:
    """The results of a row, one for each seed."""
    return [results[row.key(seed)] for seed in SEEDS if row.key(seed) in results]


def look_up(runs: Sequence[Mapping[str, Any]], path: str) -> list[float]:
    """The figure at a path, from each run."""
    values = []
    for each in runs:
        place: Any = each["retrieval"] if path.startswith("retrieval.") else each["heads"]
        for step in path.removeprefix("retrieval.").split("."):
            place = place[step]
        values.append(float(place))
    return values


def spread(values: Sequence[float]) -> str:
    """Write the mean of some values, and the smallest and the largest if there are several."""
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
    runs.add_argument("--seeds", nargs="+", type=int, default=SEEDS, choices=SEEDS)
    table = commands.add_parser("table")
    table.add_argument("results", type=Path)
    flags = parser.parse_args()
    if flags.command == "run":
        run(flags.data, flags.output, flags.only, flags.seeds)
    else:
        print(*tables(json.loads(flags.results.read_text())), sep="\n")


if __name__ == "__main__":
    main()
