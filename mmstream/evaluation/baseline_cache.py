"""Baselines of a model, kept beside it: an evaluation computes them once for the same examples."""

from __future__ import annotations

import dataclasses
import io
import json
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np

from mmstream.config.schema import Config
from mmstream.evaluation.simple_models import Effort, Guess
from mmstream.preprocessing import examples
from mmstream.records.record import SPLITS, digest_of
from mmstream.storage import files

_FILE = "baselines.npz"
_VERSION = 1
"""Kept baselines of another version are computed anew."""


@dataclasses.dataclass(frozen=True)
class Kept:
    """What baselines predict for a split.

    Attributes:
        heads: {head: {baseline: what it predicts}}.
        retrieval: {query and candidate field, such as "image->text": {baseline: bool[N, 3]}}, for each query whether a
            right candidate is among the 1, 5 and 10 nearest.
    """

    heads: Mapping[str, Mapping[str, Guess]]
    retrieval: Mapping[str, Mapping[str, np.ndarray]]


def key_of(config: Config, examples_path: str, split: str, effort: Effort) -> str:
    """A digest of everything on which baselines depend: the examples, what heads predict, and the effort."""
    shards = [
        [name, files.name(path), files.checksum(path)]
        for name in SPLITS
        if name in ("train", "validation", split) and files.exists(files.join(examples_path, "examples", name))
        for path in examples.shards_of(examples_path, name)
    ]
    model = config.model.model_dump(mode="json", include={"heads", "objectives"})
    return digest_of([_VERSION, effort, split, sorted(config.model.encoders), model, shards])


def load(folder: str, key: str) -> Kept | None:
    """The baselines that are kept in a folder under this key; None if there are none."""
    data = files.read_if_there(files.join(folder, _FILE))
    if data is None:
        return None
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            about = json.loads(str(arrays["about"]))
            if about["key"] != key:
                return None
            heads = {
                head: {name: Guess(labels, arrays[f"scores/{head}/{name}"]) for name, labels in each.items()}
                for head, each in about["heads"].items()
            }
            retrieval = {
                way: {name: arrays[f"hits/{way}/{name}"] for name in names} for way, names in about["retrieval"].items()
            }
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None  # damaged: they are computed again
    return Kept(heads, retrieval)


def save(folder: str, key: str, kept: Kept) -> None:
    """Keep baselines in a folder."""
    about: dict[str, Any] = {
        "key": key,
        "heads": {h: {name: list(guess.labels) for name, guess in each.items()} for h, each in kept.heads.items()},
        "retrieval": {way: list(each) for way, each in kept.retrieval.items()},
    }
    arrays = {
        f"scores/{head}/{name}": guess.scores.astype(np.float32)
        for head, each in kept.heads.items()
        for name, guess in each.items()
    }
    arrays |= {f"hits/{way}/{name}": hits for way, each in kept.retrieval.items() for name, hits in each.items()}
    out = io.BytesIO()
    np.savez_compressed(out, about=np.array(json.dumps(about)), **arrays)  # type: ignore[arg-type]
    files.write_bytes(files.join(folder, _FILE), out.getvalue())
