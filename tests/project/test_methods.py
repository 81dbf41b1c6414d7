"""The benchmark of the methods: its rows are sound, and docs/methods.md says what its results hold."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from mmstream.config.loading import load_config

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def methods() -> ModuleType:
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        return importlib.import_module("methods")
    finally:
        sys.path.remove(str(ROOT / "benchmarks"))


@pytest.fixture(scope="module")
def results() -> dict[str, Any]:
    return json.loads((ROOT / "benchmarks" / "methods" / "results.json").read_text())


def test_every_row_is_a_sound_config(methods: ModuleType) -> None:
    for row in methods.ROWS:
        assert load_config(str(ROOT / methods.DATASETS[row.dataset].config), (*row.changes, *row.labelling)).model.heads


def test_every_row_was_measured_with_its_seeds(methods: ModuleType, results: dict[str, Any]) -> None:
    wanted = {row.key(seed) for row in methods.ROWS for seed in (methods.SEEDS if row.headline else methods.SEEDS[:1])}
    baselines = {f"baselines/{row.dataset}" for row in methods.ROWS}
    assert results.keys() == wanted | baselines


def test_no_training_took_longer_than_its_row_may(methods: ModuleType, results: dict[str, Any]) -> None:
    for row in methods.ROWS:
        for found in methods.runs_of(row, results):
            assert found["seconds"] <= (480 if row.headline else 240), row.name


def test_the_documentation_shows_these_results(methods: ModuleType, results: dict[str, Any]) -> None:
    assert "\n".join(methods.tables(results)) in (ROOT / "docs" / "methods.md").read_text()
