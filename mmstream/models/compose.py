"""From a config and the fitted data to a network of plugins' layers."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import keras
from keras import ops

from mmstream import components, plugins
from mmstream.config import FUSED, Config, HeadConfig, needs_fusion
from mmstream.errors import MmstreamError, choices
from mmstream.interfaces import Fitted, Spec
from mmstream.models.layers import FillIn, JoinReadings, ModalityDropout, PoolTokens, ZeroAbsent
from mmstream.models.writing import Candidates, Drawing, Generation, Nearest


@dataclasses.dataclass(frozen=True)
class Composition:
    """A composed network, for training and for inference, on the same layers.

    Attributes:
        training: {"fields": {field: {tensor}}, "targets": {field: {tensor}}} → named outputs.
        inference: {field: {tensor}} → named outputs; forced heads generate.
        heads: the layer of each head.
        objectives: the layer of each objective, built.
    """

    training: keras.Model
    inference: keras.Model
    heads: dict[str, Any]
    objectives: dict[str, Any]


def compose(config: Config, specs: Mapping[str, Spec], fitted: Mapping[str, Fitted]) -> Composition:
    """Build the network that a config describes.

    Args:
        config: its `model` section names the parts; its `training` section, precision and modality dropout.
        specs: {field: {tensor: shape and dtype}}, `present` included.
        fitted: what the full pass learnt of each field.

    Returns:
        networks whose outputs are {"embeddings": {field: [B, D]}, "fused": [B, D] (where something reads it),
        "heads": {head: predictions}, "present": {head: [B]}}; the inference network also gives "readings", what each
        forced head reads, so that its logits can be checked, and the training network "drawn", texts that forced heads
        draw for the objectives that need them.

    Raises:
        MmstreamError: a part does not fit the field that it reads or predicts, or an objective needs a tensor that is
            not there.
    """
    model = config.model
    keras.config.set_dtype_policy(config.training.precision)
    inputs = {name: _inputs("fields", name, specs[name]) for name in sorted(model.encoders)}
    encoders: dict[str, Any] = {}
    readings: dict[str, dict[str, Any]] = {}
    for name, part in sorted(model.encoders.items()):
        with _fitting(f"model.encoders.{name}", f"{part.use!r} cannot read the field", name, specs[name]):
            sizes = plugins.find("encoder", part.use).sizes(specs[name], fitted[name])  # type: ignore[attr-defined]
            encoders[name] = components.build(
                "encoder", part.use, part.parameters, width=model.width, name=f"encoders_{name}", **sizes
            )
            encoded = encoders[name]({key: value for key, value in inputs[name].items() if key != "present"})
        readings[name] = {**encoded, "present": inputs[name]["present"]}
    space = _SharedSpace(readings, model.width)
    for name, reading in readings.items():
        vector = space.place(name, reading)
        reading["vector"] = ZeroAbsent(name=f"embedding_{name}")(vector, reading["present"])
    embeddings = {name: reading["vector"] for name, reading in readings.items()}

    objectives = {
        name: components.build("objective", part.use, part.parameters, name=f"objectives_{name}")
        for name, part in model.objectives.items()
    }
    generator = None
    if model.impute:
        generator = getattr(objectives[model.impute], "generator", None)
        if generator is None:
            use = model.objectives[model.impute].use
            raise MmstreamError(f"model.impute: the objective {use!r} makes no embeddings of what is absent")
        generator.build(dict.fromkeys(generator.fields, (None, model.width)))
    needed = {tensor for objective in objectives.values() for tensor in objective.needs()}
    joined: dict[tuple[str, ...], dict[str, Any]] = {}
    wanted = {config.reads(head) for head in model.heads.values() if needs_fusion(head)}
    if FUSED in needed:
        wanted.add(tuple(sorted(model.encoders)))
    for names in sorted(wanted):
        joined[names] = _fuse(config, {name: readings[name] for name in names}, readings, generator)

    heads: dict[str, Any] = {}
    targets: dict[str, Any] = {}
    predictions: dict[str, Any] = {}
    generated: dict[str, Any] = {}
    forced: dict[str, Any] = {}
    drawn: dict[str, Any] = {}
    present: dict[str, Any] = {}
    for name, head_part in sorted(model.heads.items()):
        target, does_not = head_part.target, f"{head_part.use!r} cannot predict the field"
        with _fitting(f"model.heads.{name}", does_not, target, specs[target]):
            sizes = plugins.find("head", head_part.use).sizes(specs[target], fitted[target])  # type: ignore[attr-defined]
            head = components.build("head", head_part.use, head_part.parameters, name=f"heads_{name}", **sizes)
        reading = joined[config.reads(head_part)] if needs_fusion(head_part) else readings[config.reads(head_part)[0]]
        if head.forced and target not in targets:
            targets[target] = _inputs("targets", target, specs[target])
        with _fitting(f"model.heads.{name}", does_not, target, specs[target]):
            if head.forced:
                predictions[name] = head(reading, targets[target])
                if head_part.match is None:
                    generated[name] = Generation(head)(reading)
                else:
                    texts = _candidates(name, head_part, head, specs[target])(reading)
                    places = space.place(target, encoders[target]({"ids": texts["ids"]}))
                    chosen = Nearest(head_part.candidates, name=f"nearest_{name}")
                    generated[name] = chosen(texts, places, embeddings[head_part.match])
                forced[name] = {key: reading[key] for key in ("tokens", "mask", "vector", "present")}
                if f"drawn.{name}" in needed and hasattr(head, "draw"):
                    drawn[name] = Drawing(head, config.training.seed, name=f"drawing_{name}")(reading)
            else:
                predictions[name] = generated[name] = head(reading)
        present[name] = reading["present"]
        heads[name] = head

    everything = tuple(sorted(model.encoders))
    outputs: dict[str, Any] = {"embeddings": embeddings, "heads": predictions, "present": present}
    if everything in joined:
        outputs["fused"] = joined[everything]["vector"]
    training = keras.Model({"fields": inputs, "targets": targets}, {**outputs, "drawn": drawn}, name="training")
    inference = keras.Model(inputs, {**outputs, "heads": generated, "readings": forced}, name="inference")
    _build_objectives(objectives, _shapes(config, specs, {**outputs, "drawn": drawn}))
    return Composition(training, inference, heads, objectives)


def prune(network: keras.Model, heads: Collection[str], fields: Collection[str], *, embeddings: bool) -> keras.Model:
    """The part of an inference network that some heads need, on the same layers.

    Args:
        network: {field: {tensor}} → named outputs.
        heads: that are wanted.
        fields: that they read; others are no longer inputs.
        embeddings: whether the embeddings, and the fused vector, are wanted too.
    """
    inputs = {name: tensors for name, tensors in network.input.items() if name in fields}
    outputs = {key: {h: network.output[key][h] for h in sorted(heads)} for key in ("heads", "present")}
    for key in ("embeddings", FUSED) if embeddings else ():
        if key in network.output:
            outputs[key] = network.output[key]
    return keras.Model(inputs, outputs, name="pruned")


def head_of(network: keras.Model, name: str) -> Any:
    """The layer of a head in an inference network."""
    layer = network.get_layer(f"heads_{name}")
    return layer.head if isinstance(layer, Generation) else layer


def forced_readings(network: keras.Model, heads: Collection[str], fields: Collection[str]) -> keras.Model | None:
    """What the forced ones among some heads read, by head; None where there are none."""
    inputs = {name: tensors for name, tensors in network.input.items() if name in fields}
    readings = {name: reading for name, reading in network.output["readings"].items() if name in heads}
    return keras.Model(inputs, readings, name="readings") if readings else None


@contextlib.contextmanager
def _fitting(path: str, what: str, field: str, spec: Spec) -> Iterator[None]:
    """Whatever a part raises while it is built comes out as an error that names the part and the field.

    Raises:
        MmstreamError: something was raised.
    """
    try:
        yield
    except MmstreamError:
        raise
    except Exception as error:
        tensors = ", ".join(f"{key} {kind}{list(shape)}" for key, (shape, kind) in spec.items() if key != "present")
        reason = plugins.summary(error, name=not isinstance(error, TypeError | ValueError))
        raise MmstreamError(f"{path}: {what} {field!r} ({tensors}): {reason}") from error


def _inputs(kind: str, field: str, spec: Spec) -> dict[str, Any]:
    return {
        tensor: keras.Input(shape, dtype=dtype, name=f"{kind}-{field}-{tensor}")
        for tensor, (shape, dtype) in sorted(spec.items())
    }


class _SharedSpace:
    """Each field's place in the shared space, f_shared(f_field(mean of its tokens)), both affine.

    Source: the joint embedding of Wang et al., "Learning two-branch neural networks" (2017), in its affine form.

    Args:
        fields: that have a place in it.
        width: D.
    """

    def __init__(self, fields: Collection[str], width: int) -> None:
        self._shared = keras.layers.Dense(width, name="shared_map")
        self._of_field = {name: PoolTokens(width, name=f"field_map_{name}") for name in sorted(fields)}

    def place(self, field: str, encoded: Mapping[str, Any]) -> Any:
        """{"tokens", "mask"} → float[B, D]."""
        return self._shared(self._of_field[field](encoded["tokens"], encoded["mask"]))


def _candidates(name: str, part: HeadConfig, head: Any, spec: Spec) -> Candidates:
    """What writes the texts of which the nearest is taken.

    Raises:
        MmstreamError: the head writes one text only, or its target is more than a text.
    """
    if not hasattr(head, "candidates") or set(spec) != {"ids", "present"}:
        raise MmstreamError(f"model.heads.{name}.match: {part.use!r} writes no texts that can be compared")
    return Candidates(head, part.candidates)


def _fuse(
    config: Config, readings: Mapping[str, Mapping[str, Any]], known: Collection[str], generator: Any
) -> dict[str, Any]:
    """Several fields as one reading: {"tokens", "mask", "vector", "present"}.

    Args:
        config: its fusion, and by how much fields are hidden from it in training.
        readings: of these fields.
        known: all that are encoded.
        generator: makes embeddings of absent fields; None to leave them out.
    """
    assert config.model.fusion is not None
    suffix = "" if len(readings) == len(known) else "_" + "_".join(sorted(readings))
    present = {name: reading["present"] for name, reading in readings.items()}
    if config.training.modality_dropout and len(readings) > 1:
        dropout = ModalityDropout(
            config.training.modality_dropout, config.training.seed, name=f"modality_dropout{suffix}"
        )
        present = dropout(present)
    seen = {name: {**reading, "present": present[name]} for name, reading in readings.items()}
    if generator is not None and set(generator.fields) & set(seen):
        seen = FillIn(name=f"filled_in{suffix}")(seen, _made(generator, seen))
    part = config.model.fusion
    fusion = components.build("fusion", part.use, part.parameters, width=config.model.width, name=f"fusion{suffix}")
    tokens = {name: {key: r[key] for key in ("tokens", "mask", "present")} for name, r in seen.items()}
    return {**JoinReadings(name=f"joined{suffix}")(tokens), "vector": fusion(seen)}


def _shapes(config: Config, specs: Mapping[str, Spec], outputs: Mapping[str, Any]) -> dict[str, tuple[int | None, ...]]:
    """The shapes, B being None, of all tensors that an objective may need, by name."""
    fields, targets = outputs["embeddings"], {head.target for head in config.model.heads.values()}
    found: dict[str, tuple[int | None, ...]] = {
        f"{kind}.{name}.{tensor}": (None, *spec.shape)
        for kind, names in (("fields", fields), ("targets", targets))
        for name in names
        for tensor, spec in specs[name].items()
    }
    found |= {f"embeddings.{name}": tensor.shape for name, tensor in fields.items()}
    found |= {f"present.{name}": (None,) for name in fields}
    found |= {
        f"heads.{n}.{tensor}": value.shape for n, each in outputs["heads"].items() for tensor, value in each.items()
    }
    found |= {f"drawn.{name}": tensor.shape for name, tensor in outputs["drawn"].items()}
    return found | ({FUSED: outputs[FUSED].shape} if FUSED in outputs else {})


def _made(generator: Any, readings: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """{field: float[B, D]}: what a generator makes of those fields that are read; others count as absent."""
    some = next(iter(readings.values()))
    nothing = {key: ops.zeros_like(some[key]) for key in ("vector", "present")}
    seen = {name: readings.get(name, nothing) for name in generator.fields}
    made = generator({n: r["vector"] for n, r in seen.items()}, {n: r["present"] for n, r in seen.items()})
    return {name: vector for name, vector in made.items() if name in readings}


def _build_objectives(objectives: Mapping[str, Any], shapes: Mapping[str, tuple[int | None, ...]]) -> None:
    for name, objective in objectives.items():
        for tensor in objective.needs():
            if tensor not in shapes:
                raise MmstreamError(
                    f"model.objectives.{name} needs the tensor {tensor!r}, which is not there. "
                    f"{choices(tensor, shapes)}"
                )
        objective.build({tensor: shapes[tensor] for tensor in objective.needs()})
