"""Adversarial training of a network that makes embeddings of absent fields."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import annotated_types
import keras
from keras import ops

from mmstream_gan import losses
from mmstream_gan.discriminators import Discriminator, frozen
from mmstream_gan.generator import Generator

Units = Annotated[int, annotated_types.Gt(0)]
Weight = Annotated[float, annotated_types.Ge(0)]


@keras.saving.register_keras_serializable(package="mmstream_gan")
class Adversarial(keras.layers.Layer):
    """Learns to make each field's embedding from the other fields' so that a discriminator takes it for a real one.

    For each field, G(z) = W_g tanh(W_g' z + b_g), where z are the embeddings of the record's other fields, and a
    discriminator sees z with the field's own embedding, which is real, or with G(z). L = its loss on the two + the
    generator's loss for being found out + λ · feature matching + ρ · the mean squared distance of G(z) from the real
    one, as a mean over fields, each over the records that have it and another one. Embeddings are taken as they are:
    what is trained is G and the discriminator, by one optimizer in one pass, neither's loss reaching the other.

    With `model.impute` naming it, fusions read G(z) where a field is absent, or hidden by `modality_dropout`.

    It says nothing of quality but for the distance, which alone counts in `val_loss`.

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
        discriminator: units of its hidden layers; [] for D(x) = sigmoid(W_d x + b_d).
        spectral: whether the discriminator's weights are normalised.
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
            raise ValueError(f"fields: a field is made from others, not from itself; found {', '.join(fields)}")
        self.fields, self.hidden, self.form = list(fields), hidden, form
        self.feature_matching, self.distance = feature_matching, distance
        self.discriminator, self.spectral = list(discriminator), spectral
        self.generator = Generator(fields, hidden, name="generator")
        self.discriminators = {
            name: Discriminator(discriminator, spectral=spectral, name=f"discriminator_{name}") for name in fields
        }

    def needs(self) -> list[str]:
        """Embeddings, and which are present."""
        return [f"{kind}.{field}" for field in self.fields for kind in ("embeddings", "present")]

    def build(self, tensors_shape: Mapping[str, Any]) -> None:
        """Build both for embeddings [B, D]."""
        shapes = {name: tensors_shape[f"embeddings.{name}"] for name in self.fields}
        if not self.generator.built:  # by the network that fills in what it makes
            self.generator.build(shapes)
        for name, layer in self.discriminators.items():
            width = shapes[name][-1]
            layer.build((None, width + (width + 1) * (len(self.fields) - 1)))

    def call(self, tensors: Mapping[str, Any], training: bool | None = None) -> Any:
        """{"embeddings.<field>": float[B, D], "present.<field>": float32[B], …} → float32 scalar."""
        total = ops.zeros((), "float32")
        for name, seen, real, made, counts in self._pairs(tensors):
            total += self.distance * _distance(real, made, counts)
            if training:
                total += self._adversarial(self.discriminators[name], seen, real, made, counts)
        return total / len(self.fields)

    def _adversarial(self, discriminator: Discriminator, seen: Any, real: Any, made: Any, counts: Any) -> Any:
        shown = ops.concatenate([ops.concatenate([seen, each], axis=-1) for each in (real, ops.stop_gradient(made))])
        logits, features = discriminator(shown, training=True)
        of_real, of_made = ops.split(logits, 2)
        judged = losses.mean(losses.of_real(self.form, of_real), counts)
        judged += losses.mean(losses.of_fake(self.form, of_made), counts)
        verdict, of_what_is_made = frozen(discriminator, ops.concatenate([seen, made], axis=-1))
        found_out = losses.mean(losses.of_generator(self.form, verdict), counts)
        matched = losses.feature_matching(ops.split(features, 2)[0], of_what_is_made, counts)
        return judged + found_out + self.feature_matching * matched

    def progress(self, tensors: Mapping[str, Any]) -> dict[str, Any]:
        """The share of real and made embeddings that the discriminators tell apart, and the mean squared distance."""
        accuracy, distance = [], []
        for name, seen, real, made, counts in self._pairs(tensors):
            verdicts = [frozen(self.discriminators[name], ops.concatenate([seen, e], axis=-1))[0] for e in (real, made)]
            right = ops.cast(verdicts[0] > 0, "float32") + ops.cast(verdicts[1] <= 0, "float32")
            accuracy.append(losses.mean(right / 2, counts))
            distance.append(_distance(real, made, counts))
        means = (ops.mean(ops.stack(values)) for values in (accuracy, distance))
        return dict(zip(self.progress_metrics, means, strict=True))

    def _pairs(self, tensors: Mapping[str, Any]) -> list[tuple[str, Any, Any, Any, Any]]:
        """Of each field: name, z, its embedding and G(z), float32[B, …], and float32[B], 1 for records that count."""
        vectors = {name: ops.stop_gradient(ops.cast(tensors[f"embeddings.{name}"], "float32")) for name in self.fields}
        present = {name: tensors[f"present.{name}"] for name in self.fields}
        made = self.generator(vectors, present)
        found = []
        for name in self.fields:
            others = ops.max(ops.stack([present[other] for other in self.fields if other != name]), axis=0)
            seen = self.generator.seen(name, vectors, present)
            found.append((name, seen, vectors[name], made[name], present[name] * others))
        return found

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        config = super().get_config()
        config.pop("autocast", None)
        names = ("fields", "hidden", "form", "feature_matching", "distance", "discriminator", "spectral")
        return {**config, **{name: getattr(self, name) for name in names}}


def _distance(real: Any, made: Any, counts: Any) -> Any:
    """Mean squared distance a coordinate, float32 scalar."""
    return losses.mean(ops.mean(ops.square(made - real), axis=-1), counts)
