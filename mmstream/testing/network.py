"""What holds for every part of a network: encoders, fusions and heads."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import keras
import numpy as np
import pytest

from mmstream import components, plugins
from mmstream.interfaces import Fitted, Spec
from mmstream.models import writing
from mmstream.testing import fresh
from mmstream.testing.component import ComponentContract

WIDTH = 8
"""D in the contracts."""
ROWS = 5
"""B in the contracts."""
LAYER = "contract"
"""The name that the layer is given, as the composer gives it one."""
POLICIES = ("float32", "mixed_bfloat16")


class Reloaded(NamedTuple):
    """What a saved network is in another process.

    Attributes:
        outputs: nested, numpy.
        paths: of its weights.
    """

    outputs: Any
    paths: list[str]


class LayerContract(ComponentContract):
    """What all Keras layers among the components share, objectives included."""

    @classmethod
    def sizes(cls) -> dict[str, Any]:
        """What mmstream hands over to the constructor."""
        raise NotImplementedError

    @classmethod
    def connect(cls, layer: Any) -> Any:
        """Build the weights of a new layer as mmstream does; what this gives is up to the kind."""
        raise NotImplementedError

    @classmethod
    def make(cls, policy: str = "float32") -> Any:
        """The layer under a dtype policy, and what `connect` gave; its weights are as if it had been trained."""
        with dtype_policy(policy):
            layer = cls.build(name=LAYER, **cls.sizes())
            connected = cls.connect(layer)
        disturb(layer)
        return layer, connected

    def test_its_config_holds_every_parameter_and_is_json(self) -> None:
        layer, _ = self.make()
        config = layer.get_config()
        known = components.configurable(type(layer))
        missing = {*self.sizes(), *known} - config.keys()
        assert not missing, "these are lost when a model is saved"
        for key, value in self.parameters.items():
            assert known[key].validate(config[key]) == known[key].validate(value)
        again = type(layer).from_config(json.loads(json.dumps(config)))
        assert again.get_config() == config

    def test_it_is_registered_under_its_own_distribution(self) -> None:
        found = self.component()
        package = plugins.component(self.kind, self.name).distribution.replace("-", "_")
        assert keras.saving.get_registered_name(found) == f"{package}>{found.__name__}"

    def test_its_weights_have_the_same_paths_whenever_it_is_built(self) -> None:
        first, second = (paths(self.make()[0]) for _ in range(2))
        assert first == second, "name every sublayer and every weight explicitly"
        assert len(set(first)) == len(first)


class NetworkContract(LayerContract):
    """What encoders, fusions and heads share: they are saved in network.keras."""

    @classmethod
    def inputs(cls) -> Any:
        """What the layer reads: nested dicts of numpy arrays [B, …]."""
        raise NotImplementedError

    @classmethod
    def outputs(cls, layer: Any, inputs: Any) -> dict[str, Any]:
        """The layer's outputs by name, as the network that labels has them; symbolic or not."""
        raise NotImplementedError

    @classmethod
    def forced_targets(cls) -> dict[str, np.ndarray] | None:
        """Targets for a head that sees them in training; None for all other layers."""
        return None

    @classmethod
    def connect(cls, layer: Any) -> keras.Model:
        """The layer as a network."""
        symbols = symbols_of(cls.inputs())
        return keras.Model(symbols, cls.outputs(layer, symbols))

    @pytest.fixture(scope="class")
    @classmethod
    def network(cls) -> keras.Model:
        """The network that labels, in float32."""
        return cls.make()[1]

    @pytest.fixture(scope="class")
    @classmethod
    def saved(cls, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[keras.Model, Reloaded]]:
        """By dtype policy, a network as it is here and as it is where it was reloaded."""
        folder = tmp_path_factory.mktemp("saved")
        networks = {policy: cls.make(policy)[1] for policy in POLICIES}
        for policy, network in networks.items():
            network.save(folder / f"{policy}.keras")
        files = [str(folder / f"{policy}.keras") for policy in POLICIES]
        reloaded = fresh.call(reload_networks, cls.kind, cls.name, files, cls.inputs(), cls.forced_targets())
        return {policy: (networks[policy], other) for policy, other in zip(POLICIES, reloaded, strict=True)}

    @pytest.mark.parametrize("policy", POLICIES)
    def test_a_fresh_process_reloads_it_with_equal_outputs(
        self, saved: dict[str, tuple[keras.Model, Reloaded]], policy: str
    ) -> None:
        network, reloaded = saved[policy]
        expected = predict(network, self.inputs(), self.forced_targets())
        keras.tree.map_structure(
            lambda one, other: np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-6), reloaded.outputs, expected
        )

    @pytest.mark.parametrize("policy", POLICIES)
    def test_a_fresh_process_reloads_its_weights_under_equal_paths(
        self, saved: dict[str, tuple[keras.Model, Reloaded]], policy: str
    ) -> None:
        network, reloaded = saved[policy]
        assert reloaded.paths == paths(network)

    def test_a_record_alone_gives_what_it_gives_in_a_batch(self, network: keras.Model) -> None:
        whole = predict(network, self.inputs())
        for row in range(rows_of(self.inputs())):
            alone = predict(network, keras.tree.map_structure(lambda a, n=row: a[n : n + 1], self.inputs()))
            assert_close(alone, keras.tree.map_structure(lambda a, n=row: a[n : n + 1], whole))

    def test_absent_records_in_a_batch_change_nothing(self, network: keras.Model) -> None:
        count = rows_of(self.inputs())
        padded = keras.tree.map_structure(lambda a: np.concatenate([a, np.zeros_like(a)]), self.inputs())
        found = keras.tree.map_structure(lambda a: a[:count], predict(network, padded))
        assert_close(found, predict(network, self.inputs()))

    def test_a_batch_of_absent_records_gives_finite_numbers(self, network: keras.Model) -> None:
        assert_finite(predict(network, keras.tree.map_structure(np.zeros_like, self.inputs())))

    def test_mixed_precision_gives_nearly_the_same(self, network: keras.Model) -> None:
        layer, mixed = self.make("mixed_bfloat16")
        for weight, known in zip(mixed.weights, network.weights, strict=True):
            weight.assign(known)
        assert layer.compute_dtype == "bfloat16" or not layer.autocast
        found, expected = (predict(model, self.inputs(), self.forced_targets()) for model in (mixed, network))
        assert_finite(found)
        assert_close(self.continuous(found), self.continuous(expected), tolerance=0.1)

    @classmethod
    def continuous(cls, outputs: Any) -> Any:
        """The outputs that a little less precision moves only a little: all of them, unless the kind knows better."""
        return outputs


