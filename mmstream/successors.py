"""Models that were finished later than the one in use, for jobs that stay: `--follow`."""

from __future__ import annotations

from collections.abc import Iterator

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
        self._refused: dict[str, list[tuple[str, int, float]]] = {}

    def look(self) -> TrainedModel | None:
        """The newest model that is newer than the one in use, proven by its golden records; it is the one in use then.

        Raises:
            OSError: the folder cannot be listed.
        """
        for _, path in sorted(self._newer(), reverse=True):
            state = _state(path)
            if self._refused.get(path) == state:
                continue
            try:
                found = self._open(path)
                if found.fingerprint == self._current.fingerprint:
                    return None
                if found.schema.keys() != self._current.schema.keys():
                    differ = ", ".join(sorted(found.schema.keys() ^ self._current.schema.keys()))
                    raise MmstreamError(f"its labels have other columns ({differ}); they need another output")
                found.prepare()
            except Exception as error:  # noqa: BLE001 - a broken model may raise anything; the old one goes on
                self._refused[path] = state
                terminal.say(f"warning: {path} is refused, and {self._current.path} goes on: {describe(error)}")
                continue
            self._current = found
            return found
        return None

    def with_fingerprint(self, fingerprint: str) -> TrainedModel | None:
        """The model of this fingerprint, which somebody else has proven; it is the one in use then.

        Raises:
            OSError: the folder cannot be listed.
        """
        for _, path in sorted(self._newer(), reverse=True):
            try:
                found = self._open(path)
            except MmstreamError:  # not the one: that could be opened
                continue
            if found.fingerprint == fingerprint:
                self._current = found
                return found
        return None

    def _open(self, path: str) -> TrainedModel:
        return TrainedModel(path, embeddings=self._current.embeddings, resume=self._current.resume)

    def _newer(self) -> Iterator[tuple[float, str]]:
        """When each model was finished that is newer than the one in use, and where it lies."""
        since = files.metadata(files.join(self._current.path, "model.json"))[1]
        for name in files.list_files(self._folder):
            if name.count("/") == 1 and name.endswith("/model.json"):
                path = files.join(self._folder, name)
                finished = files.metadata(path)[1]
                if finished > since:
                    yield finished, files.parent(path)


def _state(path: str) -> list[tuple[str, int, float]]:
    """What changes when anything in a folder does."""
    return [(name, *files.metadata(files.join(path, name))) for name in files.list_files(path)]
