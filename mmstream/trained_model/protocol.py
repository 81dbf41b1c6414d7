"""The interface of a trained model that labelling and verification rely on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from mmstream.preprocessing.preprocessor import Preprocessor, Tensors


class Model(Protocol):
    """A model that labels; see `mmstream.trained_model.artefact.TrainedModel`."""

    @property
    def batch(self) -> int:
        """B, the number of rows that the network is given at a time."""

    @property
    def fingerprint(self) -> str:
        """The fingerprint of everything that decides a label."""

    @property
    def heads(self) -> Mapping[str, Mapping[str, Any]]:
        """Each head as model.json describes it."""

    @property
    def calibration(self) -> Mapping[str, Any]:
        """What each head's `decode` needs beyond the predictions."""

    @property
    def preprocessor(self) -> Preprocessor:
        """The preprocessor of the fields that are read."""

    @property
    def network(self) -> Any:
        """The whole inference network."""

    def prepare(self) -> None:
        """Load and verify the network, once in a process."""

    def predict(self, tensors: Tensors) -> dict[str, Any]:
        """Named outputs of one padded batch."""

    def halve_batch(self, size: int) -> None:
        """Give the network half as many rows at a time: a batch of this size did not fit into memory."""

    def rows(self, outputs: Mapping[str, Any], count: int) -> list[dict[str, Any]]:
        """The first `count` rows of some outputs as label rows."""

    def head(self, name: str) -> Any:
        """The layer of a head."""

    def fitted(self, head: str) -> Any:
        """What the full pass learnt about the field that a head predicts."""
