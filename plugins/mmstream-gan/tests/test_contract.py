"""The objectives keep the contract of an objective."""

from __future__ import annotations

import numpy as np

from mmstream.testing import ObjectiveContract

IDS = [[4, 5, 3], [6, 3, 0], [0, 0, 0], [4, 5, 3], [7, 4, 3]]
SAMPLED = np.eye(8, dtype=np.float32)[[[4, 5, 3], [5, 3, 0], [3, 0, 0], [4, 5, 3], [4, 4, 4]]]
TEXTS = {"targets.text.ids": IDS, "sampled.caption": SAMPLED}


class TestAdversarialCaption(ObjectiveContract):
    name = "adversarial_caption"
    parameters = {"head": "caption", "target": "text", "field": "image", "units": 6, "hidden": [5, 4]}
    tensors = TEXTS


class TestAffineAdversarialCaption(ObjectiveContract):
    name = "adversarial_caption"
    parameters = {
        "head": "caption",
        "target": "text",
        "field": "image",
        "form": "hinge",
        "units": 6,
        "hidden": [],
        "spectral": False,
        "feature_matching": 0.0,
    }
    tensors = TEXTS


class TestAdversarial(ObjectiveContract):
    name = "adversarial"
    parameters = {"fields": ["image", "sound", "text"], "hidden": 6, "discriminator": [5, 4]}


class TestAffineAdversarial(ObjectiveContract):
    name = "adversarial"
    parameters = {"fields": ["image", "text"], "form": "hinge", "discriminator": [], "spectral": False}
