"""Taking weights from elsewhere before a training: pretrained backbones, and parts of other models."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from mmstream import terminal
from mmstream.config.schema import Config
from mmstream.errors import MmstreamError, choices
from mmstream.interfaces import Fitted
from mmstream.models.compose import Composition
from mmstream.models.network import head_of
from mmstream.models.plan import FieldPart, Plan
from mmstream.preprocessing.preprocessor import Preprocessor
from mmstream.storage import files
from mmstream.trained_model.artefact import TrainedModel

_MAPS = "field_map_"
_KEY = "training.initialise"


def take_weights(
    config: Config, composition: Composition, preprocessor: Preprocessor, transform: str
) -> dict[str, str]:
    """Give parts of a network the weights that the config names.

    Args:
        config: the config of the training.
        composition: the networks.
        preprocessor: that of the examples.
        transform: the folder of its fitted transform.

    Returns:
        {part, such as "encoders.image": where its weights come from}.

    Raises:
        MmstreamError: pretrained weights are missing, or what another model has does not fit.
    """
    origins: dict[str, str] = {}
    plan = Plan(config, preprocessor.specs, preprocessor.fitted)
    for each in config.training.initialise:
        donor = TrainedModel(each.donor, embeddings=True)
        for part in each.parts:
            for layer in layers_of(part, composition):
                _copy(part, layer, donor, plan, transform)
            origins[part] = donor.fingerprint
    for name, encoding in composition.encodings.items():
        if encoding.backbone is not None and f"encoders.{name}" not in origins:
            origins[f"encoders.{name}"] = encoding.backbone.load_pretrained()
    return origins


def layers_of(part: str, composition: Composition) -> list[Any]:
    """The layers of a part of the config, such as "encoders.image", "heads.group", "fusion" or "shared_space".

    Raises:
        MmstreamError: there is no such part.
    """
    fusions = [layer for layer in composition.training.layers if layer.name.split("_")[0] == "fusion"]
    maps = ["shared_map", *(f"{_MAPS}{name}" for name in composition.encodings)]
    parts: dict[str, list[Any]] = {
        **{f"encoders.{name}": encoding.layers for name, encoding in composition.encodings.items()},
        **({"fusion": fusions} if fusions else {}),
        "shared_space": [composition.training.get_layer(name) for name in maps],
        **{f"heads.{name}": [layer] for name, layer in composition.heads.items()},
    }
    if part not in parts:
        raise MmstreamError(f"{_KEY}.parts: there is no part {part!r}. {choices(part, parts)}")
    return parts[part]


def _copy(part: str, layer: Any, donor: TrainedModel, plan: Plan, transform: str) -> None:
    """Copy the weights of a layer from the donor's layer of the same name."""
    kind, _, name = part.partition(".")
    try:
        theirs = head_of(donor.network, name) if kind == "heads" else donor.network.get_layer(layer.name)
    except ValueError:
        if layer.name.startswith(_MAPS):
            return  # a field that the donor lacks has a map of its own
        raise MmstreamError(f"{_KEY}: the model {donor.path} has no {part}") from None
    weights = {_within(weight): weight for weight in theirs.weights}
    mapping = _mapping(part, layer, donor, plan, transform) if kind in ("encoders", "heads") else None
    for weight in layer.weights:
        within = _within(weight)
        if "seed_generator" in within:
            continue
        if within not in weights:
            raise MmstreamError(
                f"{_KEY}: {part} of the model {donor.path} has no tensor {within!r}, as it is another kind"
            )
        given = np.asarray(weights[within])
        axes = mapping.axes.get(within, {}) if mapping else {}
        expected = tuple(
            mapping.theirs + axes[axis] if mapping and axis in axes else size for axis, size in enumerate(weight.shape)
        )
        if given.shape != expected:
            raise MmstreamError(
                f"{_KEY}: {part}: the tensor {within!r} is {list(given.shape)} in the model {donor.path}, but must be "
                f"{list(expected)}"
            )
        weight.assign(mapping.mapped(given, np.asarray(weight), axes) if mapping and axes else given)
    if mapping and mapping.axes:
        terminal.say(f"{part}: {len(mapping.own):,} of {mapping.ours:,} values are in the vocabulary of {donor.path}")


