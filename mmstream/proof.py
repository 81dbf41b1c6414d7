"""What a model makes of its golden records, so that it can be compared with what it made of them in training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mmstream import golden
from mmstream.media import Media
from mmstream.preprocessing import PRESENT
from mmstream.records import Record

if TYPE_CHECKING:
    from mmstream.trained_model import TrainedModel


def expected_arrays(
    model: TrainedModel,
    records: Sequence[Record],
    media: Media,
    step: Any = None,
    kept: Mapping[str, np.ndarray] | None = None,
) -> dict[str, np.ndarray]:
    """Tensors and outputs of golden records by name, as "tensors/image/pixels" and "outputs/heads/group/logits".

    Ids that a forced head generated may flip on a near tie; its logits along the ids that training kept may not, so
    those are what is compared.

    Args:
        model: whose preprocessing and network they go through.
        records: golden records.
        media: where their media lie.
        step: the compiled network, {field: {tensor [B, …]}} → named outputs; the model's own by default.
        kept: what training kept; None in training itself.
    """
    from mmstream.models.compose import forced_readings

    preprocessor, batch, step = model.preprocessor, model.batch, step or model.predict
    found: dict[str, list[np.ndarray]] = {}
    readings = forced_readings(model.network, model.heads, preprocessor.fields)
    for start in range(0, len(records), batch):
        chunk = records[start : start + batch]
        tensors = preprocessor.tensors([preprocessor.decode(preprocessor.load(r, media).values) for r in chunk], batch)
        arrays = {f"tensors/{name}": value for name, value in golden.flatten(tensors)}
        arrays |= {f"outputs/{name}": value for name, value in golden.flatten(step(tensors))}
        for name, reading in (readings(tensors) if readings else {}).items():
            ids = arrays.pop(f"outputs/heads/{name}/ids")
            for key in ("score", "match"):
                arrays.pop(f"outputs/heads/{name}/{key}", None)
            key = f"outputs/heads/{name}/generated"
            if kept is not None:
                ids = np.zeros_like(ids)
                ids[: len(chunk)] = kept[key][start : start + len(chunk)]
            arrays[key] = ids
            forced = model.head(name)(reading, {"ids": ids, PRESENT: np.ones(batch, np.float32)})
            arrays[f"outputs/heads/{name}/logits"] = np.asarray(forced["logits"])
        for name, value in arrays.items():
            found.setdefault(name, []).append(value[: len(chunk)])
    return {name: np.concatenate(values) for name, values in found.items()}


def in_float32(outputs: Any) -> Any:
    """Outputs of a network of any precision with every float as float32; TensorFlow code."""
    import tensorflow as tf

    return tf.nest.map_structure(lambda t: tf.cast(t, tf.float32) if t.dtype.is_floating else t, outputs)
