"""Baselines without a network: logistic regression on colour histograms and TF-IDF, the most frequent value, chance."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import sacrebleu
from scipy import sparse
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, average_precision_score
from sklearn.multiclass import OneVsRestClassifier

from mmstream.config.schema import Config
from mmstream.interfaces import PADDING, RESERVED_IDS
from mmstream.preprocessing import examples
from mmstream.preprocessing.preprocessor import Preprocessor

BINS = 8
"""Bins of each colour channel: a histogram has BINS³ shares."""
_BATCH = 256


@dataclasses.dataclass(frozen=True)
class Split:
    """All records of a split.

    Attributes:
        tensors: {field: {tensor: [N, …]}}.
        texts: {field: N texts}.
    """

    tensors: Mapping[str, Mapping[str, np.ndarray]]
    texts: Mapping[str, list[str]]


def baselines(config: Config, output: Path) -> dict[str, dict[str, Any]]:
    """{"<head>.<metric>" or "retrieval.<way>.r@10": {"value", "by"}} on the test split, of the better baseline.

    Args:
        config: whose heads are compared.
        output: of `mmstream preprocess`.
    """
    preprocessor = Preprocessor(config.fields, str(output / "transform"))
    train, test = (_read(output, name, preprocessor) for name in ("train", "test"))
    best = {}
    for name, head in config.model.heads.items():
        target, (seen, new, by) = train.tensors[head.target], _features(config.reads(head), train, test)
        if "id" in target:
            labelled = target["id"] >= RESERVED_IDS
            measured = test.tensors[head.target]["id"] != PADDING  # what training has not seen is a miss
            right = test.tensors[head.target]["id"][measured]
            values = target["id"][labelled]
            model = LogisticRegression(max_iter=1000).fit(seen[labelled], values)
            most = Counter(values.tolist()).most_common(1)[0][0]
            predictions = {by: model.predict(new[measured]), "most frequent": np.full(len(right), most)}
            scores = {key: accuracy_score(right, each) for key, each in predictions.items()}
            best[f"{name}.accuracy"] = _best(scores)
        elif "hot" in target:
            labelled, measured = (split.tensors[head.target]["present"] > 0 for split in (train, test))
            right = test.tensors[head.target]["hot"][measured]
            occurs = right.any(0)
            model = OneVsRestClassifier(LogisticRegression(max_iter=1000)).fit(seen[labelled], target["hot"][labelled])
            predictions = {by: model.predict_proba(new[measured]), "as frequent as it is": np.full(right.shape, 0.5)}
            scores = {
                key: average_precision_score(right[:, occurs], each[:, occurs]) for key, each in predictions.items()
            }
            best[f"{name}.map"] = _best(scores)
        elif "ids" in target:
            nearest = _nearest(train, test, head.target, seen, new)
            by = f"nearest by {by.removeprefix('logistic regression on ')}"
            best |= {f"{name}.{metric}": {"value": value, "by": by} for metric, value in nearest.items()}
    if config.model.objectives:
        for way in ("image->text", "text->image"):
            candidates = len(set(test.texts["text"]) if way.endswith("text") else test.texts["text"])
            best[f"retrieval.{way}.r@10"] = {"value": min(10 / candidates, 1.0), "by": "chance"}
    return best


def _nearest(train: Split, test: Split, target: str, seen: Any, new: Any) -> dict[str, float]:
    """The metrics of a baseline that gives each test record the text of its nearest training record."""
    similarity = new @ seen.T
    places = np.asarray(similarity.todense() if sparse.issparse(similarity) else similarity).argmax(1)
    written = [train.texts[target][place] for place in places]
    expected = test.texts[target]
    exact = np.mean([one == other for one, other in zip(written, expected, strict=True)])
    return {"chrf": sacrebleu.CHRF().corpus_score(written, [expected]).score / 100, "exact": float(exact)}


def _features(fields: tuple[str, ...], train: Split, test: Split) -> tuple[Any, Any, str]:
    """The features of both splits, float[N, F] with rows of length 1, and what they are."""
    features, names = [], []
    for field in fields:
        for tensor in train.tensors[field].values():
            if tensor.dtype == np.uint8 and tensor.ndim == 4:
                features.append([sparse.csr_matrix(_histograms(split.tensors[field])) for split in (train, test)])
                names.append("colour histogram")
        if any(train.texts[field]):
            vectors = TfidfVectorizer(analyzer="char_wb", ngram_range=(1, 3), min_df=2).fit(train.texts[field])
            features.append([vectors.transform(split.texts[field]) for split in (train, test)])
            names.append("TF-IDF")
    seen, new = (sparse.hstack(parts).tocsr() for parts in zip(*features, strict=True))
    return seen, new, f"logistic regression on {' and '.join(dict.fromkeys(names))}"


def _histograms(tensors: Mapping[str, np.ndarray]) -> np.ndarray:
    """float[N, BINS³]: the square root of each colour's share of a picture, so that rows have length 1."""
    (pixels,) = (tensor for tensor in tensors.values() if tensor.ndim == 4)
    bins = (pixels.reshape(len(pixels), -1, pixels.shape[-1]).astype(int) * BINS) >> 8
    places = sum(bins[:, :, channel] * BINS**channel for channel in range(pixels.shape[-1]))
    counts = np.stack([np.bincount(row, minlength=BINS ** pixels.shape[-1]) for row in places])
    return np.sqrt(counts / counts.sum(1, keepdims=True))


def _read(output: Path, split: str, preprocessor: Preprocessor) -> Split:
    specs, shards = preprocessor.specs, examples.shards_of(str(output), split)
    batches = [
        {field: {key: value.numpy() for key, value in each.items()} for field, each in batch.items()}
        for batch in examples.batches(shards, specs, _BATCH)
    ]
    tensors = {
        field: {key: np.concatenate([batch[field][key] for batch in batches]) for key in specs[field]}
        for field in specs
    }
    texts: dict[str, list[str]] = {field: [] for field in specs}
    for serialised in examples.read_examples(shards).batch(_BATCH):
        for field, some in zip(specs, examples.told(serialised, [f"_text/{name}" for name in specs]), strict=True):
            texts[field] += some
    return Split(tensors, texts)


def _best(scores: Mapping[str, float]) -> dict[str, Any]:
    by = max(scores, key=lambda key: scores[key])
    return {"value": float(scores[by]), "by": by}
