"""Evaluation: what a model's heads and its shared space are worth on a split of the examples."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np

from mmstream import components, examples, files, parts
from mmstream.errors import MmstreamError
from mmstream.records import SPLITS
from mmstream.trained_model import TrainedModel

_RANKS = (1, 5, 10)


def evaluate(model: TrainedModel, examples_path: str, split: str) -> dict[str, Any]:
    """Metrics of a model on a split, as they stand in metrics.json.

    Args:
        model: opened with embeddings.
        examples_path: output of `mmstream preprocess`, made with the model's own preprocessing.
        split: "train", "validation" or "test".

    Raises:
        MmstreamError: the examples were made by other preprocessing, or the split is empty.
    """
    check_examples(model, examples_path)
    outputs, targets = predict_split(model, examples_path, split)
    count = len(targets["_id"])
    if not count:
        raise MmstreamError(f"the split {split!r} of {examples_path} is empty")
    heads = {}
    for name, head in model.heads.items():
        target = dict(targets[head["target"]])
        target["present"] = target["present"] * (outputs["present"][name] > 0)
        metrics = model.head(name).evaluate(outputs["heads"][name], target, model.fitted(name), model.calibration[name])
        heads[name] = {**{key: float(value) for key, value in metrics.items()}, "reads": head["reads"]}
    return {"split": split, "records": count, "heads": heads, "retrieval": _retrievals(model, outputs, targets)}


def write_metrics(model: TrainedModel, metrics: Mapping[str, Any]) -> str:
    """Write MODEL/evaluation/<split>/metrics.json; returns its path."""
    path = files.join(model.path, "evaluation", metrics["split"], "metrics.json")
    parts.write_json(path, metrics)
    return path


def check_examples(model: TrainedModel, examples_path: str) -> None:
    """The examples hold tensors as this model's preprocessing makes them.

    Raises:
        MmstreamError: they do not.
    """
    ours = files.join(model.path, "transform", "fingerprint")
    theirs = files.join(examples_path, "transform", "fingerprint")
    if not files.exists(theirs):
        raise MmstreamError(f"{examples_path} is not an output of `mmstream preprocess`")
    if files.read_bytes(ours) != files.read_bytes(theirs):
        raise MmstreamError(
            f"the examples in {examples_path} were made by other preprocessing than the model's; its vocabularies "
            "would not fit. Evaluate on the examples that it was trained from"
        )


def predict_split(model: TrainedModel, examples_path: str, split: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """A model's outputs on a split, and what was to be predicted.

    Returns:
        named outputs as numpy [N, …]; and {field: {tensor: [N, …], "text": N texts where the field is one}} with
        "_id": N ids.
    """
    import tensorflow as tf

    preprocessor = model.all_fields
    specs = preprocessor.specs
    if split not in SPLITS:
        raise MmstreamError(f"there is no split {split!r}; there is {', '.join(SPLITS)}")
    serialised = examples.read_examples(examples.shards_of(examples_path, split)).batch(model.batch)
    names = ["_id", *(f"_text/{field}" for field in specs)]
    outputs: list[Any] = []
    targets: list[Any] = []
    for batch in serialised:
        tensors = tf.nest.map_structure(lambda t: t.numpy(), examples.parse(batch, specs))
        count = int(batch.shape[0])
        padded = {
            name: {k: _pad(v, model.batch) for k, v in tensors[name].items()} for name in model.preprocessor.fields
        }
        outputs.append(tf.nest.map_structure(lambda value, n=count: value[:n], model.predict(padded)))
        texts = {key: value.numpy() for key, value in examples.parse_texts(batch, names).items()}
        targets.append({**tensors, "_texts": texts})
    if not targets:
        return _empty(model, specs)
    joined = tf.nest.map_structure(lambda *values: np.concatenate(values), *targets)
    texts = joined.pop("_texts")
    joined["_id"] = np.array([value.decode() for value in texts["_id"]])
    for field in specs:
        values = texts[f"_text/{field}"]
        if any(values):
            joined[field]["text"] = [value.decode() for value in values]
    return tf.nest.map_structure(lambda *values: np.concatenate(values), *outputs), joined


def retrieval(
    queries: np.ndarray, candidates: np.ndarray, query_keys: list[str], candidate_keys: list[str]
) -> dict[str, float]:
    """Recall at 1, 5 and 10: how often a query's own item stands among the nearest candidates by cosine.

    A wrong candidate that is just as near stands before it, so that equal embeddings are worth nothing.

    Args:
        queries: float[N, D].
        candidates: float[M, D].
        query_keys: what each query stands for; every candidate with an equal key is right.
        candidate_keys: of the candidates.

    Returns:
        {"r@1", "r@5", "r@10", "candidates"}.
    """
    similarity = _unit(queries) @ _unit(candidates).T
    right = np.array(query_keys)[:, None] == np.array(candidate_keys)[None, :]
    best = np.where(right, similarity, -np.inf).max(1)
    rank = (np.where(right, -np.inf, similarity) >= best[:, None]).sum(1)
    found = np.isfinite(best)  # false where no candidate is right, or the network gave no number
    return {**{f"r@{k}": float((found & (rank < k)).mean()) for k in _RANKS}, "candidates": len(candidate_keys)}


def _retrievals(model: TrainedModel, outputs: Mapping[str, Any], targets: Mapping[str, Any]) -> dict[str, Any]:
    """Retrieval both ways between fields that an objective aligns; equal texts are one candidate."""
    found = {}
    for one, other in _aligned(model):
        for a, b in ((one, other), (other, one)):
            both = (targets[a]["present"] > 0) & (targets[b]["present"] > 0)
            texts = next((targets[f]["text"] for f in (b, a) if "text" in targets[f]), targets["_id"])
            keys = [str(text) for text, there in zip(texts, both, strict=True) if there]
            if not keys:
                continue
            queries, candidates = outputs["embeddings"][a][both], outputs["embeddings"][b][both]
            chosen = list({key: n for n, key in reversed(list(enumerate(keys)))}.values())
            chosen = sorted(chosen) if "text" in targets[b] else list(range(len(keys)))
            found[f"{a}->{b}"] = retrieval(queries, candidates[chosen], keys, [keys[n] for n in chosen])
    return found


def _aligned(model: TrainedModel) -> list[tuple[str, str]]:
    """Pairs of fields whose embeddings an objective reads together."""
    pairs = set()
    for part in model.config.model.objectives.values():
        needs = components.build("objective", part.use, part.parameters).needs()
        fields = sorted({name.split(".")[1] for name in needs if name.startswith("embeddings.")})
        pairs |= set(itertools.combinations(fields, 2))
    return sorted(pairs)


def _empty(model: TrainedModel, specs: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Outputs and targets of no records."""
    zeros = {
        name: {key: np.zeros((model.batch, *shape), dtype) for key, (shape, dtype) in specs[name].items()}
        for name in model.preprocessor.fields
    }
    import tensorflow as tf

    outputs = tf.nest.map_structure(lambda value: value[:0], model.predict(zeros))
    targets = {
        name: {key: np.zeros((0, *shape), dtype) for key, (shape, dtype) in spec.items()}
        for name, spec in specs.items()
    }
    return outputs, {**targets, "_id": np.array([], str)}


def _pad(array: np.ndarray, size: int) -> np.ndarray:
    return np.concatenate([array, np.zeros((size - len(array), *array.shape[1:]), array.dtype)])


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
