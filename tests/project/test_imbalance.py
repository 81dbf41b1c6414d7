"""The benchmark of rare classes: its cut is what it says, and docs/methods.md says what its results hold."""

from __future__ import annotations

import importlib
import json
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def imbalance() -> ModuleType:
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        return importlib.import_module("imbalance")
    finally:
        sys.path.remove(str(ROOT / "benchmarks"))


@pytest.fixture(scope="module")
def results() -> dict[str, Any]:
    return json.loads((ROOT / "benchmarks" / "methods" / "imbalance.json").read_text())


def test_a_cut_leaves_one_of_fifty_and_the_test_split_as_it_is(imbalance: ModuleType) -> None:
    def rows() -> list[dict[str, Any]]:
        return [{"group": f"{name}{n}", "target": name} for name in "abc" for n in range(1000)]

    cuts = [imbalance.cut(rows(), "abc", seed) for seed in (1, 1, 2)]
    train, test = ([[row for row in cut if row["split"] == split] for cut in cuts] for split in ("train", "test"))
    counts = Counter(row["target"] for row in train[0])
    assert counts["a"] / counts["c"] == pytest.approx(50, rel=0.03)
    assert counts["a"] / counts["b"] == pytest.approx(50**0.5, rel=0.03)
    assert train[0] == train[1] != train[2]
    assert test[0] == test[1] == test[2]
    assert min(Counter(row["target"] for row in test[0]).values()) > 200


def test_every_row_was_measured_with_its_seeds(imbalance: ModuleType, results: dict[str, Any]) -> None:
    wanted = {
        f"{dataset}/{name}/{seed}"
        for dataset in imbalance.DATASETS
        for name in imbalance.rows_of(dataset)
        for seed in imbalance.SEEDS
    }
    assert results.keys() == wanted


def test_the_documentation_shows_these_results(imbalance: ModuleType, results: dict[str, Any]) -> None:
    for table in "\n".join(imbalance.table(results)).strip().split("\n\n"):
        assert table.strip() in (ROOT / "docs" / "methods.md").read_text()
