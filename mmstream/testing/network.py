"""The contracts that all parts of a network share: encoders, fusions and heads."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import keras
import numpy as np
import pytest

from mmstream.interfaces import Fitted, Spec
from mmstream.models import writing
from mmstream.models.precision import dtype_policy
from mmstream.plugins import components, registry
from mmstream.testing import fresh
from mmstream.testing.component import ComponentContract

WIDTH = 8
"""D in the contracts."""
ROWS = 5
"""B in the contracts."""
LAYER = "contract"
"""The name of the layer; the composer names its layers, too."""
POLICIES = ("float32", "mixed_bfloat16")


class Reloaded(NamedTuple):
    """A saved network, reloaded in another process.

    Attributes:
        outputs: its nested outputs, numpy.
        paths: the paths of its weights.
    """

    outputs: Any
    paths: list[str]


class LayerContract(ComponentContract):
    """The contract of all components that are Keras layers, objectives included."""

    @classmethod
    def sizes(cls) -> dict[str, Any]:
        """The arguments that mmstream passes to the constructor."""
        raise NotImplementedError

    @classmethod
    def connect(cls, layer: Any) -> Any:
        """Build the weights of a new layer as mmstream does; the result depends on the kind."""
        raise NotImplementedError

    @classmethod
    def make(cls, policy: str = "float32") -> Any:
        """Make a layer under a dtype policy; returns it, with weights that look trained, and the result of `connect`.

        The weights are the same each time: with some seeds, a very small network passes nothing on.
        """
        keras.utils.set_random_seed(1)
        with dtype_policy(policy):
            layer = cls.build(name=LAYER, **cls.sizes())
            connected = cls.connect(layer)
        disturb(layer)
        return layer, connected

    def test_its_config_holds_every_parameter_and_is_json(self) -> None:
        layer, _ = self.make()
        config = layer.get_config()
        parameters = components.configurable(type(layer))
        missing = {*self.sizes(), *parameters} - config.keys()
        assert not missing, "these are lost when a model is saved"
        for key, value in self.parameters.items():
            assert parameters[key].validate(config[key]) == parameters[key].validate(value)
        again = type(layer).from_config(json.loads(json.dumps(config)))
        assert again.get_config() == config

    def test_it_is_registered_under_its_own_distribution(self) -> None:
        component = self.component()
        package = registry.component(self.kind, self.name).distribution.replace("-", "_")
        assert keras.saving.get_registered_name(component) == f"{package}>{component.__name__}"

    def test_its_weights_have_the_same_paths_whenever_it_is_built(self) -> None:
        first, second = (paths(self.make()[0]) for _ in range(2))
        assert first == second, "name every sublayer and every weight explicitly"
        assert len(set(first)) == len(first)


class NetworkContract(LayerContract):
    """The contract that encoders, fusions and heads share, which are saved in network.keras."""

    @classmethod
    def inputs(cls) -> Any:
        """What the layer reads: nested dicts of numpy arrays [B, …]."""
        raise NotImplementedError

    @classmethod
    def outputs(cls, layer: Any, inputs: Any) -> dict[str, Any]:
        """The layer's outputs by name, as in the inference network; symbolic or not."""
        raise NotImplementedError

    @classmethod
    def autoregressive_targets(cls) -> dict[str, np.ndarray] | None:
        """Targets for an autoregressive head; None for all other layers."""
        return None

    @classmethod
    def connect(cls, layer: Any) -> keras.Model:
        """The layer as a network."""
        symbols = symbols_of(cls.inputs())
        return keras.Model(symbols, cls.outputs(layer, symbols))

    @pytest.fixture(scope="class")
    @classmethod
    def network(cls) -> keras.Model:
        """The inference network, in float32."""
        return cls.make()[1]

    @pytest.fixture(scope="class")
    @classmethod
    def saved(cls, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[keras.Model, Reloaded]]:
        """By dtype policy: the network in this process, and as it was reloaded in another one."""
        folder = tmp_path_factory.mktemp("saved")
        networks = {policy: cls.make(policy)[1] for policy in POLICIES}
        for policy, network in networks.items():
            network.save(folder / f"{policy}.keras")
        files = [str(folder / f"{policy}.keras") for policy in POLICIES]
        reloaded = fresh.call(reload_networks, cls.kind, cls.name, files, cls.inputs(), cls.autoregressive_targets())
        return {policy: (networks[policy], other) for policy, other in zip(POLICIES, reloaded, strict=True)}

    @pytest.mark.parametrize("policy", POLICIES)
    def test_a_fresh_process_reloads_it_with_equal_outputs(
        self, saved: dict[str, tuple[keras.Model, Reloaded]], policy: str
    ) -> None:
        network, reloaded = saved[policy]
        expected = predict(network, self.inputs(), self.autoregressive_targets())
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
        outputs = keras.tree.map_structure(lambda a: a[:count], predict(network, padded))
        assert_close(outputs, predict(network, self.inputs()))

    def test_a_batch_of_absent_records_gives_finite_numbers(self, network: keras.Model) -> None:
        assert_finite(predict(network, keras.tree.map_structure(np.zeros_like, self.inputs())))

    def test_mixed_precision_gives_nearly_the_same(self, network: keras.Model) -> None:
        layer, mixed = self.make("mixed_bfloat16")
        for weight, original in zip(mixed.weights, network.weights, strict=True):
            weight.assign(original)
        assert layer.compute_dtype == "bfloat16" or not layer.autocast
        outputs, expected = (predict(model, self.inputs(), self.autoregressive_targets()) for model in (mixed, network))
        assert_finite(outputs)
        assert_close(self.continuous(outputs), self.continuous(expected), tolerance=0.1)

    @classmethod
    def continuous(cls, outputs: Any) -> Any:
        """The outputs that change little with lower precision: all of them, unless the kind overrides this."""
        return outputs


