"""Measure how many texts a second each encoder of texts takes, in training and in labelling.

    .venv/bin/python benchmarks/text_encoders.py [--lengths 64 256 1024] [--seconds 5]

Each network is an encoder with its defaults, width 128, and a head of ten classes; the vocabulary holds 20,000 tokens,
and that of n-grams 40,000. Texts are random ids that fill the whole length, in batches of 64. Each
network runs for `--seconds`; the first call, which builds the graph, does not count. It prints Markdown, with the ratio
to `gru` in brackets.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from mmstream.config.schema import parse_config
from mmstream.interfaces import Fitted, TensorSpec
from mmstream.models.compose import compose
from mmstream.models.multimodal_model import MultimodalModel
from mmstream.preprocessing.preprocessor import Preprocessor

BATCH, TOKENS, NGRAMS, CLASSES = 64, 20_000, 40_000, 10
ENCODERS = ("gru", "transformer", "text_cnn", "bag_of_words", "ngrams")
_CONFIG = """
source: {{use: jsonl, path: none}}
fields:
  text: {{use: text, length: {length}{ngrams}}}
  topic: {{use: category}}
model: {{width: 128, encoders: {{text: {{use: {encoder}}}}}, heads: {{topic: {{use: classification, reads: text}}}}}}
"""


def calls(encoder: str, length: int) -> dict[str, Callable[[], Any]]:
    """{"labelling", "training"}: calls that take one batch each."""
    config = parse_config(
        _CONFIG.format(length=length, encoder=encoder, ngrams=f", ngrams: {NGRAMS}" if encoder == "ngrams" else "")
    )
    values = tuple(map(str, range(TOKENS)))
    fitted = {
        "text": Fitted(values, {"ngram_count": (float(NGRAMS),)}),
        "topic": Fitted(values[:CLASSES]),
    }
    specs = {
        name: {**field.spec(fitted[name]), "present": TensorSpec((), "float32")}
        for name, field in Preprocessor(config.fields).all_fields.items()
    }
    composition = compose(config, specs, fitted)
    random = np.random.default_rng(1)
    text = {name: _values(name, (BATCH, *shape), dtype, random) for name, (shape, dtype) in specs["text"].items()}
    topic = {"id": random.integers(4, 4 + CLASSES, BATCH), "present": np.ones(BATCH, np.float32)}
    fields = tf.nest.map_structure(tf.constant, {"text": text})
    model = MultimodalModel(composition, config)
    model.compile(optimizer="adam")
    label = tf.function(lambda: composition.inference(fields, training=False)["heads"])
    return {
        "labelling": label,
        "training": lambda: model.train_on_batch({"fields": fields, "targets": {"topic": topic}}),
    }


def _values(name: str, shape: tuple[int, ...], dtype: str, random: np.random.Generator) -> np.ndarray:
    if dtype == "int64":
        return random.integers(4, TOKENS, shape)
    values: np.ndarray = np.ones(shape, dtype) if name == "present" else random.random(shape).astype(dtype)
    return values


def measured(lengths: list[int], seconds: float) -> dict[tuple[str, int, str], float]:
    """{(what, length, encoder): texts a second}."""
    rates = {}
    for length in lengths:
        for encoder in ENCODERS:
            keras.backend.clear_session()
            for what, call in calls(encoder, length).items():
                call()
                count, started = 0, time.monotonic()
                while time.monotonic() - started < seconds:
                    call()
                    count += BATCH
                rates[what, length, encoder] = count / (time.monotonic() - started)
    return rates


def table(rates: dict[tuple[str, int, str], float]) -> str:
    """Markdown."""
    lines = [
        "| | tokens | " + " | ".join(f"`{name}`" for name in ENCODERS) + " |",
        "| --- " * (2 + len(ENCODERS)) + "|",
    ]
    for what, length in sorted({key[:2] for key in rates}):
        base = rates[what, length, ENCODERS[0]]
        cells = (f"{rates[what, length, name]:,.0f} ({rates[what, length, name] / base:.1f} x)" for name in ENCODERS)
        lines.append(f"| {what} | {length:,} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lengths", type=int, nargs="+", default=[64, 256, 1024])
    parser.add_argument("--seconds", type=float, default=5.0)
    arguments = parser.parse_args()
    print(table(measured(arguments.lengths, arguments.seconds)))
