"""`mmstream export`: a model as a TensorFlow SavedModel that takes raw values, for example for TensorFlow Serving."""

from __future__ import annotations

import functools
import math
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mmstream.errors import MmstreamError, describe
from mmstream.preprocessing import golden
from mmstream.preprocessing.preprocessor import PRESENT
from mmstream.records.media import Media
from mmstream.records.record import Record
from mmstream.storage import files
from mmstream.storage.json_files import write_json
from mmstream.trained_model.artefact import TrainedModel
from mmstream.trained_model.compiled_step import in_float32

_HOLDS = {
    "media": "the bytes of a file, empty where there is none",
    "string": "texts, empty where there is none",
    "float32": "numbers, NaN where there is none",
}
_OF_A_FIELD = "a tensor of the field, made by mmstream.preprocessing.preprocessor"


def export(model: TrainedModel, directory: str) -> dict[str, Any]:
    """Write a SavedModel that gives a model's labels, once it has labelled the golden records as the model does.

    Its signature `serving_default` takes named tensors of B records and gives named tensors of B rows:

    - in: `<field>`, the field's raw values, if the field can be served; otherwise `<field>_<tensor>`, its tensors.
    - out: for each head `<head>` and `<head>_score`, as label rows have them, its predictions as `<head>_<tensor>`, and
      `<head>_present`, 0 if the head had nothing to read, so that its outputs mean nothing; with embeddings, also
      `embedding_<field>` and `embedding`.

    Args:
        model: the model to export; if it was opened with `embeddings`, they are exported, too.
        directory: for the SavedModel; must not exist yet.

    Returns:
        the contents of `mmstream.json` beside the SavedModel: {"inputs", "outputs", "fingerprint", "golden"}.

    Raises:
        MmstreamError: the directory exists, or the model or the graph does not reproduce the golden records.
    """
    import tensorflow as tf

    if files.exists(directory):
        raise MmstreamError(f"{directory} already exists; name another with --to")
    model.prepare()  # a network that does not reproduce the golden records is not exported
    inputs = _inputs(model)
    module = tf.Module()
    module.network = model.pruned
    module.transform = model.preprocessor.graph.loaded if _needs_transform(model) else None
    network = module.network
    decoders = {
        name: functools.partial(head.serve, fitted=model.fitted(name), calibration=model.calibration[name])
        for name, head in ((name, model.head(name)) for name in model.heads)
        if hasattr(head, "serve")
    }

    signature = {name: tf.TensorSpec((None, *each.shape), each.dtype, name) for name, each in inputs.items()}

    @tf.function(input_signature=[signature])
    def serve(values: Any) -> dict[str, Any]:
        tensors = _tensors(model, values)
        outputs = in_float32(network(tensors, training=False))
        named = _named_predictions(outputs)
        for name, decode in decoders.items():
            named[name], named[f"{name}_score"] = decode(outputs["heads"][name])
        return {name: tf.identity(value) for name, value in named.items()}

    with tempfile.TemporaryDirectory(prefix="mmstream-") as scratch:
        tf.saved_model.save(module, scratch, signatures=serve.get_concrete_function())
        model.check_again()  # its vocabularies were copied from the model's folder just now
        served = tf.saved_model.load(scratch).signatures["serving_default"]
        about = {
            "inputs": {
                name: {"dtype": each.dtype, "shape": ["B", *each.shape], "holds": each.holds}
                for name, each in inputs.items()
            },
            "outputs": {
                name: {"dtype": spec.dtype.name, "shape": ["B", *spec.shape.as_list()[1:]]}
                for name, spec in sorted(served.structured_outputs.items())
            },
            "fingerprint": model.fingerprint,
            "golden": _prove(model, served),
        }
        for folder, _, names in os.walk(scratch):
            for name in names:
                path = Path(folder, name)
                files.write_bytes(files.join(directory, *path.relative_to(scratch).parts), path.read_bytes())
    write_json(files.join(directory, "mmstream.json"), about)
    return about


