"""Batch jobs on a Flink cluster give what they give on one machine, whatever dies."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

from servers import job_servers
from small_road import COMMITTED, run, snapshot, write_manifest


def wait_for_a_part(job: subprocess.Popen, output: Path) -> None:
    """Wait until a part is committed, and see that the job is still at work."""
    while job.poll() is None and not list((output / "parts").glob("part-*.json")):
        time.sleep(0.05)
    assert job.poll() is None, "it has ended before"


def test_preprocess_gives_the_same_examples(on_flink, road, tmp_path):
    job = on_flink("preprocess", road.config, "--output", tmp_path / "out")
    assert job.wait() == 0, (tmp_path / "said-1.txt").read_text()
    wanted = ("examples", "golden", "dead_letters", "parts", "transform/transform_fn/assets")
    assert snapshot(tmp_path / "out", *wanted) == snapshot(road.examples, *wanted)
    assert run("audit", tmp_path / "out", "--input", road.folder / "data" / "sample.jsonl") == 0


def test_labels_and_replayed_letters_are_the_same_bytes(on_flink, road, pictures, tmp_path):
    rows = [*pictures(300), {"id": "late", "image": "late.png"}, b"no json"]
    manifest = write_manifest(road.folder / "data" / "cluster.jsonl", rows)
    label = ("label", road.model, "--input", manifest, "--output")
    job = on_flink(*label, tmp_path / "flink")
    assert job.wait() == 0, (tmp_path / "said-1.txt").read_text()
    assert run(*label, tmp_path / "here") == 0
    assert snapshot(tmp_path / "flink", *COMMITTED) == snapshot(tmp_path / "here", *COMMITTED)

    late = road.folder / "data" / "late.png"
    late.write_bytes((road.folder / "data" / rows[0]["image"]).read_bytes())
    job = on_flink("replay", tmp_path / "flink")
    job.wait()
    late_labels = json.loads((tmp_path / "flink" / "label.json").read_text())
    assert run("replay", tmp_path / "here") == 0
    late.unlink()
    assert job.returncode == 0, (tmp_path / "said-2.txt").read_text()
    assert (late_labels["rows"], late_labels["dead_letters"]) == (301, 1)
    assert snapshot(tmp_path / "flink", *COMMITTED) == snapshot(tmp_path / "here", *COMMITTED)


def test_a_killed_task_manager_costs_nothing(flink, on_flink, road, pictures, tmp_path):
    manifest = write_manifest(road.folder / "data" / "cluster_killed.jsonl", pictures(4000))
    label = ("label", road.model, "--input", manifest, "--output")
    job = on_flink(*label, tmp_path / "flink")
    wait_for_a_part(job, tmp_path / "flink")
    flink.kill_task_manager()
    flink.start_task_manager()
    assert job.wait() == 0, (tmp_path / "said-1.txt").read_text()
    assert run(*label, tmp_path / "here") == 0
    assert snapshot(tmp_path / "flink", *COMMITTED) == snapshot(tmp_path / "here", *COMMITTED)
    assert run("audit", tmp_path / "flink", "--input", manifest) == 0


def test_a_killed_driver_takes_its_job_server_along_and_the_same_command_goes_on(on_flink, road, pictures, tmp_path):
    manifest = write_manifest(road.folder / "data" / "cluster_driver.jsonl", pictures(4000))
    label = ("label", road.model, "--input", manifest, "--output")
    job = on_flink(*label, tmp_path / "flink")
    wait_for_a_part(job, tmp_path / "flink")
    assert job_servers(tmp_path)
    job.kill()
    assert job.wait() == -signal.SIGKILL
    end = time.monotonic() + 10
    while job_servers(tmp_path) and time.monotonic() < end:
        time.sleep(0.1)
    assert not job_servers(tmp_path)
    assert run(*label, tmp_path / "flink") == 0
    assert json.loads((tmp_path / "flink" / "label.json").read_text())["skipped"] > 0
    assert run(*label, tmp_path / "here") == 0
    assert snapshot(tmp_path / "flink", *COMMITTED) == snapshot(tmp_path / "here", *COMMITTED)


def test_without_a_cluster_the_message_is_plain(flink, road, pictures, tmp_path):
    manifest = write_manifest(road.folder / "data" / "cluster_none.jsonl", pictures(3))
    options = [option for option in flink.options() if "master" not in option]
    label = ("label", road.model, "--input", manifest, "--output", tmp_path / "out")
    command = [sys.executable, "-m", "mmstream.cli", *map(str, label), *options, "--flink_master=localhost:1"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert "Connection refused" in done.stderr
    assert "Traceback" not in done.stderr
