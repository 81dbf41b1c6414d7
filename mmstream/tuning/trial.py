"""One trial of a search, in a process of its own: `python -m mmstream.tuning.trial FOLDER`.

TensorFlow keeps memory, threads and random states for as long as its process lives, so that a second training in the
process would differ from the first, and from `mmstream train` with the same config.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from mmstream.errors import MmstreamError, describe, is_full_disk, is_out_of_memory
from mmstream.runtime.imports import importing
from mmstream.storage.json_files import write_json
from mmstream.supervision import worker

CONFIG, ORDER, RESULT, MODEL, LOG = "config.yaml", "order.json", "result.json", "model", "trial.log"
"""The files of a trial's folder: its config, what it is to do, what came of it; its model; and what was logged."""


def main() -> int:
    """Train the config in a folder, and measure the model on the validation split; returns the exit code."""
    worker.begin()
    folder = Path(sys.argv[1])
    log = os.open(folder / LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    result: dict[str, Any]
    try:
        result = run_trial(folder)
    except MmstreamError as error:
        result = {"error": describe(error)}
    except OSError as error:  # of the machine, not of the trial: the search ends, and can go on later
        result = {"error": describe(error), "stop": True}
    except Exception as error:
        if is_full_disk(error):
            result = {"error": describe(error), "stop": True}
        elif is_out_of_memory(error):
            result = {"error": "out of memory"}
        else:
            raise
    write_json(str(folder / RESULT), result)
    return 0


def run_trial(folder: Path) -> dict[str, Any]:
    """Train and measure; returns the epochs, the best of them, and what was measured.

    Raises:
        MmstreamError: the config does not fit the examples, or the network fails.
        OSError: the disk failed.
    """
    with importing():
        from mmstream.config.loading import load_config
        from mmstream.trained_model.artefact import TrainedModel
        from mmstream.training.train import train

    order = json.loads((folder / ORDER).read_text())
    config = load_config(str(folder / CONFIG))
    model = train(config, order["examples"], str(folder / MODEL), verbose=0)
    best = next((row for row in model.history() if row["epoch"] == model.about["best_epoch"]), {})
    losses = {name: value for name, value in best.items() if name.startswith("val_") and name.endswith("loss")}
    about = {"epochs": model.about["epochs"], "best_epoch": model.about["best_epoch"]}
    as_evaluated = TrainedModel(model.path, embeddings=True)
    return {**about, "measured": {**losses, **measured(as_evaluated, order["examples"])}}


def measured(model: Any, examples: str) -> dict[str, float]:
    """The metrics of every head on the validation split, as `mmstream evaluate --split validation` gives them.

    Args:
        model: opened with embeddings.
        examples: output of `mmstream preprocess`.
    """
    from mmstream.evaluation.predictions import predict_split
    from mmstream.evaluation.reliability import all_metrics_of

    predictions = predict_split(model, examples, "validation")
    values: dict[str, float] = {}
    for name in model.heads:
        metrics = all_metrics_of(model.head(name), predictions.outcome(name))
        values |= {f"{name}.{metric}": value for metric, value in metrics.items()}
    return values


if __name__ == "__main__":
    sys.exit(main())
