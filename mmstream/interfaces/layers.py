"""The interfaces that plugins implement as Keras layers: encoders, fusions, heads and objectives."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Protocol, TypedDict

import numpy as np

from mmstream.interfaces.outcomes import Outcome
from mmstream.interfaces.suggestion import Suggestion
from mmstream.interfaces.tensors import Fitted, LabelType, Spec


class Reading(TypedDict):
    """The input of a fusion or head: one field, or (heads only) a fusion of several.

    Attributes:
        tokens: float[B, T, D].
        mask: float[B, T], 1 where there is a token.
        vector: float[B, D]: the field's vector in the shared space, or the fused vector.
        present: float32[B], 1 where there is anything to read.
    """

    tokens: Any
    mask: Any
    vector: Any
    present: Any


class Layer(Protocol):
    """The part of any Keras layer that mmstream uses."""

    name: str

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Connect the layer, or compute its outputs."""

    def count_params(self) -> int:
        """Return how many numbers the layer's weights hold."""


class Backbone(Layer, Protocol):
    """A Keras layer with pretrained weights, which an encoder reads; see `Encoder.backbone`."""

    def call(self, tensors: Mapping[str, Any], training: bool | None = None) -> dict[str, Any]:
        """Turn {tensor: [B, …]} into what the encoder reads, {name: float[B, …]}."""

    def load_pretrained(self) -> str:
        """Load the pretrained weights: once before a training, and not when a trained model is loaded.

        Returns:
            where they come from and their checksum, for people: "MiniLM of package x 0.1.0, sha256 53aa5117…".

        Raises:
            MmstreamError: they are not there, or not those that they should be.
        """


class Encoder(Layer, Protocol):
    """A Keras layer: one field's tensors → tokens. `__init__(width, <sizes>, *, <parameters>, **kwargs)`."""

    def backbone(self, name: str) -> Backbone:
        """Make the pretrained part, a layer of this name (optional).

        It reads the field's tensors, and `call` reads what it gives. It is frozen unless the config says otherwise, so
        that what it gives for an example need be computed only once.
        """

    @classmethod
    def sizes(cls, spec: Spec, fitted: Fitted) -> dict[str, int]:
        """Return the constructor's integer arguments that follow from the data; `get_config` returns them, too."""

    @classmethod
    def suggest(cls, field: str, values: Sequence[Any]) -> Suggestion | None:
        """Suggest how `mmstream init --pretrained` would let it read a column (optional); None if it would not.

        Args:
            field: the type of the field that reads the column, such as "text".
            values: a sample of the column, without None; for several columns together, nothing.

        Returns:
            parameters of the field, and what supports them.

        Raises:
            MmstreamError: it suits the column, but its weights are not installed.
        """

    def call(self, tensors: Mapping[str, Any], training: bool | None = None) -> dict[str, Any]:
        """Encode: {tensor: [B, …]} → {"tokens": float[B, T, D], "mask": float[B, T]}."""


class Fusion(Layer, Protocol):
    """A Keras layer: several fields → one vector. `__init__(width, *, <parameters>, **kwargs)`."""

    def call(self, readings: Mapping[str, Reading], training: bool | None = None) -> Any:
        """Fuse: {field: {"tokens", "mask", "vector", "present"}} → float[B, D].

        The result must depend on the vector of every present field: often nothing else trains that vector, which users
        get as the field's embedding. It must not depend on what an absent field holds.
        """

    def calibrate(self, loss: Callable[[], float], count: int) -> None:
        """Fit weights that gradients do not train to the validation split, once the network is trained (optional).

        Args:
            loss: computes the mean loss of the heads that read the fusion, with its weights as they are at the call.
            count: the number of examples of the validation split.
        """


