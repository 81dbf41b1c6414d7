"""The contract of a fusion."""

from __future__ import annotations

import itertools
from typing import Any, ClassVar

import keras
import numpy as np

from mmstream.testing.network import LAYER, WIDTH, NetworkContract, assert_close, assert_finite, predict

_TOKENS = {"image": 4, "sound": 1, "text": 3}
_SUBSETS = np.array(list(itertools.product((0, 1), repeat=len(_TOKENS))), np.float32)


class FusionContract(NetworkContract):
    """A fusion reloads exactly, treats each record by itself, and ignores absent fields.

    It is tested on three fields, with a batch of all subsets of present fields. A test sets only `name` and
    `parameters`.
    """

    kind = "fusion"
    fields: ClassVar[tuple[str, ...]] = tuple(_TOKENS)

    @classmethod
    def sizes(cls) -> dict[str, Any]:
        """The shared width."""
        return {"width": WIDTH}

    @classmethod
    def inputs(cls) -> dict[str, dict[str, np.ndarray]]:
        """A reading of each field, with one row for each subset of present fields; absent fields are zero."""
        random = np.random.default_rng(5)
        readings = {}
        for number, (name, count) in enumerate(_TOKENS.items()):
            present = _SUBSETS[:, number]
            mask = (random.uniform(size=(len(present), count)) < 0.7).astype(np.float32)
            mask[:, 0] = 1
            reading = {
                "tokens": random.normal(size=(len(present), count, WIDTH)).astype(np.float32),
                "mask": mask,
                "vector": random.normal(size=(len(present), WIDTH)).astype(np.float32),
            }
            readings[name] = {key: (value.T * present).T for key, value in reading.items()} | {"present": present}
        return readings

    @classmethod
    def outputs(cls, layer: Any, inputs: Any) -> dict[str, Any]:
        """{"fused": float[B, D]}."""
        return {"fused": layer(inputs)}

    def test_gives_one_vector_of_the_shared_width(self, network: keras.Model) -> None:
        assert predict(network, self.inputs())["fused"].shape == (len(_SUBSETS), WIDTH)

    def test_what_an_absent_field_holds_does_not_matter(self, network: keras.Model) -> None:
        expected = predict(network, self.inputs())
        for garbage in (1e3, np.inf, np.nan):
            readings = self.inputs()
            for reading in readings.values():
                absent = reading["present"] == 0
                reading["tokens"][absent] = reading["vector"][absent] = garbage
                reading["mask"][absent] = 1
            fused = predict(network, readings)
            assert_finite(fused)
            assert_close(fused, expected)

    def test_what_stands_in_masked_tokens_does_not_matter(self, network: keras.Model) -> None:
        readings = self.inputs()
        for reading in readings.values():
            reading["tokens"][reading["mask"] == 0] = 1e3
        assert_close(predict(network, readings), predict(network, self.inputs()))

    def test_the_vector_of_every_present_field_counts(self, network: keras.Model) -> None:
        expected = predict(network, self.inputs())["fused"]
        for name in self.fields:
            readings = self.inputs()
            readings[name]["vector"] += 1
            moved = np.abs(predict(network, readings)["fused"] - expected).max(axis=1) > 0
            assert (moved == (readings[name]["present"] > 0)).all()

    def test_the_order_in_which_fields_are_given_does_not_matter(self, network: keras.Model) -> None:
        readings = self.inputs()
        layer = network.get_layer(LAYER)
        fused = layer({name: readings[name] for name in reversed(self.fields)})
        np.testing.assert_allclose(fused, predict(network, readings)["fused"], rtol=1e-5, atol=1e-6)
