"""Losses of a generator and of its discriminator, from the discriminator's logits and features."""

from __future__ import annotations

from typing import Any, Literal

from keras import ops

Form = Literal["non_saturating", "hinge"]
"""non_saturating: −log D(real) − log(1 − D(fake)) against −log D(fake). Source: Goodfellow et al., "Generative
adversarial nets" (2014). hinge: max(0, 1 − s(real)) + max(0, 1 + s(fake)) against −s(fake), s being the logit. Source:
Lim and Ye, "Geometric GAN" (2017)."""


def of_real(form: Form, logits: Any) -> Any:
    """float32[N] → float32[N]: the discriminator's loss for each real sample."""
    return ops.relu(1.0 - logits) if form == "hinge" else ops.softplus(-logits)


def of_fake(form: Form, logits: Any) -> Any:
    """float32[N] → float32[N]: the discriminator's loss for each fake sample."""
    return ops.relu(1.0 + logits) if form == "hinge" else ops.softplus(logits)


def of_generator(form: Form, logits: Any) -> Any:
    """float32[N] → float32[N]: the generator's loss for each fake sample."""
    return -logits if form == "hinge" else ops.softplus(-logits)


def feature_matching(real: Any, fake: Any, counts: Any) -> Any:
    """The mean squared difference between the mean features of fake and of real samples, float32 scalar.

    Source: Salimans et al., "Improved techniques for training GANs" (2016).

    Args:
        real: float32[N, F].
        fake: float32[N, F].
        counts: float32[N], 1 for rows that count.
    """
    weight = ops.expand_dims(counts, -1)
    gap = ops.sum((fake - ops.stop_gradient(real)) * weight, axis=0) / ops.maximum(ops.sum(counts), 1.0)
    return ops.mean(ops.square(gap))


def mean(each: Any, counts: Any) -> Any:
    """float32[N] → float32 scalar, over rows that count; 0 where there is none."""
    return ops.sum(ops.where(counts > 0, each, 0.0)) / ops.maximum(ops.sum(counts), 1.0)
