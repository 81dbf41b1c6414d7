"""A bare preprocessing loop: a manifest in, one shard of examples per split out; each thread takes whole batches.

It has mmstream's fields, fitted transform and serialisation, and nothing else of it: no analysis, parts, digests, dead
letters or reconciliation.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from mmstream.config.loading import load_config
from mmstream.preprocessing.examples import ExampleWriter, serialise
from mmstream.preprocessing.preprocessor import Preprocessor
from mmstream.records.record import SPLITS, split_of

BATCH = 64


def main(argv: Sequence[str] | None = None) -> None:
    """Turn a manifest into examples."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config")
    parser.add_argument("transform", help="fitted on these records before")
    parser.add_argument("manifest", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--threads", type=int, required=True)
    flags = parser.parse_args(argv)

    config = load_config(flags.config)
    preprocessor = Preprocessor(config.fields, flags.transform)
    with flags.manifest.open() as file:
        rows = [json.loads(line) for line in file]

    def examples(start: int) -> list[tuple[str, bytes]]:
        batch = rows[start : start + BATCH]
        media = [(flags.manifest.parent / row["image"]).read_bytes() for row in batch]
        decoded = [preprocessor.decode({**row, "image": data}) for row, data in zip(batch, media, strict=True)]
        tensors = preprocessor.tensors(decoded)
        data = [
            serialise(tensors, place, {"_id": row["id"], "_origin": "", "_digest": "", **preprocessor.told(values)})
            for place, (row, values) in enumerate(zip(batch, decoded, strict=True))
        ]
        splits = [split_of(row["id"], config.split.validation, config.split.test) for row in batch]
        return list(zip(splits, data, strict=True))

    with ThreadPoolExecutor(flags.threads) as pool, ExitStack() as stack:
        writers = {name: stack.enter_context(ExampleWriter(flags.output / f"{name}.tfrecord.gz")) for name in SPLITS}
        for batch in pool.map(examples, range(0, len(rows), BATCH)):
            for split, data in batch:
                writers[split].write(data)


if __name__ == "__main__":
    main()
