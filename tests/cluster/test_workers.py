"""Workers that are processes of their own, as on a cluster of several machines."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import servers
from planting import POISON, plant
from small_road import COMMITTED, read_lines, read_rows, run, snapshot, write_manifest
from test_batch import wait_for_a_part
from test_stream import SOON, put, stop, wait_for

assert put  # a fixture


class Pool:
    """Beam's worker pool: starts a Python worker when the cluster asks for one.

    Args:
        folder: for its log.
        environment: of the workers.

    Attributes:
        options: that name it to a pipeline.
    """

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        (port,) = servers.free_ports(1)
        command = [sys.executable, "-m", "apache_beam.runners.worker.worker_pool_main", f"--service_port={port}"]
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # it calls `python`
        with (folder / "pool.txt").open("w") as log:
            self._process = subprocess.Popen(
                [*servers.ending_with_this_process(), *command],
                env={**environment, "PATH": path},
                stdout=log,
                stderr=log,
                process_group=0,
            )
        self.options = ["--environment_type=EXTERNAL", f"--environment_config=localhost:{port}"]

    def kill_workers(self) -> int:
        """SIGKILL to all that run; how many these were."""
        workers: list[int] = []
        for task in Path(f"/proc/{self._process.pid}/task").iterdir():
            with contextlib.suppress(FileNotFoundError):  # a thread may end in this moment
                workers += map(int, (task / "children").read_text().split())
        for worker in workers:
            os.kill(worker, signal.SIGKILL)
        return len(workers)

    def close(self) -> None:
        """End it and its workers."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[Callable[[dict[str, str]], Pool]]:
    """Starts a pool, its workers having some environment."""
    started = []

    def start(environment: dict[str, str]) -> Pool:
        started.append(Pool(tmp_path, environment))
        return started[-1]

    yield start
    for each in started:
        each.close()


def test_a_killed_worker_costs_nothing(on_flink, pool, road, pictures, tmp_path):
    manifest = write_manifest(road.folder / "data" / "workers.jsonl", pictures(4000))
    label, workers = ("label", road.model, "--input", manifest, "--output"), pool(dict(os.environ))
    job = on_flink(*label, tmp_path / "flink", *workers.options)
    wait_for_a_part(job, tmp_path / "flink")
    assert workers.kill_workers()
    assert job.wait() == 0, (tmp_path / "said-1.txt").read_text()
    assert run(*label, tmp_path / "here") == 0
    assert snapshot(tmp_path / "flink", *COMMITTED) == snapshot(tmp_path / "here", *COMMITTED)


def test_a_record_that_kills_its_worker_ends_in_quarantine_alone(on_flink, pool, road, pictures, tmp_path):
    rows = pictures(300)
    rows[10]["image"] = "abort.poison"
    (road.folder / "data" / "abort.poison").write_bytes(b"abort")
    manifest = write_manifest(road.folder / "data" / "kills_workers.jsonl", rows)
    workers = pool(plant(tmp_path / "planted", "mmstream_image.field", POISON))
    job = on_flink("label", road.model, "--input", manifest, "--output", tmp_path / "out", *workers.options)
    assert job.wait() == 0, (tmp_path / "said-1.txt").read_text()
    (letter,) = read_lines(tmp_path / "out" / "dead_letters")
    assert (letter["id"], letter["stage"], letter["error"]) == (rows[10]["id"], "quarantine", "Killed")
    assert "SIGABRT" in letter["message"]
    assert len(read_rows(tmp_path / "out")) == 299
    assert not list((tmp_path / "out" / "unfinished").iterdir())
    assert run("audit", tmp_path / "out", "--input", manifest) == 0


def test_a_stream_goes_on_after_a_record_that_kills_its_worker(on_flink, pool, road, put, tmp_path):
    put(0, 20)
    (tmp_path / "in" / "00007.png").write_bytes(b"abort")
    workers, out = pool(plant(tmp_path / "planted", "mmstream_image.field", POISON)), tmp_path / "out"
    about = ("--input", tmp_path / "in", "--output", out, *SOON)
    job = on_flink("label", road.model, *about, *workers.options)
    wait_for(out, 19, 1, job)
    put(20, 30)
    wait_for(out, 29, 1, job)
    stop(job)
    (letter,) = read_lines(out / "dead_letters")
    assert (letter["id"], letter["stage"]) == ("00007.png", "quarantine")
    assert json.loads((out / "label.json").read_text())["rows"] == 29
    assert run("audit", out, "--input", tmp_path / "in") == 0
