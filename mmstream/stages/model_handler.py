"""`mmstream.ModelHandler`: a model in Beam's own `RunInference`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import apache_beam as beam
from apache_beam.ml.inference.base import ModelHandler as BeamModelHandler
from apache_beam.ml.inference.base import PredictionResult

from mmstream.records.record import DeadLetter
from mmstream.trained_model.artefact import TrainedModel


class ModelHandler(BeamModelHandler[Mapping[str, Any], PredictionResult, TrainedModel]):
    """Labels rows in `RunInference`: one row, whole batches, or pairs of key and row with `KeyedModelHandler`.

        rows | RunInference(mmstream.ModelHandler("model"))
        keyed | RunInference(KeyedModelHandler(mmstream.ModelHandler("model")))

    An element is a dict as `TrainedModel.label` takes it. It becomes a `PredictionResult` whose `inference` is a label
    row (dict) or, if it failed, an `mmstream.DeadLetter`; a bad row affects no other, and the pipeline continues. The
    counters "labelled" and "dead_letters" in the namespace "mmstream" say how many of each there were.

    `mmstream.Label` is faster: `RunInference` alternates between decoding and predicting, and chooses the batches
    itself.

    Args:
        model: directory of the model.
        embeddings: whether rows get embeddings.
        batch_size: maximum number of rows in a batch; None for the network's batch size.
    """

    def __init__(self, model: str, *, embeddings: bool = False, batch_size: int | None = None) -> None:
        self._path = model
        self._embeddings = embeddings
        self._size = batch_size or TrainedModel(model).batch
        super().__init__()

    def load_model(self) -> TrainedModel:
        """Open the model, load its network and check its golden records."""
        model = TrainedModel(self._path, embeddings=self._embeddings)
        model.prepare()
        return model

    def run_inference(
        self,
        batch: Sequence[Mapping[str, Any]],
        model: TrainedModel,
        inference_args: dict[str, Any] | None = None,
    ) -> Iterator[PredictionResult]:
        """A batch of rows → a result for each row, in order."""
        for row, result in zip(batch, model.label(batch), strict=True):
            kind = "dead_letters" if isinstance(result, DeadLetter) else "labelled"
            beam.metrics.Metrics.counter(self.get_metrics_namespace(), kind).inc()
            yield PredictionResult(row, result, model.fingerprint)

    def batch_elements_kwargs(self) -> dict[str, int]:
        """How many rows Beam puts into a batch."""
        return {"max_batch_size": self._size}

    def get_metrics_namespace(self) -> str:
        """The namespace, also of Beam's own metrics."""
        return "mmstream"