class FieldPartContract(NetworkContract):
    """What encoders and heads share: their sizes follow from a field.

    Attributes:
        field: name of the field that it reads or predicts.
        field_parameters: of that field, as in a config; choose small sizes.
        vocabulary: what the field was fitted to, if it has a vocabulary.
        statistics: what the full pass learnt of it, if it has statistics.
    """

    field: ClassVar[str]
    field_parameters: ClassVar[Mapping[str, Any]] = {}
    vocabulary: ClassVar[Sequence[str]] = ()
    statistics: ClassVar[Mapping[str, tuple[float, ...]]] = {}

    @classmethod
    def spec(cls) -> Spec:
        """The field's tensors, without `present`."""
        return components.build("field", cls.field, cls.field_parameters).spec(cls.fitted())

    @classmethod
    def fitted(cls) -> Fitted:
        """What the full pass learnt of the field."""
        return Fitted(tuple(cls.vocabulary), dict(cls.statistics))

    @classmethod
    def sizes(cls) -> dict[str, Any]:
        """What follows from the field."""
        return cls.component().sizes(cls.spec(), cls.fitted())

    def test_sizes_are_plain_integers(self) -> None:
        assert [key for key, value in self.sizes().items() if type(value) is not int] == []


def reload_networks(kind: str, name: str, files: Sequence[str], inputs: Any, forced: Any) -> list[Reloaded]:
    """Load networks as mmstream does: the component is imported through its entry point, nothing else by name."""
    plugins.find(kind, name)
    networks = [keras.saving.load_model(path, compile=False, safe_mode=True) for path in files]
    return [Reloaded(predict(network, inputs, forced), paths(network)) for network in networks]


def predict(network: keras.Model, inputs: Any, forced: Any = None) -> Any:
    """Outputs as numpy; with targets, also what a forced head makes of them, under "forced"."""
    outputs = network(inputs, training=False)
    if forced is not None:
        layer = network.get_layer(LAYER)
        head = layer.head if isinstance(layer, writing.Generation) else layer
        outputs = {**outputs, "forced": head(inputs, forced, training=False)}
    return to_numpy(outputs)


def to_numpy(tree: Any) -> Any:
    """Tensors as numpy, bfloat16 as float32."""

    def convert(value: Any) -> np.ndarray:
        array = np.asarray(value)
        return array if array.dtype.kind in "biu" else array.astype(np.float32)

    return keras.tree.map_structure(convert, tree)


def symbols_of(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Inputs of a network for nested dicts of arrays."""
    return {
        name: symbols_of(value, f"{prefix}{name}-")
        if isinstance(value, Mapping)
        else keras.Input(value.shape[1:], dtype=str(value.dtype), name=f"{prefix}{name}")
        for name, value in tree.items()
    }


def rows_of(tree: Any) -> int:
    """B."""
    return len(keras.tree.flatten(tree)[0])


def paths(layer: Any) -> list[str]:
    """Paths of the weights that make up a fingerprint: all but the states of random number generators."""
    return sorted(weight.path for weight in layer.weights if "seed_generator" not in weight.path)


def disturb(layer: Any) -> None:
    """Move every weight a little, as training does; a bias at zero would hide what it does to padding."""
    random = np.random.default_rng(7)
    for weight in layer.weights:
        if "seed_generator" not in weight.path:
            weight.assign(weight + random.uniform(-0.1, 0.1, weight.shape))


def assert_close(found: Any, expected: Any, tolerance: float = 1e-4) -> None:
    """Two nested structures agree, relative to their largest number."""

    def compare(one: np.ndarray, other: np.ndarray) -> None:
        largest = float(np.abs(other).max(initial=0.0))
        np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance * largest)

    keras.tree.map_structure(compare, found, expected)


def assert_finite(tree: Any) -> None:
    """All numbers in a nested structure are finite."""
    for array in keras.tree.flatten(tree):
        assert np.isfinite(array).all(), array


@contextlib.contextmanager
def dtype_policy(name: str) -> Iterator[None]:
    """Keras' global dtype policy for a while, which is how training sets the precision."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
