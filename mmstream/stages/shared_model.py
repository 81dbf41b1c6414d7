"""A model that all threads of a worker process share."""

from __future__ import annotations

import dataclasses
import threading
import time

from apache_beam.utils.shared import Shared

from mmstream.errors import MmstreamError
from mmstream.preprocessing.preprocessor import Resume
from mmstream.trained_model.artefact import TrainedModel
from mmstream.trained_model.successors import Successors

_LOOK_SECONDS = 5.0
"""How often a process looks for a newer model."""


@dataclasses.dataclass
class SharedModel:
    """A model that all threads of a worker process share, opened there when it is first needed.

    Attributes:
        path: directory of the model.
        embeddings: whether rows get embeddings.
        resume: what a record's digest covers; None for what the model's config says.
        follow: folder of models, the newest of which takes over; "" to keep this model.
        fingerprint: the fingerprint that the model must have when it is opened; "" for any.
    """

    path: str
    embeddings: bool
    resume: Resume | None = None
    follow: str = ""
    fingerprint: str = ""

    def __post_init__(self) -> None:
        self._shared = Shared()

    def __call__(self) -> TrainedModel:
        """The model."""
        opened: _Opened = self._shared.acquire(self._open)
        return opened.current()

    def _open(self) -> _Opened:
        model = TrainedModel(self.path, embeddings=self.embeddings, resume=self.resume)
        if self.fingerprint not in ("", model.fingerprint):
            raise MmstreamError(
                f"the model {self.path} has the fingerprint {model.fingerprint} here, but {self.fingerprint} where "
                "the job was started: the model was changed, or different package versions are installed"
            )
        return _Opened(model, self.follow)


class _Opened:
    """The model in use in a process, which a newer one may replace.

    Args:
        model: the opened model.
        follow: folder of models; "" for none.
    """

    def __init__(self, model: TrainedModel, follow: str) -> None:
        self._model = model
        self._successors = Successors(follow, model) if follow else None
        self._looked = -_LOOK_SECONDS
        self._lock = threading.Lock()

    def current(self) -> TrainedModel:
        """The model in use; looks for a newer one from time to time, while other threads continue with the old one."""
        if self._successors and self._lock.acquire(blocking=False):
            try:
                if time.monotonic() - self._looked >= _LOOK_SECONDS:
                    self._looked = time.monotonic()
                    self._model = self._successors.look() or self._model
            finally:
                self._lock.release()
        return self._model


def smaller_batch(model: TrainedModel) -> dict[str, int]:
    """What a part's note says about the batch size if memory has run out; {} if it has not."""
    return {"smaller_batch": model.batch} if model.batch != model.about["batch"] else {}
