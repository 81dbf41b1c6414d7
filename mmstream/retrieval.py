"""Retrieval in the shared space: how often a record's own counterpart is among the nearest of another field."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from mmstream.config_checks import aligned
from mmstream.intervals import bootstrap
from mmstream.preprocessing import PRESENT, absent
from mmstream.trained_model import TrainedModel

_RANKS = (1, 5, 10)


class Way(NamedTuple):
    """From which field what is sought in which other one."""

    of: str
    among: str

    def __str__(self) -> str:
        return f"{self.of}->{self.among}"


@dataclasses.dataclass(frozen=True)
class Search:
    """What is sought among what, by whatever model.

    Attributes:
        way: from which field to which.
        rows: int[N], the records that have both fields.
        keys: N texts, what each of them stands for: every candidate with an equal key is right.
        candidates: int[M], which of the N are candidates; of equal texts one is.
    """

    way: Way
    rows: np.ndarray
    keys: Sequence[str]
    candidates: Sequence[int]

    @classmethod
    def of(cls, way: Way, targets: Mapping[str, Any], there: np.ndarray) -> Search:
        """What is sought on a way among some records, bool[N], that have both of its fields.

        A record stands for its text, where one of the fields is text, otherwise for itself.
        """
        texts = next((targets[field]["text"] for field in reversed(way) if "text" in targets[field]), targets["_id"])
        keys = [str(text) for text in texts[there]]
        firsts = {key: place for place, key in reversed(list(enumerate(keys)))}
        candidates = sorted(firsts.values()) if "text" in targets[way.among] else range(len(keys))
        return cls(way, np.flatnonzero(there), keys, list(candidates))

    def hits(self, embeddings: Mapping[str, np.ndarray]) -> np.ndarray:
        """bool[N, 3]: as the function `hits`, by a model's embeddings of all records."""
        queries, found = (embeddings[field][self.rows] for field in self.way)
        return hits(queries, found[self.candidates], self.keys, [self.keys[n] for n in self.candidates])


def ways(model: TrainedModel) -> list[Way]:
    """Both ways between the fields whose embeddings an objective reads together."""
    return [way for one, other in sorted(aligned(model.config)) for way in (Way(one, other), Way(other, one))]


def have_both(way: Way, targets: Mapping[str, Any]) -> np.ndarray:
    """bool[N]: the records that have both fields of a way, of all that `evaluation.predict_split` gives."""
    found: np.ndarray = (targets[way.of]["present"] > 0) & (targets[way.among]["present"] > 0)
    return found


def retrievals(model: TrainedModel, outputs: Mapping[str, Any], targets: Mapping[str, Any]) -> dict[str, Any]:
    """Recall with its intervals, and the number of candidates, for every way on which there is a record."""
    found = {}
    for way in ways(model):
        there = have_both(way, targets)
        if there.any():
            search = Search.of(way, targets, there)
            hit = search.hits(outputs["embeddings"])
            sure = bootstrap(partial(recall, hit), len(hit))
            found[str(way)] = {**recall(hit), "candidates": len(search.candidates), "intervals": sure}
    return found


def written_first(
    model: TrainedModel, head: str, outputs: Mapping[str, Any], targets: Mapping[str, Any]
) -> dict[str, float]:
    """{"first_for_<field>"}: of which share of records their text lies nearest to that field of theirs.

    Among all texts that the head wrote, for each field that it reads and that is aligned with the one it predicts. A
    text that several records got is first for none of them.

    Args:
        model: opened with embeddings.
        head: that wrote.
        outputs: as `evaluation.predict_split` gives them.
        targets: likewise.
    """
    target, ids = model.heads[head]["target"], outputs["heads"][head].get("ids")
    fields = [way.of for way in ways(model) if way.among == target and way.of in model.heads[head]["reads"]]
    if not fields or ids is None or set(model.all_fields.specs[target]) != {"ids", PRESENT}:
        return {}
    found, places = {}, _places_of_texts(model, target, ids)
    for field in fields:
        there = targets[field]["present"] > 0
        if there.any():
            keys = [str(key) for key in targets["_id"][there]]
            hit = hits(outputs["embeddings"][field][there], places[there], keys, keys)
            found[f"first_for_{field}"] = recall(hit)["r@1"]
    return found


def _places_of_texts(model: TrainedModel, field: str, ids: np.ndarray) -> np.ndarray:
    """Where texts lie in the shared space: int[N, L], as values of a field → float[N, D]."""
    found = []
    for start in range(0, len(ids), model.batch):
        chunk = ids[start : start + model.batch]
        tensors = absent(model.preprocessor.specs, model.batch)
        tensors[field]["ids"][: len(chunk)], tensors[field][PRESENT][: len(chunk)] = chunk, 1
        found.append(model.predict(tensors)["embeddings"][field][: len(chunk)])
    return np.concatenate(found)


def hits(
    queries: np.ndarray, candidates: np.ndarray, query_keys: Sequence[str], candidate_keys: Sequence[str]
) -> np.ndarray:
    """Whether each query's own item stands among the 1, 5 and 10 nearest candidates by cosine.

    A wrong candidate that is just as near stands before it, so that equal embeddings are worth nothing.

    Args:
        queries: float[N, D].
        candidates: float[M, D].
        query_keys: what each query stands for; every candidate with an equal key is right.
        candidate_keys: of the candidates.

    Returns:
        bool[N, 3].
    """
    similarity = _unit(queries) @ _unit(candidates).T
    right = np.array(query_keys)[:, None] == np.array(candidate_keys)[None, :]
    best = np.where(right, similarity, -np.inf).max(1)
    rank = (np.where(right, -np.inf, similarity) >= best[:, None]).sum(1)
    found = np.isfinite(best)  # false where no candidate is right, or the network gave no number
    return found[:, None] & (rank[:, None] < np.array(_RANKS))


def recall(hit: np.ndarray, rows: np.ndarray | slice = slice(None)) -> dict[str, float]:
    """{"r@1", "r@5", "r@10"} of bool[N, 3]: the share of some queries whose own item is among so many; all by default.

    The candidates stay as they are, whatever the queries.
    """
    return {f"r@{k}": float(share) for k, share in zip(_RANKS, hit[rows].mean(0), strict=True)}


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
