"""A small road from end to end: a dataset on disk, examples, a model. Built once for all tests of a worker."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from typing import Any

import pytest
from small_road import CONFIG, EMOJI, Road, emoji_rows, run, write_manifest


@pytest.fixture(scope="session")
def road(tmp_path_factory: pytest.TempPathFactory) -> Road:
    """Some 300 emoji, preprocessed, and a model that was trained on them for two epochs."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    folder = tmp_path_factory.mktemp("road")
    shutil.copytree(EMOJI / "train", folder / "data")
    rows = emoji_rows(2000)
    manifest = write_manifest(folder / "data" / "sample.jsonl", rows[::4])
    config = folder / "config.yaml"
    config.write_text(CONFIG.format(manifest=manifest))
    made = Road(folder, config, folder / "examples", folder / "model")
    assert run("preprocess", config, "--output", made.examples) == 0
    assert run("train", config, "--examples", made.examples, "--output", made.model) == 0
    return made


@pytest.fixture
def pictures(road: Road) -> Callable[[int], list[dict[str, Any]]]:
    """Makes so many rows with ids and pictures (relative to the road's data folder); pictures come again and again."""
    known = emoji_rows(400)

    def rows(count: int) -> list[dict[str, Any]]:
        return [{"id": f"r{n:05d}", "image": known[n % len(known)]["image"]} for n in range(count)]

    return rows
