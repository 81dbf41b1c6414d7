"""Data for the benchmarks: pictures made from noise, manifests, and a small model trained on them."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pairs
from PIL import Image

MMSTREAM = (sys.executable, "-m", "mmstream.cli")
WIDTH, HEIGHT = 640, 480
QUALITY = 85
_CANVASES = 16
_CONTRAST = 160
_TRAINING_RECORDS = 600
_GROUPS = ("animal", "building", "food", "landscape", "person", "plant", "tool", "vehicle")
_WORDS = ("a", "the", "red", "green", "small", "old", "picture", "of", "tree", "house", "dog", "car", "table", "near")

CONFIG = """\
source: {use: jsonl, path: manifest.jsonl, id: id}
fields:
  image: {use: image, size: [64, 64]}
  text:  {use: text, length: 16}
  group: {use: category}
model:
  width: 64
  encoders: {image: {use: cnn, filters: [16, 32, 64]}}
  heads: {group: {use: classification, reads: image}}
training: {epochs: 1, batch_size: 64}
"""


def make_pictures(folder: Path, count: int) -> list[Path]:
    """Make JPEG files of 640 x 480, about as hard to decode as photographs: noise that falls off with frequency.

    Equal counts give equal pictures; each is a different crop of one of a few canvases.
    """
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(1)
    canvases = [_canvas(random) for _ in range(min(_CANVASES, count))]
    paths = []
    for number in range(count):
        canvas = canvases[number % len(canvases)]
        left, top = int(random.integers(WIDTH)), int(random.integers(HEIGHT))
        paths.append(folder / f"{number:05d}.jpg")
        canvas.crop((left, top, left + WIDTH, top + HEIGHT)).save(paths[-1], quality=QUALITY)
    return paths


def make_thumbnails(folder: Path, count: int = 16) -> list[Path]:
    """Make pictures of 64 x 64, which decode fast: for measuring memory over many records."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(2)
    paths = [folder / f"{number:02d}.jpg" for number in range(count)]
    for path in paths:
        _canvas(random).resize((64, 64)).save(path, quality=QUALITY)
    return paths


def write_manifest(path: Path, pictures: list[Path], records: int) -> str:
    """Write a manifest of `records` records, each with its own id, that use the pictures in turn."""
    path.parent.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(3)
    with path.open("w") as file:
        for number in range(records):
            row = {
                "id": f"record-{number:07d}",
                "image": str(pictures[number % len(pictures)].relative_to(path.parent)),
                "text": " ".join(random.choice(_WORDS, 8)),
                "group": _GROUPS[number % len(_GROUPS)],
            }
            file.write(json.dumps(row) + "\n")
    return str(path)


def make_examples(folder: Path, pictures: list[Path]) -> tuple[str, str]:
    """Make a config, and examples of some records with `mmstream preprocess`; returns the paths of both."""
    write_manifest(folder / "manifest.jsonl", pictures, _TRAINING_RECORDS)
    config, examples = folder / "config.yaml", str(folder / "examples")
    config.write_text(CONFIG)
    pairs.run([*MMSTREAM, "preprocess", str(config), "--output", examples], {})
    return str(config), examples


def make_model(folder: Path, pictures: list[Path]) -> str:
    """Train a model for one epoch; returns its path."""
    config, examples = make_examples(folder, pictures)
    model = str(folder / "model")
    pairs.run([*MMSTREAM, "train", config, "--examples", examples, "--output", model], {})
    return model


def _canvas(random: np.random.Generator) -> Image.Image:
    """A picture of twice the width and height, with 1/f noise in each colour."""
    size = (2 * WIDTH, 2 * HEIGHT)
    total = np.zeros((size[1], size[0], 3), np.float32)
    for octave in range(2, 9):
        cells = random.normal(size=(3 * 2**octave, 4 * 2**octave, 3)) * _CONTRAST * 2.0 ** (-0.7 * octave)
        levels = np.clip(cells + 128, 0, 255).astype(np.uint8)
        total += np.asarray(Image.fromarray(levels).resize(size, Image.Resampling.BICUBIC), np.float32) - 128
    return Image.fromarray(np.clip(total + 128, 0, 255).astype(np.uint8))
