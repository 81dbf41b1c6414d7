"""Adversarial training of a network that imputes embeddings of missing fields."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import annotated_types
import keras
from keras import ops

from mmstream.models.configured import ConfiguredLayer
from mmstream_gan import losses
from mmstream_gan.discriminators import Discriminator, frozen
from mmstream_gan.generator import Generator

Units = Annotated[int, annotated_types.Gt(0)]
Weight = Annotated[float, annotated_types.Ge(0)]


@keras.saving.register_keras_serializable(package="mmstream_gan")
class Adversarial(ConfiguredLayer):
    """Learns to impute each field's embedding from the other fields', so that a discriminator takes it for real.

    For each field, G(z) = W_g tanh(W_g' z + b_g), where z are the embeddings of the record's other fields, and a
    discriminator sees z with either the field's own embedding, which is real, or G(z), which is fake. L = the
    discriminator's loss on the two + the generator's loss for being detected + λ · feature matching + ρ · the mean
    squared distance of G(z) from the real one. L is a mean over the fields, and for each field over the records that
    have it and another one. Embeddings get no gradient: only G and the discriminator are trained, by one optimizer in
    one pass, and neither's loss reaches the other.

    If `model.impute` names this objective, fusions read G(z) where a field is absent, or hidden by `modality_dropout`.

    Only the distance measures quality, so it alone counts in `val_loss`.

    Source: Goodfellow et al., "Generative adversarial nets" (2014); feature matching of Salimans et al., "Improved
    techniques for training GANs" (2016); the distance as in Isola et al., "Image-to-image translation with conditional
    adversarial networks" (2017); for absent modalities, Cai et al., "Deep adversarial learning for multi-modality
    missing data completion" (2018).

    Args:
        fields: two or more.
        hidden: units of the generator's hidden layer.
        form: non_saturating or hinge; see `mmstream_gan.losses`.
        feature_matching: λ.
        distance: ρ.
        discriminator: units of the discriminator's hidden layers; [] for D(x) = sigmoid(W_d x + b_d).
        spectral: whether the discriminator's weights have spectral normalisation.
    """

    progress_metrics: ClassVar[tuple[str, ...]] = ("discriminator_accuracy", "distance")

    def __init__(
        self,
        *,
        fields: Annotated[list[str], annotated_types.MinLen(2)],
        hidden: Units = 128,
        form: losses.Form = "non_saturating",
        feature_matching: Weight = 1.0,
        distance: Weight = 1.0,
        discriminator: list[Units] = [64],  # noqa: B006 - it is copied
        spectral: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(autocast=False, **kwargs)
        if len(set(fields)) < len(fields):
            raise ValueError(
                f"fields: name each field once, as a field is imputed from others; found {', '.join(fields)}"
            )
        self.fields, self.hidden, self.form = list(fields), hidden, form
        self.feature_matching, self.distance = feature_matching, distance
        self.discriminator, self.spectral = list(discriminator), spectral
        self.generator = Generator(fields, hidden, name="generator")
        self.discriminators = {
            name: Discriminator(discriminator, spectral=spectral, name=f"discriminator_{name}") for name in fields
        }

    def needs(self) -> list[str]:
        """The embeddings of each field, and which of them are present."""
        return [f"{kind}.{field}" for field in self.fields for kind in ("embeddings", "present")]

    def build(self, tensors_shape: Mapping[str, Any]) -> None:
        """Build the generator and the discriminators for embeddings [B, D]."""
        shapes = {name: tensors_shape[f"embeddings.{name}"] for name in self.fields}
        if not self.generator.built:  # it may be built by the network that uses what it imputes
            self.generator.build(shapes)
        for name, layer in self.discriminators.items():
            width = shapes[name][-1]
            layer.build((None, width + (width + 1) * (len(self.fields) - 1)))

    def call(self, tensors: Mapping[str, Any], training: bool | None = None) -> Any:
        """{"embeddings.<field>": float[B, D], "present.<field>": float32[B], …} → float32 scalar."""
        total = ops.zeros((), "float32")
        for name, others, real, imputed, counts in self._pairs(tensors):
            total += self.distance * _distance(real, imputed, counts)
            if training:
                total += self._adversarial(self.discriminators[name], others, real, imputed, counts)
        return total / len(self.fields)

    def _adversarial(self, discriminator: Discriminator, others: Any, real: Any, imputed: Any, counts: Any) -> Any:
        shown = ops.concatenate(
            [ops.concatenate([others, each], axis=-1) for each in (real, ops.stop_gradient(imputed))]
        )
        logits, features = discriminator(shown, training=True)
        of_real, of_imputed = ops.split(logits, 2)
        discriminator_loss = losses.mean(losses.of_real(self.form, of_real), counts)
        discriminator_loss += losses.mean(losses.of_fake(self.form, of_imputed), counts)
        verdict, fake_features = frozen(discriminator, ops.concatenate([others, imputed], axis=-1))
        generator_loss = losses.mean(losses.of_generator(self.form, verdict), counts)
        matched = losses.feature_matching(ops.split(features, 2)[0], fake_features, counts)
        return discriminator_loss + generator_loss + self.feature_matching * matched

    def progress(self, tensors: Mapping[str, Any]) -> dict[str, Any]:
        """The discriminators' accuracy on real and imputed embeddings, and the mean squared distance between these."""
        accuracy, distance = [], []
        for name, others, real, imputed, counts in self._pairs(tensors):
            verdicts = [
                frozen(self.discriminators[name], ops.concatenate([others, e], axis=-1))[0] for e in (real, imputed)
            ]
            right = ops.cast(verdicts[0] > 0, "float32") + ops.cast(verdicts[1] <= 0, "float32")
            accuracy.append(losses.mean(right / 2, counts))
            distance.append(_distance(real, imputed, counts))
        means = (ops.mean(ops.stack(values)) for values in (accuracy, distance))
        return dict(zip(self.progress_metrics, means, strict=True))

    def _pairs(self, tensors: Mapping[str, Any]) -> list[tuple[str, Any, Any, Any, Any]]:
        """For each field: name, z, its embedding and G(z), float32[B, …], and float32[B], 1 for records that count."""
        vectors = {name: ops.stop_gradient(ops.cast(tensors[f"embeddings.{name}"], "float32")) for name in self.fields}
        present = {name: tensors[f"present.{name}"] for name in self.fields}
        imputed = self.generator(vectors, present)
        pairs = []
        for name in self.fields:
            has_others = ops.max(ops.stack([present[other] for other in self.fields if other != name]), axis=0)
            others = self.generator.others(name, vectors, present)
            pairs.append((name, others, vectors[name], imputed[name], present[name] * has_others))
        return pairs


def _distance(real: Any, imputed: Any, counts: Any) -> Any:
    """The mean squared difference per coordinate, float32 scalar."""
    return losses.mean(ops.mean(ops.square(imputed - real), axis=-1), counts)
