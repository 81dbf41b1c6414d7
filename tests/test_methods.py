"""The benchmark of the methods: its rows are sound."""

from __future__ import annotations

import importlib.util
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
        spec = importlib.util.spec_from_file_location("methods", ROOT / "benchmarks" / "methods.py")
        assert spec
        assert spec.loader
        module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(ROOT / "benchmarks"))
    return module


def test_every_row_is_a_sound_config(methods: ModuleType) -> None:
    for row in methods.ROWS:
        assert load_config(str(ROOT / methods.DATASETS[row.dataset].config), (*row.changes, *row.labelling)).model.heads
