"""Kills of a labelling job: a rerun gives the bytes of an undisturbed run."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time

import pytest
from planting import KILL, plant
from small_road import COMMITTED, snapshot, write_manifest

from mmstream import parts

LABEL = [sys.executable, "-m", "beam_jobs.label"]


@pytest.fixture(scope="module")
def undisturbed(road, tmp_path_factory):
    """(manifest, labels of it): 900 records, some of them broken; each run in a process of its own."""
    data = road.folder / "data"
    pictures = sorted(path.relative_to(data).as_posix() for path in data.glob("*moji/*.png"))
    rows = [{"id": f"k{n:05d}", "image": pictures[n % len(pictures)]} for n in range(900)]
    for place in (7, 77, 777):
        rows[place]["image"] = "not_there.png"
    manifest = write_manifest(data / "killed.jsonl", rows)
    output = tmp_path_factory.mktemp("undisturbed") / "out"
    subprocess.run([*LABEL, str(road.model), "--input", str(manifest), "--output", str(output)], check=True)
    return manifest, output


def test_kills_around_the_commit_of_a_part_one_after_the_other(road, undisturbed, tmp_path):
    manifest, whole = undisturbed
    output = tmp_path / "out"
    command = [*LABEL, str(road.model), "--input", str(manifest), "--output", str(output)]
    for point, before in (
        ("parts/plan.json", False),
        ("labels/part-00000", True),
        ("labels/part-00000", False),
        ("dead_letters/part-00000", False),
        ("parts/part-00000.json", False),
    ):
        assert parts.read_commit(str(output), 0) is None
        env = plant(tmp_path / "planted", "mmstream.files", KILL.format(point=point, before=before))
        assert subprocess.run(command, env=env).returncode == -signal.SIGKILL
    assert parts.read_commit(str(output), 0) is not None
    subprocess.run(command, check=True)
    assert snapshot(output, *COMMITTED) == snapshot(whole, *COMMITTED)
    assert json.loads((output / "label.json").read_text())["skipped"] == 900


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_a_kill_at_a_random_moment(road, undisturbed, tmp_path, seed):
    manifest, whole = undisturbed
    command = [*LABEL, str(road.model), "--input", str(manifest), "--output", str(tmp_path / "out")]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    time.sleep(random.Random(seed).uniform(1, 14))
    process.kill()
    process.wait()
    commits = [parts.read_commit(str(tmp_path / "out"), part) for part in range(1)]
    subprocess.run(command, check=True)
    assert snapshot(tmp_path / "out", *COMMITTED) == snapshot(whole, *COMMITTED)
    about = json.loads((tmp_path / "out" / "label.json").read_text())
    assert about["skipped"] == sum(sum(commit.counts.values()) for commit in commits if commit)
