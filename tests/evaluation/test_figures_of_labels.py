"""What `evaluate` says is what scikit-learn says of the rows that `label` writes."""

from __future__ import annotations

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
import sacrebleu
from mmstream_text.tokens import tokenise
from sklearn import metrics
from small_road import run, write_manifest

CONFIG = """
source: {{use: jsonl, path: {manifest}, id: id}}
split: {{column: split}}
fields:
  told:  {{use: category}}
  also:  {{use: text, length: 6}}
  kind:  {{use: category, min_count: 2}}
  tags:  {{use: tags}}
  price: {{use: number}}
  sides: {{use: number, columns: [width, height], clip: 3}}
  title: {{use: text, length: 6}}
model:
  width: 16
  encoders: {{told: {{use: embedding}}, also: {{use: bag_of_words}}}}
  fusion: {{use: concat}}
  heads:
    kind:  {{use: classification, reads: told}}
    tags:  {{use: tagging}}
    price: {{use: regression, reads: told}}
    sides: {{use: regression}}
    title: {{use: caption, reads: told, units: 16}}
training: {{epochs: 3, batch_size: 16, optimizer: {{use: adamw, learning_rate: 0.02}}}}
"""
GIVEN_NEVER = {"kind": None, "tags": None, "price": None, "width": None, "title": ""}


def rows_of(seed: int) -> list[dict]:
    """Records whose test split holds classes, tags and words that training lacks, lacks others, and has outliers."""
    random = np.random.default_rng(seed)
    rows = []
    for n in range(120):
        split = ("train", "train", "validation", "test")[n % 4]
        told = int(random.integers(4))
        price = float(random.normal(told, 0.3))
        row = {
            "id": f"r{n}",
            "split": split,
            "told": f"t{told}",
            "also": f"word{told} and more",
            "kind": f"k{told}",
            "tags": [f"g{told}", "all"][: int(random.integers(3))],
            "price": price,
            "width": price * 10,
            "height": -price,
            "title": f"the {told} of them",
        }
        if split != "test":
            row |= {"tags": [*row["tags"], "early"], "kind": "rare" if n == 1 else row["kind"]}
        elif random.random() < 0.3:
            row |= {"kind": f"new{n % 2}", "tags": ["never", f"g{told}"], "price": 5e3, "title": "unheard words 猫"}
        elif random.random() < 0.3:
            row |= {name: value for name, value in GIVEN_NEVER.items() if random.random() < 0.5}
        elif random.random() < 0.2:
            row |= {"told": None}
        rows.append(row)
    return rows


def by_sklearn(head: str, pairs: list[tuple]) -> dict[str, float]:
    """The metrics of pairs of what was given and what the label says."""
    wanted, found = zip(*pairs, strict=True)
    if head == "kind":
        f1 = metrics.f1_score(wanted, found, average="macro", zero_division=0)
        classes = sorted(set(wanted))
        recall = metrics.recall_score(wanted, found, labels=classes, average="macro", zero_division=0)
        return {"accuracy": metrics.accuracy_score(wanted, found), "macro_f1": f1, "balanced_accuracy": recall}
    if head == "tags":
        names = sorted({tag for tags in (*wanted, *found) for tag in tags})
        hot = [np.array([[name in tags for name in names] for tags in column]) for column in (wanted, found)]
        return {f"{way}_f1": metrics.f1_score(*hot, average=way, zero_division=0) for way in ("micro", "macro")}
    if head == "title":
        bleu = sacrebleu.BLEU(tokenize="none", force=True, effective_order=True)
        spaced = [[" ".join(token.strip() for token in tokenise(text)) for text in texts] for texts in (found, wanted)]
        exact = float(np.mean([one == other for one, other in zip(wanted, found, strict=True)]))
        chrf = sacrebleu.CHRF().corpus_score(list(found), [list(wanted)]).score / 100
        return {"bleu4": bleu.corpus_score(spaced[0], [spaced[1]]).score / 100, "chrf": chrf, "exact": exact}
    columns = [np.array([[row] if head == "price" else row for row in column], float) for column in (wanted, found)]
    each = []
    for one, other in zip(columns[0].T, columns[1].T, strict=True):
        known = ~np.isnan(one)
        each.append((metrics.mean_absolute_error(one[known], other[known]), metrics.r2_score(one[known], other[known])))
    return dict(zip(("mae", "r2"), np.mean(each, axis=0), strict=True))


def given_of(head: str, row: dict):
    """What a record was given for a head, None where it was not."""
    if head == "sides":
        sides = [row["width"], row["height"]]
        return None if sides == [None, None] else sides
    return row[head] if row[head] != "" else None


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_figures_are_those_of_the_label_rows(tmp_path, seed):
    rows = rows_of(seed)
    config, examples, model = tmp_path / "config.yaml", tmp_path / "examples", tmp_path / "model"
    manifest = write_manifest(tmp_path / "rows.jsonl", rows)
    config.write_text(CONFIG.format(manifest=manifest))
    assert run("preprocess", config, "--output", examples) == 0
    assert run("train", config, "--examples", examples, "--output", model) == 0
    assert run("evaluate", model, "--examples", examples) == 0
    assert run("label", model, "--input", manifest, "--output", tmp_path / "labels") == 0
    labels = {row["id"]: row for row in pq.read_table(tmp_path / "labels/labels").to_pylist()}
    found = json.loads((model / "evaluation/test/metrics.json").read_text())
    test = [row for row in rows if row["split"] == "test"]
    assert found["records"] == len(test)
    for head, figures in found["heads"].items():
        given = [(given_of(head, row), labels[row["id"]][head]) for row in test]
        pairs = [pair for pair in given if None not in pair]
        assert figures["records"] == len(pairs) > 5
        assert figures["unread"] == sum(label is None and value is not None for value, label in given)
        for name, value in by_sklearn(head, pairs).items():
            assert figures[name] == pytest.approx(value, rel=1e-5, abs=1e-9), (head, name)
    kinds = [row["kind"] for row in test if row["kind"] and row["told"]]
    assert found["heads"]["kind"]["unseen"] == sum(kind.startswith("new") for kind in kinds) > 0
    assert found["heads"]["tags"]["unseen"] > 0
    assert found["heads"]["price"]["mae"] > 100, "in the unit of the records, not as they were clipped"
    assert any("counts as a miss" in warning for warning in found["heads"]["kind"]["warnings"])
