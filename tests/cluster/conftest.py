"""Servers for the tests in this folder; all of these are slow."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import servers


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """`make test` has no time for clusters."""
    for item in items:
        if "tests/cluster/" in str(item.path):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def flink(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.Flink]:
    """A Flink cluster. Without Java and Maven its tests are skipped, and fail in CI."""
    if lacking := servers.missing():
        (pytest.fail if "CI" in os.environ else pytest.skip)(f"this machine has no {lacking}")
    with servers.flink(tmp_path_factory.mktemp("flink")) as cluster:
        yield cluster
