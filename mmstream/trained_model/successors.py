"""Newer models that take over from the one in use, for jobs that keep running: `--follow`."""

from __future__ import annotations

import logging

from mmstream import terminal
from mmstream.errors import MmstreamError, describe
from mmstream.storage import files
from mmstream.trained_model.artefact import TrainedModel


class Successors:
    """Looks in a folder of models for a valid one that is newer than the model in use.

    A model counts as finished once it has a model.json, which is written last. A model that cannot be loaded, that does
    not reproduce its golden records, or whose labels have other columns is refused until its folder changes.

    Args:
        folder: a folder of models, each in a folder of its own.
        current: the model in use.
    """

    def __init__(self, folder: str, current: TrainedModel) -> None:
        self._folder = folder
        self._current = current
        self._since = _finished(files.join(current.path, "model.json"))
        self._refused: dict[str, list[tuple[str, int, float]]] = {}

    def look(self) -> TrainedModel | None:
        """The newest valid model that is newer than the one in use, which it replaces; None if there is none."""
        for finished, path in self._newer():
            try:
                state = _state(path)
                if self._refused.get(path) == state:
                    continue
                self._refused[path] = state
                model = self._open(path)
                if model.fingerprint == self._current.fingerprint:
                    continue
                self._check(model)
                model.prepare()
                model.warn_if_weakly_bound()
            except Exception as error:  # noqa: BLE001 - a broken model may raise anything; the old one stays
                message = f"warning: {path} is refused, and {self._current.path} stays in use: {describe(error)}"
                terminal.say(message, lines=True)
                continue
            self._current, self._since = model, finished
            return model
        return None

    def _check(self, model: TrainedModel) -> None:
        """Check that a model reads the same columns as the one in use, and that its labels have the same columns.

        Raises:
            MmstreamError: it does not.
        """
        if model.schema != self._current.schema:
            differ = ", ".join(sorted({name for name, _ in model.schema.items() ^ self._current.schema.items()}))
            raise MmstreamError(f"its labels have different columns ({differ}); they need another output")
        if model.preprocessor.reads() != self._current.preprocessor.reads():
            raise MmstreamError("it reads different columns of the input; start a separate job for it")

    def with_fingerprint(self, fingerprint: str) -> TrainedModel | None:
        """The model with this fingerprint, which another process has verified; it replaces the one in use.

        The fingerprint of an earlier format does not cover the columns, so these are compared here, too.
        """
        for finished, path in self._newer():
            try:
                model = self._open(path)
                self._check(model)
            except MmstreamError:  # not this one: the other process could open it
                continue
            if model.fingerprint == fingerprint:
                self._current, self._since = model, finished
                return model
        return None

    def _open(self, path: str) -> TrainedModel:
        return TrainedModel(path, embeddings=self._current.embeddings, resume=self._current.resume)

    def _newer(self) -> list[tuple[float, str]]:
        """The time at which each model newer than the one in use was finished, and its path; the newest first."""
        models = []
        try:
            for name in files.list_files(self._folder):
                if name.count("/") == 1 and name.endswith("/model.json"):
                    path = files.join(self._folder, name)
                    models.append((_finished(path), files.parent(path)))
        except OSError as error:  # a model is just being moved, or a store does not answer for a moment
            logging.getLogger(__name__).warning("cannot access %s: %s", self._folder, describe(error))
        return sorted((each for each in models if each[0] > self._since), reverse=True)


def _finished(path: str) -> float:
    """When a file was last written to, in seconds since 1970."""
    return files.in_seconds(path, files.metadata(path)[1])


def _state(path: str) -> list[tuple[str, int, float]]:
    """The name, size and time of every file in a folder; they differ if anything in it has changed."""
    return [(name, *files.metadata(files.join(path, name))) for name in files.list_files(path)]
