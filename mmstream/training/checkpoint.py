"""Checkpoints, from which an interrupted training continues."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import keras
import numpy as np

from mmstream.config.schema import Config
from mmstream.errors import MmstreamError
from mmstream.storage.json_files import write_json


class Checkpoint(keras.callbacks.Callback):
    """Keeps the best weights and the state to continue from; stops training when nothing improves.

    Keras' own callbacks for these do not share their state: after a restart, early stopping would count from 0 again.

    Args:
        folder: where the state is kept.
        config: the config of the training.
    """

    def __init__(self, folder: Path, config: Config) -> None:
        super().__init__()
        self._folder = folder
        stopping = config.training.early_stopping
        self._monitor = stopping.monitor if stopping else "val_loss"
        self._patience = stopping.patience if stopping else None
        whole_from = (part.whole_from for part in config.losses.values() if part.weight)
        self._whole_from = max((epoch for epoch in whole_from if epoch <= config.training.epochs), default=1)
        self._state = folder / "state.json"
        state = json.loads(self._state.read_text()) if self._state.exists() else {}
        self.epoch: int = state.get("epoch", 0)
        self.best_epoch: int = state.get("best_epoch", 0)
        self.history: list[dict[str, float]] = state.get("history", [])

    @property
    def stopped(self) -> bool:
        """Whether training has ended early."""
        begun = max(self.best_epoch, self._whole_from)
        return self._patience is not None and self.epoch - begun >= self._patience

    def on_train_begin(self, logs: Mapping[str, float] | None = None) -> None:
        """Load the state of an interrupted run."""
        if self.epoch:
            self.model.optimizer.build(self.model.trainable_variables)  # it takes its state only once built
            self.model.load_weights(self._folder / f"epoch-{self.epoch}.weights.h5")

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        """Save the state; the best weights are those with the lowest monitored value (the loss, without validation).

        Once there are epochs in which every loss has its full weight, only these count; a loss that never has it is
        ignored.
        """
        values = {name: float(value) for name, value in (logs or {}).items()}
        self.history.append({"epoch": epoch + 1, **values})
        monitor = self._monitor if self._monitor in values else "loss"
        if self._patience is not None and self._monitor not in values and self._monitor != "val_loss":
            raise MmstreamError(
                f"training.early_stopping.monitor: there is no {self._monitor!r}; "
                f"available: {', '.join(sorted(values))}"
            )
        whole = [row for row in self.history if row["epoch"] >= self._whole_from] or self.history
        better = min(whole, key=lambda row: _comparable(row.get(monitor)))
        previous, self.epoch, self.best_epoch = self.epoch, epoch + 1, int(better["epoch"])
        temporary, current = self._folder / "new.weights.h5", self._folder / f"epoch-{self.epoch}.weights.h5"
        self.model.save_weights(temporary)
        temporary.replace(current)
        if self.best_epoch == self.epoch:
            shutil.copyfile(current, temporary)
            temporary.replace(self._best())
        state = {"epoch": self.epoch, "best_epoch": self.best_epoch, "history": self.history}
        write_json(str(self._state), state)
        (self._folder / f"epoch-{previous}.weights.h5").unlink(missing_ok=True)
        for path in set(self._folder.glob("best-*.weights.h5")) - {self._best()}:
            path.unlink()
        self.model.stop_training = self.model.stop_training or self.stopped

    def restore_best(self, model: keras.Model) -> None:
        """Put the best weights into a model."""
        if self._best().exists():
            model.load_weights(self._best())

    def _best(self) -> Path:
        return self._folder / f"best-{self.best_epoch}.weights.h5"


def _comparable(value: float | None) -> float:
    return float("inf") if value is None or np.isnan(value) else value