@dataclasses.dataclass(frozen=True)
class _Mapping:
    """How the vocabulary of a field is numbered here and in another model.

    Attributes:
        axes: {weight: {axis: offset}}: along this axis, value v of the vocabulary is at offset + v.
        ours: V, here.
        theirs: V, in the other model.
        own: int[M], the numbers here of the values that both have.
        other: int[M], their numbers in the other model.
    """

    axes: Mapping[str, Mapping[int, int]]
    ours: int
    theirs: int
    own: np.ndarray
    other: np.ndarray

    def mapped(self, given: np.ndarray, weight: np.ndarray, axes: Mapping[int, int]) -> np.ndarray:
        """A weight that takes what the other model has for the values that both have, and keeps the rest."""
        to, taken = [], []
        for axis, size in enumerate(weight.shape):
            if axis in axes:
                first = np.arange(axes[axis])
                to.append(np.concatenate([first, self.own + axes[axis]]))
                taken.append(np.concatenate([first, self.other + axes[axis]]))
            else:
                to.append(np.arange(size))
                taken.append(np.arange(size))
        result = weight.copy()
        result[np.ix_(*to)] = given[np.ix_(*taken)]
        return result


def _mapping(part: str, layer: Any, donor: TrainedModel, plan: Plan, transform: str) -> _Mapping:
    kind, _, name = part.partition(".")
    planned = plan.encoder(name) if kind == "encoders" else plan.head(name)
    theirs = donor.heads[name]["target"] if kind == "heads" else name
    ours, other = planned.fitted, donor.all_fields.fitted[theirs]
    if _numbered_by_statistics(planned) and (
        _vocabularies(transform, planned.field) != _vocabularies(files.join(donor.path, "transform"), theirs)
    ):
        raise MmstreamError(
            f"{_KEY}: {part} numbers its features by the training split, and the model {donor.path} was fitted to "
            "another one"
        )
    places = {value: number for number, value in enumerate(other.vocabulary)}
    both = [(number, places[value]) for number, value in enumerate(ours.vocabulary) if value in places]
    pairs = np.array(both, int).reshape(-1, 2)
    axes = dict(_axes(planned, layer)) if ours.vocabulary != other.vocabulary else {}
    return _Mapping(axes, len(ours.vocabulary), len(other.vocabulary), pairs[:, 0], pairs[:, 1])


def _axes(part: FieldPart, layer: Any) -> Iterator[tuple[str, dict[int, int]]]:
    """The axes of weights along which the vocabulary lies: those that one more value makes longer."""
    size = len(part.fitted.vocabulary)
    longer = dataclasses.replace(part, fitted=Fitted((*part.fitted.vocabulary, "\0"), part.fitted.statistics))
    if longer.sizes == part.sizes or not layer.name.startswith(f"{part.kind}s_"):  # a backbone has no vocabulary
        return
    config = {**layer.get_config(), **longer.sizes}
    twin = type(layer).from_config(config)
    twin.build_from_config(layer.get_build_config())
    for weight, other in zip(layer.weights, twin.weights, strict=True):
        axes = {n: a - size for n, (a, b) in enumerate(zip(weight.shape, other.shape, strict=True)) if a != b}
        if axes:
            yield _within(weight), axes


def _numbered_by_statistics(part: FieldPart) -> bool:
    """Whether sizes of the part follow from statistics of the full pass, such as the number of n-grams."""
    more = {name: tuple(value + 1 for value in values) for name, values in part.fitted.statistics.items()}
    return dataclasses.replace(part, fitted=Fitted(part.fitted.vocabulary, more)).sizes != part.sizes


def _vocabularies(transform: str, field: str) -> dict[str, str]:
    """The checksums of the files that hold the vocabularies of a field, by what follows the field's name."""
    folder = files.join(transform, "transform_fn", "assets")
    names = [name for name in files.list_files(folder) if name.partition(".")[0] == field]
    return {name.removeprefix(field): files.checksum(files.join(folder, name)) for name in names}


def _within(weight: Any) -> str:
    """The path of a weight within its layer."""
    return str(weight.path).partition("/")[2]