class FieldPartContract(NetworkContract):
    """The contract that encoders and heads share, whose sizes follow from a field.

    Attributes:
        field: the name of the field that the component reads or predicts.
        field_parameters: the parameters of that field, as in a config; choose small sizes.
        vocabulary: the fitted vocabulary of the field, if it has one.
        statistics: the fitted statistics of the field, if it has any.
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
        """The field's vocabulary and statistics."""
        return Fitted(tuple(cls.vocabulary), dict(cls.statistics))

    @classmethod
    def sizes(cls) -> dict[str, Any]:
        """The arguments that follow from the field."""
        return cls.component().sizes(cls.spec(), cls.fitted())

    def test_sizes_are_plain_integers(self) -> None:
        assert [key for key, value in self.sizes().items() if type(value) is not int] == []


def reload_networks(kind: str, name: str, files: Sequence[str], inputs: Any, targets: Any) -> list[Reloaded]:
    """Load networks as mmstream does: only the component is imported, through its entry point."""
    registry.find(kind, name)
    networks = [keras.saving.load_model(path, compile=False, safe_mode=True) for path in files]
    return [Reloaded(predict(network, inputs, targets), paths(network)) for network in networks]


def predict(network: keras.Model, inputs: Any, targets: Any = None) -> Any:
    """Outputs as numpy; given targets, also what an autoregressive head predicts from these, as "teacher_forced"."""
    outputs = network(inputs, training=False)
    if targets is not None:
        layer = network.get_layer(LAYER)
        head = layer.head if isinstance(layer, writing.Generation) else layer
        outputs = {**outputs, "teacher_forced": head(inputs, targets, training=False)}
    return to_numpy(outputs)


def to_numpy(tree: Any) -> Any:
    """Tensors as numpy, bfloat16 as float32."""

    def convert(value: Any) -> np.ndarray:
        array = np.asarray(value)
        return array if array.dtype.kind in "biu" else array.astype(np.float32)

    return keras.tree.map_structure(convert, tree)


def symbols_of(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The inputs of a network that takes such nested dicts of arrays."""
    return {
        name: symbols_of(value, f"{prefix}{name}-")
        if isinstance(value, Mapping)
        else keras.Input(value.shape[1:], dtype=str(value.dtype), name=f"{prefix}{name}")
        for name, value in tree.items()
    }


def rows_of(tree: Any) -> int:
    """B, the number of rows."""
    return len(keras.tree.flatten(tree)[0])


def paths(layer: Any) -> list[str]:
    """The paths of all weights except the states of random number generators."""
    return sorted(weight.path for weight in layer.weights if "seed_generator" not in weight.path)


def disturb(layer: Any) -> None:
    """Change every weight a little, as training does; a bias of zero would hide its effect on padding."""
    random = np.random.default_rng(7)
    for weight in layer.weights:
        if "seed_generator" not in weight.path and keras.backend.is_float_dtype(weight.dtype):
            weight.assign(weight + random.uniform(-0.1, 0.1, weight.shape))


def assert_close(actual: Any, expected: Any, tolerance: float = 1e-4) -> None:
    """Check that two nested structures agree, relative to their largest number."""

    def compare(one: np.ndarray, other: np.ndarray) -> None:
        largest = float(np.abs(other).max(initial=0.0))
        np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance * largest)

    keras.tree.map_structure(compare, actual, expected)


def assert_finite(tree: Any) -> None:
    """Check that all numbers in a nested structure are finite."""
    for array in keras.tree.flatten(tree):
        assert np.isfinite(array).all(), array
