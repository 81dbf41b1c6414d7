"""Adversarial training of a head that writes texts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import annotated_types
import keras
from keras import ops

from mmstream.interfaces import RESERVED_IDS, UNKNOWN
from mmstream_gan import losses
from mmstream_gan.discriminators import TextDiscriminator, frozen

Units = Annotated[int, annotated_types.Gt(0)]


@keras.saving.register_keras_serializable(package="mmstream_gan")
class AdversarialCaption(keras.layers.Layer):
    """Trains a `caption` head to write texts that a discriminator takes for true ones of what they are about.

    The discriminator sees pairs of a field's embedding and a text: a record's own and true one, which is real; its own
    and one that the head draws; and another record's embedding with a true text. L = its loss on these (the two wrong
    kinds sharing one half) + the head's loss for being found out + λ · feature matching. Texts are drawn by
    straight-through Gumbel-softmax, so that the gradient of the head's loss reaches it and the encoder that it reads;
    embeddings are taken as they are. All are trained by one optimizer in one pass: the discriminator's loss does not
    reach the head, nor the head's the discriminator. Begin with likelihood alone: `from_epoch` and `warm_up`.

    It says nothing of quality, and so counts nothing in `val_loss`.

    Source: Dai et al., "Towards diverse and natural image descriptions via a conditional GAN" (2017), of which pairs
    are shown; Jang et al., "Categorical reparameterization with Gumbel-softmax" (2017); Zhang et al., "Adversarial
    feature matching for text generation" (2017).

    Args:
        head: the head that writes.
        target: the text field that it predicts.
        field: the field whose embedding its texts are to fit.
        form: non_saturating or hinge; see `mmstream_gan.losses`.
        feature_matching: λ.
        units: of the discriminator's embeddings.
        hidden: units of its hidden layers; [] for D(x) = sigmoid(W_d x + b_d).
        spectral: whether its weights are normalised.
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
        """An embedding, the true text and the drawn one."""
        return [f"embeddings.{self.field}", f"present.{self.field}", f"targets.{self.target}.ids", f"drawn.{self.head}"]

    def build(self, tensors_shape: Mapping[str, Any]) -> None:
        """Build the discriminator for embeddings [B, D] and texts [B, L, R]."""
        self.discriminator.build(tensors_shape[f"embeddings.{self.field}"], tensors_shape[f"drawn.{self.head}"])

    def call(self, tensors: Mapping[str, Any], training: bool | None = None) -> Any:
        """{name: tensor} as `needs` says → float32 scalar; 0 outside training."""
        if not training:
            return ops.zeros((), "float32")
        vectors, true, drawn, counts, others = self._pairs(tensors)
        shown = ops.concatenate([vectors, vectors, ops.roll(vectors, 1, axis=0)])
        texts = ops.concatenate([true, ops.stop_gradient(drawn), true])
        logits, features = self.discriminator(shown, texts, training=True)
        real, fake, wrong = ops.split(logits, 3)
        judged = losses.mean(losses.of_real(self.form, real), counts)
        judged += 0.5 * losses.mean(losses.of_fake(self.form, fake), counts)
        judged += 0.5 * losses.mean(losses.of_fake(self.form, wrong), others)
        verdict, made = frozen(self.discriminator, vectors, drawn)
        found_out = losses.mean(losses.of_generator(self.form, verdict), counts)
        matched = losses.feature_matching(ops.split(features, 3)[0], made, counts)
        return judged + found_out + self.feature_matching * matched

    def progress(self, tensors: Mapping[str, Any]) -> dict[str, Any]:
        """The share of true and drawn texts that the discriminator tells apart, and of drawn ones that are different.

        At 1 the head no longer fools it, at one half it only guesses; few different texts are a collapse.
        """
        vectors, true, drawn, counts, _ = self._pairs(tensors)
        real, _ = frozen(self.discriminator, vectors, true)
        fake, _ = frozen(self.discriminator, vectors, drawn)
        right = (ops.cast(real > 0, "float32") + ops.cast(fake <= 0, "float32")) / 2
        ids = ops.argmax(drawn, axis=-1)
        equal = ops.all(ops.expand_dims(ids, 0) == ops.expand_dims(ids, 1), axis=-1)
        times = ops.maximum(ops.sum(ops.cast(equal, "float32") * ops.expand_dims(counts, 0), axis=1), 1.0)
        return {"discriminator_accuracy": losses.mean(right, counts), "unique": losses.mean(1.0 / times, counts)}

    def _pairs(self, tensors: Mapping[str, Any]) -> tuple[Any, Any, Any, Any, Any]:
        """What the discriminator sees.

        Returns:
            embeddings float32[B, D]; true and drawn texts, one-hot float32[B, L, R]; float32[B], 1 where a record has
            both an embedding and a text of known tokens (a head writes no unknown ones, which would tell them apart);
            and 1 where the embedding of the record before it, too, is there and of
            another text.
        """
        ids, drawn = tensors[f"targets.{self.target}.ids"], tensors[f"drawn.{self.head}"]
        true = ops.one_hot(ops.cast(ids, "int32"), drawn.shape[-1], dtype="float32")
        vectors = ops.stop_gradient(ops.cast(tensors[f"embeddings.{self.field}"], "float32"))
        whole = ops.logical_and(ops.any(ids >= RESERVED_IDS, axis=1), ops.all(ids != UNKNOWN, axis=1))
        counts = tensors[f"present.{self.field}"] * ops.cast(whole, "float32")
        differs = ops.cast(ops.any(ids != ops.roll(ids, 1, axis=0), axis=1), "float32")
        return vectors, true, ops.cast(drawn, "float32"), counts, counts * ops.roll(counts, 1) * differs

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        config = super().get_config()
        config.pop("autocast", None)
        names = ("head", "target", "field", "form", "feature_matching", "units", "hidden", "spectral")
        return {**config, **{name: getattr(self, name) for name in names}}
