"""The contract of an encoder."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import keras
import numpy as np
import pytest

from mmstream.interfaces import RESERVED_IDS
from mmstream.plugins import registry
from mmstream.testing.network import (
    LAYER,
    ROWS,
    WIDTH,
    FieldPartContract,
    assert_close,
    disturb,
    predict,
    rows_of,
    symbols_of,
)

BACKBONE = "backbone"
"""The name of the backbone in the contract."""


class EncoderContract(FieldPartContract):
    """An encoder reloads exactly, treats each record by itself, and gives tokens and a mask.

    Attributes:
        field, field_parameters, vocabulary: what it reads, see `FieldPartContract`.
        tensors: {tensor: rows} of the field, as lists; by default random, in accordance with the field's spec.
        lengthened: tensors whose first axis has the length that the field's parameters set, so that more padding with
            zeros must not change the tokens; () for an encoder of one fixed length.
    """

    kind = "encoder"
    tensors: ClassVar[Mapping[str, Any]] = {}
    lengthened: ClassVar[Sequence[str]] = ()

    @classmethod
    def sizes(cls) -> dict[str, Any]:
        """The shared width, and the arguments that follow from the field."""
        return {"width": WIDTH, **super().sizes()}

    @classmethod
    def inputs(cls) -> dict[str, np.ndarray]:
        """The field's tensors."""
        spec = cls.spec()
        if cls.tensors:
            return {name: np.array(cls.tensors[name], dtype) for name, (_, dtype) in spec.items()}
        random = np.random.default_rng(3)
        highest = {"int64": RESERVED_IDS + len(cls.vocabulary), "uint8": 256}
        return {
            name: random.normal(size=(ROWS, *shape)).astype(dtype)
            if dtype == "float32"
            else random.integers(highest[dtype], size=(ROWS, *shape)).astype(dtype)
            for name, (shape, dtype) in spec.items()
        }

    @classmethod
    def outputs(cls, layer: Any, inputs: Any) -> dict[str, Any]:
        """{"tokens": float[B, T, D], "mask": float[B, T]}."""
        return layer(layer.backbone(BACKBONE)(inputs) if hasattr(layer, "backbone") else inputs)

    @classmethod
    def make(cls, policy: str = "float32") -> Any:
        """The encoder and its network; the weights of its backbone look trained, too."""
        layer, network = super().make(policy)
        if hasattr(layer, "backbone"):
            disturb(network.get_layer(BACKBONE))
        return layer, network

    def test_its_backbone_keeps_its_arguments(self) -> None:
        layer, network = self.make()
        if not hasattr(layer, "backbone"):
            pytest.skip("the encoder has no backbone")
        backbone = network.get_layer(BACKBONE)
        again = type(backbone).from_config(json.loads(json.dumps(backbone.get_config())))
        assert again.get_config() == backbone.get_config()
        package = registry.component(self.kind, self.name).distribution.replace("-", "_")
        assert keras.saving.get_registered_name(type(backbone)) == f"{package}>{type(backbone).__name__}"

    def test_gives_tokens_of_the_shared_width_and_their_mask(self, network: keras.Model) -> None:
        encoded = predict(network, self.inputs())
        assert set(encoded) == {"tokens", "mask"}
        batch, count, width = encoded["tokens"].shape
        assert (batch, width) == (rows_of(self.inputs()), WIDTH)
        assert encoded["mask"].shape == (batch, count)
        assert set(np.unique(encoded["mask"])) <= {0.0, 1.0}

    def test_gives_floats_of_its_precision(self) -> None:
        _, network = self.make("mixed_bfloat16")
        encoded = network(self.inputs())
        assert {name: keras.backend.standardize_dtype(value.dtype) for name, value in encoded.items()} == {
            "tokens": "bfloat16",
            "mask": "bfloat16",
        }

    def test_another_input_gives_other_tokens(self, network: keras.Model) -> None:
        encoded = predict(network, self.inputs())
        one, *others = encoded["tokens"] * encoded["mask"][..., None]
        assert any(np.abs(one - other).max() > 0 for other in others)

    def test_longer_padding_changes_no_token(self, network: keras.Model) -> None:
        if not self.lengthened:
            pytest.skip("the encoder is fitted to one length")
        inputs = self.inputs()
        longer = {
            name: np.concatenate([array, np.zeros_like(array)], 1) if name in self.lengthened else array
            for name, array in inputs.items()
        }
        symbols = symbols_of(longer)
        encoder = network.get_layer(LAYER)
        read = network.get_layer(BACKBONE)(symbols) if hasattr(encoder, "backbone") else symbols
        lengthened = keras.Model(symbols, encoder(read))
        expected, encoded = predict(network, inputs), predict(lengthened, longer)
        count = expected["mask"].shape[1]
        assert not encoded["mask"][:, count:].any()
        assert_close(encoded["mask"][:, :count], expected["mask"])
        valid = expected["mask"][..., None]
        assert_close(encoded["tokens"][:, :count] * valid, expected["tokens"] * valid)
