"""Adversarial training with feature matching."""

from __future__ import annotations

from mmstream.plugins.hookspecs import hookimpl


@hookimpl
def register_objectives() -> dict[str, str]:
    """Objectives by the name that a config uses."""
    return {
        "adversarial": "mmstream_gan.adversarial:Adversarial",
        "adversarial_caption": "mmstream_gan.adversarial_caption:AdversarialCaption",
    }