class Head(Layer, Protocol):
    """A Keras layer: a reading → predictions of one target field. `__init__(<sizes>, *, <parameters>, **kwargs)`."""

    autoregressive: ClassVar[bool]
    """Whether it predicts a text token by token, each from the previous ones; in training, these are the true ones
    (teacher forcing).
    """
    label_type: ClassVar[LabelType]
    """The type of the label in the output rows."""
    score_type: ClassVar[LabelType]
    """The type of the score: "number", or "numbers" for one score per label."""
    metric: ClassVar[str]
    """The name of the main metric; higher is better."""
    progress_metric: ClassVar[str]
    """The name of the metric that `progress` computes."""

    @classmethod
    def sizes(cls, spec: Spec, fitted: Fitted) -> dict[str, int]:
        """Return the constructor's integer arguments that follow from the target field."""

    def call(self, reading: Reading, target: Any = None, training: bool | None = None) -> dict[str, Any]:
        """Predict: reading → predictions by name, float32[B, …]; an autoregressive head also gets its target.

        A head that writes texts or predicts classes or tags calls its logits "logits"; one that predicts numbers calls
        them "values", in the scale of their field. `model.wide` adds linear models to these, not to those of texts.
        """

    def generate(self, reading: Reading) -> dict[str, Any]:
        """Write texts without a target (autoregressive only): reading → {"ids": int32[B, L], "score": float32[B]}."""

    def candidates(self, reading: Reading, count: int) -> dict[str, Any]:
        """Write several texts for `match` to rerank, the likeliest first (autoregressive heads only; optional).

        Returns:
            {"ids": int32[B, count, L], "score": float32[B, count]}.
        """

    def sample(self, reading: Reading, seed: Any = None) -> Any:
        """Sample a text, which objectives read as `sampled.<head>` (autoregressive heads only; optional).

        Args:
            reading: what the text is about.
            seed: a `keras.random.SeedGenerator`; None for the likeliest text.

        Returns:
            float32[B, L, R], one-hot over all R ids, through which gradients pass.
        """

    def target_mask(self, target: Mapping[str, Any]) -> Any:
        """Return float32[B]: 1 where the target is known, 0 where it is missing."""

    def loss(self, predictions: Mapping[str, Any], target: Mapping[str, Any]) -> Any:
        """Return float32[B]: each example's loss; finite even without a target."""

    def progress(self, predictions: Mapping[str, Any], target: Mapping[str, Any]) -> Any:
        """Return float32[B]: a cheap metric of each example, for the progress line; finite even without a target."""

    @classmethod
    def needs_class_counts(cls, parameters: Mapping[str, Any]) -> bool:
        """Return whether `loss` needs the counts that `set_class_counts` takes (optional).

        Args:
            parameters: the head's parameters in the config.
        """

    def set_class_counts(self, counts: np.ndarray) -> None:
        """Take how often each fitted value of the target occurs in training; only if `needs_class_counts`.

        It is called before the training, and not when a trained model is loaded: only `loss` may use the counts.

        Args:
            counts: float[V], the number of examples that an epoch has of each value; with `training.sampling`, the
                expected number.
        """

    def calibrate(self, predictions: Mapping[str, Any], target: Mapping[str, Any]) -> dict[str, Any]:
        """Fit, on the validation split, the values that `decode` needs besides the predictions: numpy in, JSON out."""

    def decode(
        self, predictions: Mapping[str, Any], fitted: Fitted, calibration: Mapping[str, Any]
    ) -> list[tuple[Any, Any]]:
        """Turn predictions, as numpy [B, …], into B pairs (label, score).

        For exported models, a head may also have `serve`, with the same arguments: TensorFlow code from predictions as
        tf.Tensor to (labels, scores), of shape [B], or [B, any] padded with "" and 0. Without it, an exported model
        gives only its predictions.
        """

    def probabilities(self, predictions: Mapping[str, Any]) -> Any:
        """Turn predictions, as numpy, into the probability of each fitted value of the target, float[B, V].

        Optional, for heads whose label is one of these values, or a list of them. Without it, a label's score is taken
        as its probability, and the probability of all other values as 0.
        """

    def compare(self, targets: Sequence[str], predictions: Sequence[str]) -> tuple[np.ndarray, list[list[str]]]:
        """Compare each of N texts with its target, and divide it into tokens (only for heads that write texts).

        Returns:
            float[N], the similarities, 0 to 1; and N lists of tokens.
        """

    def evaluate(self, outcome: Outcome) -> dict[str, float]:
        """Compute the metrics of the head's labels; {} without rows.

        Args:
            outcome: targets and labels: `Classes` if labels are values of a vocabulary, `Texts` for a text field,
                otherwise `Numbers`.
        """

    def evaluate_resamples(self, outcome: Outcome, counts: np.ndarray) -> dict[str, np.ndarray]:
        """Compute the metrics of many resamples of an outcome at once (optional; for metrics that take long).

        Args:
            outcome: as for `evaluate`, N rows.
            counts: int32[R, N], how often each resample holds each row.

        Returns:
            {metric: float[R]}, for each resample what `evaluate` gives for its rows; NaN where it gives none.
        """


class Objective(Layer, Protocol):
    """A Keras layer: a loss between named tensors. `__init__(*, <parameters>, **kwargs)`.

    An objective that `model.impute` may name has a layer `generator`: embeddings {field: float[B, D]} and which are
    present {field: float32[B]} → imputed embeddings {field: float[B, D]}, each computed from those of the other fields.
    Its attribute `fields` lists the fields.
    """

    progress_metrics: ClassVar[tuple[str, ...]]
    """Optional: the names of the metrics that `progress` computes."""

    def needs(self) -> list[str]:
        """Return the names of the tensors that it reads.

        `embeddings.<field>` float[B, D], `present.<field>` float32[B], `fields.<field>.<tensor>`,
        `targets.<field>.<tensor>`, `heads.<head>.logits`, `fused` float[B, D],
        `sampled.<head>` float32[B, L, R], see `Head.sample`.
        """

    def build(self, tensors_shape: Mapping[str, tuple[int | None, ...]]) -> None:
        """Make the weights for tensors of these shapes, given by name."""

    def call(self, tensors: Mapping[str, Any], training: bool | None = None) -> Any:
        """Compute the loss: {name: tensor} → float32 scalar; mmstream multiplies it by the objective's weight."""

    def progress(self, tensors: Mapping[str, Any]) -> dict[str, Any]:
        """Compute cheap metrics for the progress line (optional): {name: tensor} → {metric: float32 scalar}."""
