"""Adversarial training of a head that writes texts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import annotated_types
import keras
from keras import ops

from mmstream.interfaces import RESERVED_IDS, UNKNOWN
from mmstream.models.configured import ConfiguredLayer
from mmstream_gan import losses
from mmstream_gan.discriminators import TextDiscriminator, frozen

Units = Annotated[int, annotated_types.Gt(0)]


@keras.saving.register_keras_serializable(package="mmstream_gan")
class AdversarialCaption(ConfiguredLayer):
    """Trains a `caption` head to write texts that a discriminator takes for the true texts of their records.

    The discriminator sees pairs of a field's embedding and a text: a record's embedding with its true text, which is
    real; with a text sampled from the head; and another record's embedding with a true text. L = the discriminator's
    loss on these (the two fake kinds weigh one half each) + the head's loss for being detected + λ · feature matching.
    Texts are sampled by straight-through Gumbel-softmax, so that the gradient of the head's loss reaches the head and
    the encoder that it reads; embeddings get no gradient. All are trained by one optimizer in one pass: the
    discriminator's loss does not reach the head, nor the head's loss the discriminator. Begin with likelihood alone:
    `from_epoch` and `warm_up`.

    The loss does not measure quality, and so does not count in `val_loss`.

    Source: Dai et al., "Towards diverse and natural image descriptions via a conditional GAN" (2017), for the pairs
    that the discriminator sees; Jang et al., "Categorical reparameterization with Gumbel-softmax" (2017); Zhang et al.,
    "Adversarial feature matching for text generation" (2017).

    Args:
        head: the caption head.
        target: the text field that it predicts.
        field: the field whose embedding its texts are to fit.
        form: non_saturating or hinge; see `mmstream_gan.losses`.
        feature_matching: λ.
        units: of the discriminator's embeddings.
        hidden: units of its hidden layers; [] for D(x) = sigmoid(W_d x + b_d).
        spectral: whether its weights have spectral normalisation.
    """

    progress_metrics: ClassVar[tuple[str, ...]] = ("discriminator_accuracy", "unique")

    def __init__(
        self,
        *,
        head: str,
        target: str,
        field: str,
        form: losses.Form = "non_saturating",
        feature_matching: Annotated[float, annotated_types.Ge(0)] = 1.0,
        units: Units = 64,
        hidden: list[Units] = [64],  # noqa: B006 - it is copied
        spectral: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(autocast=False, **kwargs)
        self.head, self.target, self.field = head, target, field
        self.form = form
        self.feature_matching = feature_matching
        self.units, self.hidden, self.spectral = units, list(hidden), spectral
        self.discriminator = TextDiscriminator(units, hidden, spectral=spectral, name="discriminator")

    def needs(self) -> list[str]:
        """An embedding, the true text and the sampled one."""
        return [
            f"embeddings.{self.field}",
            f"present.{self.field}",
            f"targets.{self.target}.ids",
            f"sampled.{self.head}",
        ]

    def build(self, tensors_shape: Mapping[str, Any]) -> None:
        """Build the discriminator for embeddings [B, D] and texts [B, L, R]."""
        self.discriminator.build(tensors_shape[f"embeddings.{self.field}"], tensors_shape[f"sampled.{self.head}"])

    def call(self, tensors: Mapping[str, Any], training: bool | None = None) -> Any:
        """{name: tensor} for the names in `needs` → float32 scalar; 0 outside training."""
        if not training:
            return ops.zeros((), "float32")
        vectors, true, sampled, counts, others = self._pairs(tensors)
        shown = ops.concatenate([vectors, vectors, ops.roll(vectors, 1, axis=0)])
        texts = ops.concatenate([true, ops.stop_gradient(sampled), true])
        logits, features = self.discriminator(shown, texts, training=True)
        real, fake, wrong = ops.split(logits, 3)
        discriminator_loss = losses.mean(losses.of_real(self.form, real), counts)
        discriminator_loss += 0.5 * losses.mean(losses.of_fake(self.form, fake), counts)
        discriminator_loss += 0.5 * losses.mean(losses.of_fake(self.form, wrong), others)
        verdict, fake_features = frozen(self.discriminator, vectors, sampled)
        generator_loss = losses.mean(losses.of_generator(self.form, verdict), counts)
        matched = losses.feature_matching(ops.split(features, 3)[0], fake_features, counts)
        return discriminator_loss + generator_loss + self.feature_matching * matched

    def progress(self, tensors: Mapping[str, Any]) -> dict[str, Any]:
        """The discriminator's accuracy on true and sampled texts, and the share of distinct sampled texts.

        At accuracy 1 the head no longer fools it, at one half it only guesses; few distinct texts mean mode collapse.
        """
        vectors, true, sampled, counts, _ = self._pairs(tensors)
        real, _ = frozen(self.discriminator, vectors, true)
        fake, _ = frozen(self.discriminator, vectors, sampled)
        right = (ops.cast(real > 0, "float32") + ops.cast(fake <= 0, "float32")) / 2
        ids = ops.argmax(sampled, axis=-1)
        equal = ops.all(ops.expand_dims(ids, 0) == ops.expand_dims(ids, 1), axis=-1)
        times = ops.maximum(ops.sum(ops.cast(equal, "float32") * ops.expand_dims(counts, 0), axis=1), 1.0)
        return {"discriminator_accuracy": losses.mean(right, counts), "unique": losses.mean(1.0 / times, counts)}

    def _pairs(self, tensors: Mapping[str, Any]) -> tuple[Any, Any, Any, Any, Any]:
        """The inputs of the discriminator.

        Returns:
            embeddings float32[B, D]; true and sampled texts, one-hot float32[B, L, R]; float32[B], 1 where a record has
            both an embedding and a text of known tokens (a head writes no unknown ones, which would give it away); and
            float32[B], 1 where the preceding record has both, too, with another text.
        """
        ids, sampled = tensors[f"targets.{self.target}.ids"], tensors[f"sampled.{self.head}"]
        true = ops.one_hot(ops.cast(ids, "int32"), sampled.shape[-1], dtype="float32")
        vectors = ops.stop_gradient(ops.cast(tensors[f"embeddings.{self.field}"], "float32"))
        whole = ops.logical_and(ops.any(ids >= RESERVED_IDS, axis=1), ops.all(ids != UNKNOWN, axis=1))
        counts = tensors[f"present.{self.field}"] * ops.cast(whole, "float32")
        differs = ops.cast(ops.any(ids != ops.roll(ids, 1, axis=0), axis=1), "float32")
        return vectors, true, ops.cast(sampled, "float32"), counts, counts * ops.roll(counts, 1) * differs