class _Input(NamedTuple):
    """An input of the graph: one tensor of a field, or its raw values if `tensor` is ""."""

    field: str
    tensor: str
    shape: tuple[int, ...]
    dtype: str
    holds: str


def _inputs(model: TrainedModel) -> dict[str, _Input]:
    """The inputs of the graph, by name."""
    inputs: dict[str, _Input] = {}
    for name, field in model.preprocessor.fields.items():
        if field.served:
            columns = model.config.fields[name].columns
            holds = _HOLDS["media" if field.media else field.served]
            inputs[name] = _Input(name, "", (len(columns),) if columns else (), field.served, holds)
        else:
            for tensor, (shape, dtype) in model.preprocessor.specs[name].items():
                inputs[f"{name}_{tensor}"] = _Input(name, tensor, shape, dtype, _OF_A_FIELD)
    return inputs


def _needs_transform(model: TrainedModel) -> bool:
    return any(field.served and not field.media for field in model.preprocessor.fields.values())


def _tensors(model: TrainedModel, values: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Compute what `Preprocessor.tensors` does, but from raw values; TensorFlow code."""
    import tensorflow as tf

    preprocessor = model.preprocessor
    batch = tf.shape(next(iter(values.values())))[0]
    tensors: dict[str, dict[str, Any]] = {}
    raw: dict[str, Any] = {}
    for name, field in preprocessor.fields.items():
        specs = preprocessor.specs[name]
        if not field.served:
            tensors[name] = {tensor: values[f"{name}_{tensor}"] for tensor in specs}
        elif field.media:
            exists = values[name] != ""
            served = field.serve(tf.boolean_mask(values[name], exists))
            tensors[name] = {
                tensor: tf.scatter_nd(tf.where(exists), served[tensor], (batch, *spec.shape))
                for tensor, spec in specs.items()
                if tensor != PRESENT
            }
            tensors[name][PRESENT] = tf.cast(exists, tf.float32)
        else:
            columns = field.serve(values[name])
            raw |= {f"{name}/{column}": value.to_sparse() for column, value in columns.items()}
            counts = tf.stack([value.row_lengths() for value in columns.values()])
            tensors[name] = {PRESENT: tf.cast(tf.reduce_any(counts > 0, axis=0), tf.float32)}
    if raw:
        nothing = {
            column: tf.SparseTensor(
                tf.zeros((0, 2), tf.int64), tf.zeros(0, dtype), (tf.cast(batch, tf.int64), tf.constant(0, tf.int64))
            )
            for column, dtype in preprocessor.raw_columns().items()
        }
        transformed = preprocessor.graph({**nothing, **raw})
        for name in {column.split("/")[0] for column in raw}:
            for tensor, spec in preprocessor.specs[name].items():
                if tensor != PRESENT:
                    value = tf.cast(transformed[f"{name}/{tensor}"], spec.dtype)
                    tensors[name][tensor] = tf.reshape(value, (-1, *spec.shape))
    return tensors


def _named_predictions(outputs: Mapping[str, Any]) -> dict[str, Any]:
    """The outputs of the network, flattened, under the names of label rows."""
    named = {f"{head}_{PRESENT}": present for head, present in outputs[PRESENT].items()}
    for head, predictions in outputs["heads"].items():
        named |= {f"{head}_{tensor}": value for tensor, value in predictions.items()}
    named |= {f"embedding_{field}": vectors for field, vectors in outputs.get("embeddings", {}).items()}
    return named | ({"embedding": outputs["fused"]} if "fused" in outputs else {})


def _prove(model: TrainedModel, served: Callable[..., Mapping[str, Any]]) -> dict[str, Any]:
    """Label the golden records with the model and with the graph.

    Returns:
        {"equal": how many get equal labels, "refused": {id: why the graph refuses it}}.

    Raises:
        MmstreamError: the labels of one differ, or all are refused.
    """
    import tensorflow as tf

    media = golden.golden_media(model.path)
    refused: dict[str, str] = {}
    wrong: list[str] = []
    records = model.golden_records()
    for record in records:
        try:
            values = _values(model, record, media)
            outputs = {name: value.numpy() for name, value in served(**values).items()}
        except (_NotRawError, tf.errors.InvalidArgumentError) as error:
            refused[record.id] = describe(error).splitlines()[0]
        else:
            wrong += [f"  {record.id}: {line}" for line in _differences(model, record, media, outputs)]
    if wrong:
        raise MmstreamError("the exported graph and the model label golden records differently:\n" + "\n".join(wrong))
    if records and len(refused) == len(records):
        reasons = "\n".join(f"  {reason}" for reason in sorted(set(refused.values())))
        raise MmstreamError(f"a graph cannot read the raw values of any golden record:\n{reasons}")
    return {"equal": len(records) - len(refused), "refused": refused}


class _NotRawError(ValueError):
    """A value of a row that the graph's input cannot hold."""


def _values(model: TrainedModel, record: Record, media: Media) -> dict[str, Any]:
    """A record as inputs of the graph, padded to a batch of the model's size with absent records."""
    import tensorflow as tf

    preprocessor, size = model.preprocessor, model.batch
    loaded = preprocessor.load(record, media)
    tensors = preprocessor.tensors([preprocessor.decode(loaded.values)], size)
    inputs = {}
    for name, (field, tensor, shape, dtype, _) in _inputs(model).items():
        if tensor:
            inputs[name] = tf.constant(tensors[field][tensor])
            continue
        value = loaded.values[field]
        row = [_raw(item, dtype) for item in (value if shape and value is not None else [value] * math.prod(shape))]
        rows = [row] + [[_raw(None, dtype)] * len(row)] * (size - 1)
        inputs[name] = tf.reshape(tf.constant(rows, dtype), (size, *shape))
    return inputs


def _raw(value: Any, dtype: str) -> Any:
    """Convert a value of a row to what an input of the graph can hold.

    Raises:
        _NotRawError: it cannot be converted.
    """
    if dtype == "float32":
        try:
            return math.nan if value is None else float(value)
        except (TypeError, ValueError) as error:
            raise _NotRawError(f"{value!r:.80} is not a number") from error
    if value is None or isinstance(value, str | bytes):
        return value or ""
    if isinstance(value, int | float):
        return str(value).lower().removesuffix(".0")
    raise _NotRawError(f"{value!r:.80} is not text")


def _differences(model: TrainedModel, record: Record, media: Media, served: Mapping[str, np.ndarray]) -> Iterator[str]:
    """Where the outputs that the graph served for one record differ from those of the model."""
    preprocessor = model.preprocessor
    decoded = preprocessor.decode(preprocessor.load(record, media).values)
    outputs = model.predict(preprocessor.tensors([decoded], model.batch))
    (row,) = model.rows(outputs, 1)
    expected = {name: value[:1] for name, value in _named_predictions(outputs).items()}
    for each in golden.compare(expected, {name: value[:1] for name, value in served.items()}):
        if not each.within:
            yield f"{each.name} differs by {each.largest:.3g} (allowed: {each.allowed:.3g})"
    for name in model.heads:
        if row[name] is None or name not in served:
            continue
        label, score = (_as_in_rows(served[column][0], row[column]) for column in (name, f"{name}_score"))
        if not (_equal(label, row[name]) and _equal(score, row[f"{name}_score"])):
            yield f"{name} is {label!r} ({score}); expected {row[name]!r} ({row[f'{name}_score']})"


def _as_in_rows(value: Any, like: Any) -> Any:
    """Convert an output for one record to what a label row holds: a text, a number, or a list without padding."""
    if isinstance(value, np.ndarray):
        return [_as_in_rows(item, None) for item in value[: len(like)]]
    return value.decode() if isinstance(value, bytes) else float(value)


def _equal(one: Any, other: Any) -> bool:
    if isinstance(other, list):
        return len(one) == len(other) and all(map(_equal, one, other))
    return one == other if isinstance(other, str) else bool(np.isclose(one, other, rtol=golden.RELATIVE_TOLERANCE))
