"""Accuracy by kind of question, on held-out pictures: kinds.py MANIFEST EXAMPLES LABELS.

EXAMPLES is what `mmstream preprocess` made of the manifest, LABELS what `mmstream label` made of it.
"""

from __future__ import annotations

import json
import os
import sys
from collections import defaultdict
from pathlib import Path

import pyarrow.parquet

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from mmstream.preprocessing.examples import parse_texts, read_examples, shards_of


def kind_of(question: str) -> str:
    """What a question asks for."""
    if question.startswith("what"):
        return "colour" if "color" in question else "shape"
    return "yes or no: not there" if " not " in question or " no " in question else "yes or no: there"


def held_out(examples: str) -> set[str]:
    """Ids of the test split."""
    batches = read_examples(shards_of(examples, "test")).batch(1000)
    return {name.decode() for batch in batches for name in parse_texts(batch, ["_id"])["_id"].numpy()}


def main(manifest: str, examples: str, labels: str) -> None:
    """Print a line a kind of question, and one for all."""
    lines = Path(manifest).read_text().splitlines()
    rows = {f"{Path(manifest).name}:{number}": json.loads(line) for number, line in enumerate(lines, 1)}
    answers = pyarrow.parquet.read_table(Path(labels, "labels"), columns=["id", "answer"]).to_pylist()
    right: dict[str, list[bool]] = defaultdict(list)
    asked = held_out(examples)
    for answer in answers:
        if answer["id"] in asked:
            row = rows[answer["id"]]
            for kind in (kind_of(row["question"]), "all"):
                right[kind].append(answer["answer"] == row["answer"])
    for kind, found in sorted(right.items(), key=lambda pair: (pair[0] == "all", pair[0])):
        print(f"{kind:<20} {sum(found) / len(found):.3f} of {len(found):,}")


if __name__ == "__main__":
    main(*sys.argv[1:])
