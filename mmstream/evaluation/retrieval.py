"""Retrieval in the shared space: how often a record's own value of another field is among the nearest."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from mmstream.config.checks import aligned
from mmstream.evaluation.predictions import Predictions
from mmstream.preprocessing.padding import absent
from mmstream.preprocessing.preprocessor import PRESENT
from mmstream.trained_model.artefact import TrainedModel

RANKS = (1, 5, 10)
"""Among how many of the nearest candidates a right one counts as a hit."""


class Way(NamedTuple):
    """The direction of a retrieval: a query field and a candidate field.

    Attributes:
        of: the query field.
        among: the candidate field.
    """

    of: str
    among: str

    def __str__(self) -> str:
        return f"{self.of}->{self.among}"


@dataclasses.dataclass(frozen=True)
class Search:
    """The queries and candidates of a retrieval, the same for every model.

    Attributes:
        way: query field and candidate field.
        rows: int[N], the records that have both fields: each is a query.
        keys: N texts; every candidate with the same key as the query is right.
        candidates: int[M], which of the N records are candidates; of those with equal texts, only one is.
    """

    way: Way
    rows: np.ndarray
    keys: Sequence[str]
    candidates: Sequence[int]

    @classmethod
    def of(cls, way: Way, targets: Mapping[str, Any], mask: np.ndarray) -> Search:
        """The retrieval over some records that have both fields.

        Args:
            way: query field and candidate field.
            targets: the targets of `Predictions`.
            mask: bool[N], which records take part. The key of a record is its text if one of the fields is text,
                otherwise its id.
        """
        texts = next((targets[field]["text"] for field in reversed(way) if "text" in targets[field]), targets["_id"])
        keys = [str(text) for text in texts[mask]]
        firsts = {key: place for place, key in reversed(list(enumerate(keys)))}
        candidates = sorted(firsts.values()) if "text" in targets[way.among] else range(len(keys))
        return cls(way, np.flatnonzero(mask), keys, list(candidates))

    def hits(self, embeddings: Mapping[str, np.ndarray]) -> np.ndarray:
        """bool[N, 3]: the result of the function `hits`, from a model's embeddings of all records."""
        queries, values = (embeddings[field][self.rows] for field in self.way)
        return hits(queries, values[self.candidates], self.keys, self.candidate_keys)

    @property
    def candidate_keys(self) -> list[str]:
        """The keys of the candidates."""
        return [self.keys[n] for n in self.candidates]


def ways(model: TrainedModel) -> list[Way]:
    """Both directions for each pair of fields whose embeddings an objective aligns."""
    return [way for one, other in sorted(aligned(model.config)) for way in (Way(one, other), Way(other, one))]


def have_both(way: Way, targets: Mapping[str, Any]) -> np.ndarray:
    """bool[N]: which records have both fields."""
    mask: np.ndarray = (targets[way.of]["present"] > 0) & (targets[way.among]["present"] > 0)
    return mask


def searches(predictions: Predictions) -> dict[str, Search]:
    """{query and candidate field, such as "image->text": the retrieval} for every direction with at least one query."""
    masks = {way: have_both(way, predictions.targets) for way in ways(predictions.model)}
    return {str(way): Search.of(way, predictions.targets, mask) for way, mask in masks.items() if mask.any()}


def written_first(predictions: Predictions, head: str) -> dict[str, float]:
    """{"first_for_<field>"}: the share of records whose own text is nearer to their field than all other texts are.

    The texts are those that the head wrote; the fields, those that it reads and that are aligned with the one it
    predicts. A text that was written for several records is first for none of them.

    Args:
        predictions: those of a model that was opened with embeddings.
        head: the head that wrote.
    """
    model, outputs = predictions.model, predictions.outputs
    target, ids = model.heads[head]["target"], outputs["heads"][head].get("ids")
    fields = [way.of for way in ways(model) if way.among == target and way.of in model.heads[head]["reads"]]
    if not fields or ids is None or set(model.all_fields.specs[target]) != {"ids", PRESENT}:
        return {}
    shares, embeddings = {}, _embeddings_of_texts(model, target, ids)
    for field in fields:
        mask = predictions.targets[field]["present"] > 0
        if mask.any():
            keys = [str(key) for key in predictions.ids[mask]]
            hit = hits(outputs["embeddings"][field][mask], embeddings[mask], keys, keys)
            shares[f"first_for_{field}"] = recall(hit)["r@1"]
    return shares


def _embeddings_of_texts(model: TrainedModel, field: str, ids: np.ndarray) -> np.ndarray:
    """Embed texts as values of a field: ids int[N, L] → float[N, D]."""
    chunks = []
    for start in range(0, len(ids), model.batch):
        chunk = ids[start : start + model.batch]
        tensors = absent(model.preprocessor.specs, model.batch)
        tensors[field]["ids"][: len(chunk)], tensors[field][PRESENT][: len(chunk)] = chunk, 1
        chunks.append(model.predict(tensors)["embeddings"][field][: len(chunk)])
    return np.concatenate(chunks)


def hits(
    queries: np.ndarray, candidates: np.ndarray, query_keys: Sequence[str], candidate_keys: Sequence[str]
) -> np.ndarray:
    """Whether a right candidate is among the 1, 5 and 10 nearest to each query by cosine.

    A wrong candidate that is just as near ranks before the right one, so that equal embeddings score nothing.

    Args:
        queries: float[N, D].
        candidates: float[M, D].
        query_keys: keys of the queries; every candidate with the same key as a query is right for it.
        candidate_keys: keys of the candidates.

    Returns:
        bool[N, 3].
    """
    return hits_of(_unit(queries) @ _unit(candidates).T, query_keys, candidate_keys)


def hits_of(similarity: np.ndarray, query_keys: Sequence[str], candidate_keys: Sequence[str]) -> np.ndarray:
    """The same as `hits`, from the similarity of each query to each candidate, float[N, M]."""
    numbers = {key: number for number, key in enumerate(dict.fromkeys(query_keys))}
    wanted, found = ([numbers.get(key, -1) for key in keys] for keys in (query_keys, candidate_keys))
    right = np.array(wanted)[:, None] == np.array(found)[None, :]
    best = np.where(right, similarity, -np.inf).max(1)
    rank = (np.where(right, -np.inf, similarity) >= best[:, None]).sum(1)
    exists = np.isfinite(best)  # false if no candidate is right, or the network's numbers are not finite
    return exists[:, None] & (rank[:, None] < np.array(RANKS))


def recall(hit: np.ndarray, rows: np.ndarray | slice = slice(None)) -> dict[str, float]:
    """{"r@1", "r@5", "r@10"}: the share of queries that are hits within 1, 5 and 10 candidates.

    Args:
        hit: bool[N, 3], as `hits` gives it.
        rows: which queries count; all by default. The candidates stay the same.
    """
    return {f"r@{k}": float(share) for k, share in zip(RANKS, hit[rows].mean(0), strict=True)}


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
