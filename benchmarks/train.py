"""Compare `mmstream train` with the same network, hand-written in Keras, in steps per second."""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import corpus
import numpy as np
import pairs

import mmstream
from mmstream.config.schema import Config
from mmstream.interfaces import RESERVED_IDS
from mmstream.preprocessing.examples import batches, shards_of
from mmstream.preprocessing.preprocessor import Preprocessor

BARE = Path(__file__).with_name("bare_train.py")
LEAST_RATIO = 0.9
CONFIG = """\
source: {{use: jsonl, path: manifest.jsonl, id: id}}
split: {{validation: 0.1, test: 0.0}}
fields:
  image: {{use: image, size: [64, 64], augment: []}}
  text:  {{use: text, length: 32}}
  group: {{use: category}}
model:
  width: 128
  encoders: {{{field}: {{use: {network}, units: 128, layers: 4, heads: 4, dropout: 0.1}}}}
  heads: {{group: {{use: classification, reads: {field}, dropout: 0.3}}}}
training: {{batch_size: 32}}
golden: 1
"""
NETWORKS = {"vit": ("image", "pixels"), "transformer": ("text", "ids")}
"""The field that each network reads, and its tensor."""
_RECORDS = 2000


def main(argv: Sequence[str] | None = None) -> int:
    """Measure; the exit code is 1 if a bound is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("network", choices=NETWORKS)
    pairs.add_flags(parser)
    flags = parser.parse_args(argv)
    if flags.quick:
        flags.pairs = 1
    with tempfile.TemporaryDirectory(prefix="mmstream-benchmark-") as directory:
        return _measure(flags, Path(directory))


def _measure(flags: argparse.Namespace, folder: Path) -> int:
    records = 300 if flags.quick else _RECORDS
    pairs.say("making pictures and examples")
    corpus.write_manifest(folder / "manifest.jsonl", corpus.make_thumbnails(folder / "thumbnails"), records)
    field, tensor = NETWORKS[flags.network]
    config, examples, arrays = folder / "config.yaml", folder / "examples", folder / "arrays.npz"
    config.write_text(CONFIG.format(field=field, network=flags.network))
    pairs.run([*corpus.MMSTREAM, "preprocess", str(config), "--output", str(examples)], {})
    loaded = mmstream.load_config(str(config))
    batch_size = loaded.training.batch_size
    steps = _write_arrays(loaded, str(examples), field, tensor, arrays) // batch_size

    def command(epochs: str, output: str) -> list[str]:
        flags = [f"--examples={examples}", f"--output={output}", "--set", f"training.epochs={epochs}"]
        return [*corpus.MMSTREAM, "train", str(config), *flags]

    def bare(epochs: str, output: str) -> list[str]:
        return [sys.executable, str(BARE), flags.network, str(arrays), str(batch_size), epochs]

    said = subprocess.run(bare("1", ""), capture_output=True, text=True, check=True).stdout
    parameters = int(said.split()[-1])

    def look(name: str, epochs: str, usage: pairs.Usage, output: Path) -> None:
        if name == "mmstream" and (count := mmstream.load(str(output)).network.count_params()) != parameters:
            raise SystemExit(f"mmstream's network has {count:,} parameters, the hand-written one {parameters:,}")

    epochs = 2 if flags.quick else pairs.records_for(bare, str, folder, flags.seconds, {}, probe=(1, 3), unit=1)
    works = pairs.run_pairs({"mmstream": command, "bare": bare}, ("1", str(epochs)), folder, flags.pairs, {}, look)
    ratios = [bare.seconds / ours.seconds for ours, bare in zip(works["mmstream"], works["bare"], strict=True)]
    counted = ((epochs - 1) * steps, "steps")
    title = f"train {flags.network}"
    return pairs.report(title, flags, counted, works, {"bare / mmstream": ratios}, least_ratio=LEAST_RATIO)


def _write_arrays(config: Config, examples: str, field: str, tensor: str, path: Path) -> int:
    """Write the tensors and targets of the examples for the bare loop; returns the number of training examples."""
    preprocessor = Preprocessor(config.fields, f"{examples}/transform")
    specs = {name: preprocessor.specs[name] for name in (field, "group")}
    arrays = {}
    for split in ("train", "validation"):
        rows = list(batches(shards_of(examples, split), specs, 256).as_numpy_iterator())
        arrays[f"{split}_x"] = np.concatenate([row[field][tensor] for row in rows])
        arrays[f"{split}_y"] = np.concatenate([row["group"]["id"] for row in rows]) - RESERVED_IDS
    vocabulary = {name: len(preprocessor.fitted[name].vocabulary) for name in ("text", "group")}
    arrays["vocabulary"] = np.array(vocabulary["text"] + RESERVED_IDS)
    np.savez(path, **arrays, classes=np.array(vocabulary["group"]))
    return len(arrays["train_x"])


if __name__ == "__main__":
    sys.exit(main())
