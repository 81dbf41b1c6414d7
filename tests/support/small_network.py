"""A network of every kind of part and batches that it can learn, in memory: no data on disk, no TensorFlow."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from mmstream.config.schema import Config
from mmstream.interfaces import END, RESERVED_IDS, Fitted, TensorSpec
from mmstream.models.compose import Composition, compose
from mmstream.plugins import components

ROWS = 32
KINDS = 4
"""All that a record holds follows from its kind, but for some noise in its picture."""
WORDS = ("a", "cat", "dog", "red", "blue", "runs")
TEXTS = np.array([[0, 1, 5], [0, 2, 5], [0, 3, 1], [0, 4, 2]]) + RESERVED_IDS
FITTED = {
    "image": Fitted(),
    "text": Fitted(WORDS),
    "group": Fitted(tuple(f"group {kind}" for kind in range(KINDS))),
    "keywords": Fitted(("animal", "moving", "coloured")),
    "price": Fitted(statistics={"offset": (0.0,), "factor": (1.0,)}),
}
CONFIG = {
    "source": {"use": "jsonl", "path": "none"},
    "fields": {
        "image": {"use": "image", "size": [8, 8]},
        "text": {"use": "text", "length": 4},
        "group": {"use": "category"},
        "keywords": {"use": "tags"},
        "price": {"use": "number"},
    },
    "model": {
        "width": 8,
        "encoders": {
            "image": {"use": "cnn", "filters": [4, 8], "dropout": 0.1},
            "text": {"use": "gru", "units": 8, "dropout": 0.1},
        },
        "fusion": {"use": "attention"},
        "heads": {
            "group": {"use": "classification"},
            "keywords": {"use": "tagging", "reads": "image"},
            "price": {"use": "regression", "reads": "text"},
            "caption": {"use": "caption", "target": "text", "reads": "image", "units": 8, "dropout": 0.1},
        },
        "objectives": {
            "near": {"use": "contrastive", "fields": ["image", "text"]},
            "pairs": {"use": "sigmoid_contrastive", "fields": ["image", "text"]},
            "match": {"use": "matching", "fields": ["image", "text"]},
            "complete": {"use": "adversarial", "fields": ["image", "text"], "hidden": 8, "discriminator": [8]},
            "truth": {
                "use": "adversarial_caption",
                **{"head": "caption", "target": "text", "field": "image", "units": 4, "hidden": [4]},
                **{"from_epoch": 2, "warm_up": 1, "weight": 0.1},
            },
        },
        "impute": "complete",
    },
    "training": {"batch_size": 16, "modality_dropout": 0.2, "weighting": "uncertainty"},
}


def config() -> Config:
    """Names one of each kind of head, and all objectives."""
    return Config.model_validate(CONFIG)


def network() -> Composition:
    """The composed network, its weights as they begin."""
    keras.utils.set_random_seed(1)
    present, specs = TensorSpec((), "float32"), {}
    for name, part in CONFIG["fields"].items():
        parameters = {key: value for key, value in part.items() if key != "use"}
        specs[name] = {**components.build("field", part["use"], parameters).spec(FITTED[name]), "present": present}
    return compose(config(), specs, FITTED)


def batch() -> dict[str, Any]:
    """{"fields": …, "targets": …} of all rows. Of some records a field or a target is absent."""
    random, kinds = np.random.default_rng(3), np.arange(ROWS) % KINDS
    bright = np.array([[250, 20, 20], [20, 250, 20], [20, 20, 250], [250, 250, 20]])[kinds]
    pixels = np.clip(bright[:, None, None] + random.integers(-20, 20, (ROWS, 8, 8, 3)), 0, 255)
    ids = np.concatenate([TEXTS[kinds], np.full((ROWS, 1), END)], axis=1)
    there = {name: np.ones(ROWS, np.float32) for name in CONFIG["fields"]}
    for number, name in enumerate(there):
        there[name][3 + number :: 11] = 0
    tensors = {
        "image": {"pixels": pixels.astype(np.uint8)},
        "text": {"ids": ids.astype(np.int64)},
        "group": {"id": (kinds + RESERVED_IDS).astype(np.int64)},
        "keywords": {"hot": np.stack([kinds < 2, kinds < 3, kinds > 1], axis=1).astype(np.uint8)},
        "price": {"values": kinds[:, None].astype(np.float32) - 1.5, "known": np.ones((ROWS, 1), np.float32)},
    }
    fields = {
        name: {key: (value.T * there[name].astype(value.dtype)).T for key, value in each.items()}
        | {"present": there[name]}
        for name, each in tensors.items()
    }
    return {"fields": {name: fields[name] for name in ("image", "text")}, "targets": fields}


def outputs(weights: str) -> tuple[str, dict[str, Any]]:
    """The backend, and what the network makes of the batch outside training: nested, in numpy.

    Args:
        weights: file of the training network's weights.
    """
    made, given = network(), batch()
    made.training.load_weights(weights)
    chosen = {kind: {name: given[kind][name] for name in names} for kind, names in made.training.input.items()}
    found = {"training": made.training(chosen, training=False), "inference": made.inference(chosen["fields"])}
    return keras.backend.backend(), keras.tree.map_structure(keras.ops.convert_to_numpy, found)
