"""Models that were finished later than the one in use, for jobs that stay: `--follow`."""

from __future__ import annotations

import logging

from mmstream import files, terminal
from mmstream.errors import MmstreamError, describe
from mmstream.trained_model import TrainedModel


class Successors:
    """Looks at a folder of models for one that is newer than the model in use, and sound.

    A model counts as finished with its model.json, which is written last. One that cannot be loaded, whose golden
    records do not come out, or whose labels have other columns is refused, until something in its folder changes.

    Args:
        folder: that holds models, each in a folder of its own.
        current: the model in use.
    """

    def __init__(self, folder: str, current: TrainedModel) -> None:
        self._folder = folder
        self._current = current
        self._since = _finished(files.join(current.path, "model.json"))
        self._refused: dict[str, list[tuple[str, int, float]]] = {}

    def look(self) -> TrainedModel | None:
        """The newest of the models that are newer than the one in use, and sound; it is the one in use then."""
        for finished, path in self._newer():
            try:
                state = _state(path)
                if self._refused.get(path) == state:
                    continue
                self._refused[path] = state
                found = self._open(path)
                if found.fingerprint == self._current.fingerprint:
                    continue
                self._check(found)
                found.prepare()
                found.warn_if_weakly_bound()
            except Exception as error:  # noqa: BLE001 - a broken model may raise anything; the old one goes on
                message = f"warning: {path} is refused, and {self._current.path} goes on: {describe(error)}"
                terminal.say(message, lines=True)
                continue
            self._current, self._since = found, finished
            return found
        return None

    def _check(self, found: TrainedModel) -> None:
        """A model makes the labels that the one in use makes, of the same columns.

        Raises:
            MmstreamError: it does not.
        """
        if found.schema != self._current.schema:
            differ = ", ".join(sorted({name for name, _ in found.schema.items() ^ self._current.schema.items()}))
            raise MmstreamError(f"its labels have other columns ({differ}); they need another output")
        if found.preprocessor.reads() != self._current.preprocessor.reads():
            raise MmstreamError("it reads other columns of the input; it needs a start of its own")

    def with_fingerprint(self, fingerprint: str) -> TrainedModel | None:
        """The model of this fingerprint, which somebody else has proven; it is the one in use then.

        The fingerprint of an earlier format says nothing of the columns, so these are compared here, too.
        """
        for finished, path in self._newer():
            try:
                found = self._open(path)
                self._check(found)
            except MmstreamError:  # not the one: that could be opened
                continue
            if found.fingerprint == fingerprint:
                self._current, self._since = found, finished
                return found
        return None

    def _open(self, path: str) -> TrainedModel:
        return TrainedModel(path, embeddings=self._current.embeddings, resume=self._current.resume)

    def _newer(self) -> list[tuple[float, str]]:
        """When each model was finished that is newer than the one in use, and where it lies; the newest first."""
        found = []
        try:
            for name in files.list_files(self._folder):
                if name.count("/") == 1 and name.endswith("/model.json"):
                    path = files.join(self._folder, name)
                    found.append((_finished(path), files.parent(path)))
        except OSError as error:  # a model that is just being moved, a store that does not answer for a moment
            logging.getLogger(__name__).warning("cannot look at %s: %s", self._folder, describe(error))
        return sorted((each for each in found if each[0] > self._since), reverse=True)


def _finished(path: str) -> float:
    """When a file was last written to, in seconds since 1970."""
    return files.in_seconds(path, files.metadata(path)[1])


def _state(path: str) -> list[tuple[str, int, float]]:
    """What changes when anything in a folder does."""
    return [(name, *files.metadata(files.join(path, name))) for name in files.list_files(path)]
