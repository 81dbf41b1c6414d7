"""A bare labelling loop: a manifest in, one Parquet file out; each thread decodes and predicts whole batches.

It has the model's decoder and compiled network, and nothing else of mmstream: no parts, digests, dead letters or
reconciliation.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet

from mmstream.trained_model import artefact

SCHEMA = pyarrow.schema([("id", pyarrow.string()), ("group", pyarrow.string()), ("group_score", pyarrow.float64())])


def main(argv: Sequence[str] | None = None) -> None:
    """Label a manifest."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("manifest", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--threads", type=int, required=True)
    flags = parser.parse_args(argv)

    model = artefact.load(flags.model)
    model.prepare()
    image, size = model.preprocessor.fields["image"], model.batch
    vocabulary = np.array(model.fitted("group").vocabulary)
    with flags.manifest.open() as file:
        rows = [(row["id"], flags.manifest.parent / row["image"]) for row in map(json.loads, file)]

    def label(start: int) -> pyarrow.RecordBatch:
        batch = rows[start : start + size]
        pixels = np.zeros((size, *model.preprocessor.specs["image"]["pixels"].shape), np.uint8)
        present = np.zeros(size, np.float32)
        for place, (_, path) in enumerate(batch):
            pixels[place] = image.decode(path.read_bytes())["pixels"]
            present[place] = 1
        outputs = model.predict({"image": {"pixels": pixels, "present": present}})
        logits = outputs["heads"]["group"]["logits"][: len(batch)].astype(np.float64)
        weights = np.exp(logits - logits.max(1, keepdims=True))
        best, scores = logits.argmax(1), weights.max(1) / weights.sum(1)
        return pyarrow.record_batch([[record for record, _ in batch], vocabulary[best], scores], schema=SCHEMA)

    flags.output.mkdir(parents=True)
    with (
        ThreadPoolExecutor(flags.threads) as pool,
        pyarrow.parquet.ParquetWriter(flags.output / "labels.parquet", SCHEMA, compression="zstd") as writer,
    ):
        for labelled in pool.map(label, range(0, len(rows), size)):
            writer.write_batch(labelled)


if __name__ == "__main__":
    main()
