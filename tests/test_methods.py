"""The benchmark of the methods: its rows are sound."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

import pytest

from mmstream.config_file import load_config

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def methods() -> ModuleType:
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        return importlib.import_module("methods")
    finally:
        sys.path.remove(str(ROOT / "benchmarks"))


def test_every_row_is_a_sound_config(methods: ModuleType) -> None:
    for row in methods.ROWS:
        assert load_config(str(ROOT / methods.DATASETS[row.dataset].config), (*row.changes, *row.labelling)).model.heads
