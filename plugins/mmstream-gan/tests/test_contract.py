"""The objective keeps the contract of an objective."""

from __future__ import annotations

import numpy as np

from mmstream.testing import ObjectiveContract

IDS = [[4, 5, 3], [6, 3, 0], [0, 0, 0], [4, 5, 3], [7, 4, 3]]
DRAWN = np.eye(8, dtype=np.float32)[[[4, 5, 3], [5, 3, 0], [3, 0, 0], [4, 5, 3], [4, 4, 4]]].tolist()


class TestAdversarial(ObjectiveContract):
    name = "adversarial"
    parameters = {"head": "caption", "target": "text", "field": "image", "units": 6, "hidden": [5, 4]}
    tensors = {"targets.text.ids": IDS, "drawn.caption": np.float32(DRAWN)}


class TestAffineHingeAdversarial(ObjectiveContract):
    name = "adversarial"
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
    tensors = {"targets.text.ids": IDS, "drawn.caption": np.float32(DRAWN)}
