"""Servers for the tests in this folder; all of these are slow."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import kafka_server
import pytest
import servers


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """`make test` has no time for clusters; `make check` comes to them late, when their servers have been fetched."""
    ours = [item for item in items if "tests/cluster/" in str(item.path)]
    others = [item for item in items if "tests/cluster/" not in str(item.path)]
    for item in ours:
        item.add_marker(pytest.mark.slow)
    half = len(others) // 2
    while 0 < half < len(others) and others[half].path == others[half - 1].path:
        half += 1
    items[:] = others[:half] + ours + others[half:]


@pytest.fixture(scope="session")
def flink(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.Flink]:
    """A Flink cluster. Without Java and Maven its tests are skipped, and fail in CI."""
    _need_servers()
    with servers.flink(tmp_path_factory.mktemp("flink")) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[kafka_server.Kafka]:
    """A Kafka broker. Without Java and Maven its tests are skipped, and fail in CI."""
    _need_servers()
    with kafka_server.kafka(tmp_path_factory.mktemp("kafka")) as broker:
        yield broker


def _need_servers() -> None:
    if lacking := servers.missing():
        (pytest.fail if "CI" in os.environ else pytest.skip)(f"this machine has no {lacking}")


@pytest.fixture
def on_flink(flink: servers.Flink, tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts an `mmstream` command whose pipeline runs on the cluster; what it leaves in /tmp is the test's own.

    What it says stands in `said-1.txt` of the test's folder; of a second command in `said-2.txt`.
    """
    (tmp_path / "tmp").mkdir()
    started = []

    def start(*arguments: object) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "mmstream.cli", str(arguments[0]), *flink.options(), *map(str, arguments[1:])]
        environment = {**os.environ, "TMPDIR": str(tmp_path / "tmp")}
        with (tmp_path / f"said-{len(started) + 1}.txt").open("w") as file:
            started.append(subprocess.Popen(command, stderr=file, text=True, env=environment))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()
    flink.cancel()
    assert not servers.job_servers(tmp_path), "a job server has outlived its driver"
