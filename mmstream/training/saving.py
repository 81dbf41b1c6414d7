"""Writing a model directory once its network is trained."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmstream.config.schema import Config
from mmstream.evaluation.predictions import predict_split
from mmstream.models.compose import Composition
from mmstream.preprocessing import golden
from mmstream.storage import files
from mmstream.trained_model.artefact import TrainedModel
from mmstream.trained_model.model_files import write_model_json
from mmstream.trained_model.network_file import network_bytes
from mmstream.trained_model.proof import expected_arrays
from mmstream.trained_model.versions import versions_of
from mmstream.training.checkpoint import Checkpoint

_ROWS_OF_A_BLOCK = 48


def _rows_at_a_time(trained_with: int) -> int:
    """B of a model: the largest multiple of 48 up to the batch size of its training, but at least 48.

    On CPUs, Eigen multiplies matrices in blocks of 24 rows with AVX2, and of 48 with AVX-512; it adds up the remaining
    rows in another order. If none remain, the last digits of a label do not depend on its place in a batch.
    """
    return max(trained_with // _ROWS_OF_A_BLOCK, 1) * _ROWS_OF_A_BLOCK


def save_model(
    config: Config,
    composition: Composition,
    examples_path: str,
    output: str,
    checkpoint: Checkpoint,
    origins: Mapping[str, str],
) -> TrainedModel:
    """Write a model directory: network, preprocessing, calibration, golden records, and model.json last of all.

    Args:
        config: the config of the training.
        composition: the trained networks.
        examples_path: output of `mmstream preprocess`.
        output: the directory.
        checkpoint: says how the training went.
        origins: where the weights of parts come from, by part.
    """
    files.sweep(output)  # half-written files of a run that was killed while saving
    for folder in ("golden", "transform", "engines"):
        if files.exists(files.join(output, folder)):
            files.remove_folder(files.join(output, folder))
    files.write_bytes(files.join(output, "network.keras"), network_bytes(composition.inference))
    files.write_bytes(files.join(output, "config.yaml"), config.to_yaml().encode())
    _copy_folder(examples_path, output, "transform")
    _copy_folder(examples_path, output, "golden")
    _write_history(Path(output) / "history.csv", checkpoint.history)

    about: dict[str, Any] = {
        "batch": _rows_at_a_time(config.training.batch_size),
        "heads": {
            name: {
                "target": part.target,
                "reads": list(config.reads(part)),
                "label": composition.heads[name].label_type,
                "score": composition.heads[name].score_type,
                "match": part.match,
            }
            for name, part in config.model.heads.items()
        },
        "fused": "fused" in composition.inference.output,
        "calibration": {},
        "versions": versions_of(config),
        "epochs": checkpoint.epoch,
        "best_epoch": checkpoint.best_epoch,
        "origins": dict(origins),
    }
    model = TrainedModel(output, embeddings=True, in_training=about)
    about["calibration"] = json.loads(json.dumps(calibrate(model, examples_path)))  # as it will be read from model.json
    records = golden.read_golden(output)
    if records:
        expected = expected_arrays(model, records, golden.golden_media(output))
        golden.write_expected(output, expected)
    about["golden"] = len(records)
    write_model_json(output, about)
    return TrainedModel(output)


def calibrate(model: TrainedModel, examples_path: str) -> dict[str, Any]:
    """Each head's calibration, fitted on the validation split: what its `decode` needs besides the predictions."""
    predictions = predict_split(model, examples_path, "validation")
    return {
        name: model.head(name).calibrate(predictions.outputs["heads"][name], predictions.target_of(name))
        for name in model.heads
    }


def _copy_folder(source: str, target: str, name: str) -> None:
    folder = files.join(source, name)
    for path in files.list_files(folder) if files.exists(folder) else ():
        files.write_bytes(files.join(target, name, path), files.read_bytes(files.join(folder, path)))


def _write_history(path: Path, history: Sequence[Mapping[str, float]]) -> None:
    columns = list(dict.fromkeys(key for row in history for key in row))
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(history)
