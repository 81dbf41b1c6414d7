"""Kills of a labelling job: a rerun gives the bytes of an undisturbed run."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import pytest
from planting import KILL, plant
from small_road import COMMITTED, run, snapshot, write_manifest

from mmstream import commits

COUNT = """
def plant(module):
    import os
    label_batch = module.label_batch

    def counted(records, *more):
        results = label_batch(records, *more)
        descriptor = os.open({file!r}, os.O_APPEND | os.O_CREAT | os.O_WRONLY)
        os.write(descriptor, b"." * len(records))
        os.close(descriptor)
        return results

    module.label_batch = counted
"""
"""What `plant` runs in `mmstream.labelling`: a byte in a file for each record that is labelled."""
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


@pytest.mark.parametrize(
    ("point", "before", "done"),
    [
        ("labels/part-00000.parquet.mmstream-tmp", False, False),  # one file of two is written beside its place
        ("parts/next-00000.json", True, False),  # both are
        ("parts/next-00000.json", False, True),  # the part is as good as committed
        ("labels/part-00000.parquet", False, True),  # one file of two is in its place
        ("parts/part-00000.json", False, True),
        *(
            pytest.param(*each, marks=pytest.mark.slow)
            for each in (
                ("parts/plan.json", True, False),
                ("parts/plan.json", False, False),
                ("job.json", False, False),
                ("dead_letters/part-00000.jsonl", False, True),
                ("parts/part-00000.json", True, True),
                ("label.json", True, True),
            )
        ),
    ],
)
def test_a_kill_around_the_commit_of_a_part(road, undisturbed, tmp_path, point, before, done):
    manifest, whole = undisturbed
    output = tmp_path / "out"
    env = plant(tmp_path / "planted", "mmstream.files", KILL.format(point=point, before=before))
    killed = subprocess.run([*LABEL, str(road.model), "--input", str(manifest), "--output", str(output)], env=env)
    assert killed.returncode == -signal.SIGKILL
    assert run("label", road.model, "--input", manifest, "--output", output) == 0
    assert snapshot(output, *COMMITTED) == snapshot(whole, *COMMITTED)
    assert json.loads((output / "label.json").read_text())["skipped"] == (900 if done else 0)


@pytest.mark.parametrize("point", ["dead_letters/part-00000.jsonl", "labels/part-00000.parquet"])
def test_a_kill_between_the_files_of_a_part_loses_nothing_of_another_input(road, undisturbed, tmp_path, point):
    manifest, whole = undisturbed
    shutil.copytree(whole, tmp_path / "out")
    other = write_manifest(manifest.with_name("other.jsonl"), [{"id": "other", "image": "not_there_either.png"}])
    env = plant(tmp_path / "planted", "mmstream.files", KILL.format(point=point, before=False))
    command = [*LABEL, str(road.model), "--output", str(tmp_path / "out"), "--input"]
    assert subprocess.run([*command, str(other)], env=env).returncode == -signal.SIGKILL
    assert run("audit", tmp_path / "out") == 1
    assert run("label", road.model, "--input", other, "--output", tmp_path / "out") == 0
    about = json.loads((tmp_path / "out" / "label.json").read_text())
    assert (about["rows"], about["dead_letters"], about["of_other_inputs"]) == (897, 4, 900)
    assert run("audit", tmp_path / "out", "--input", manifest) == 0


@pytest.mark.slow
def test_at_most_one_part_is_done_twice(road, pictures, tmp_path):
    manifest = write_manifest(road.folder / "data" / "eight.jsonl", pictures(8000))
    command = [*LABEL, str(road.model), "--input", str(manifest), "--output", str(tmp_path / "out")]
    env = plant(tmp_path / "planted", "mmstream.labelling", COUNT.format(file=str(tmp_path / "count")))
    process = subprocess.Popen(command, env=env, stderr=subprocess.DEVNULL)
    records = tmp_path / "out" / "parts"
    while process.poll() is None and len(list(records.glob("part-*.json"))) < 3:
        time.sleep(0.001)
    process.kill()
    process.wait()
    subprocess.run(command, env=env, check=True)
    largest = max(json.loads(path.read_text())["counts"]["labelled"] for path in records.glob("part-*.json"))
    batches_in_hand = 3 * os.cpu_count() * 64
    assert (tmp_path / "count").stat().st_size - 8000 <= largest + batches_in_hand


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_a_kill_at_a_random_moment(road, undisturbed, tmp_path, seed):
    manifest, whole = undisturbed
    command = [*LABEL, str(road.model), "--input", str(manifest), "--output", str(tmp_path / "out")]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    time.sleep(random.Random(seed).uniform(1, 14))
    process.kill()
    process.wait()
    commit = commits.recorded(str(tmp_path / "out"), 0)
    subprocess.run(command, check=True)
    assert snapshot(tmp_path / "out", *COMMITTED) == snapshot(whole, *COMMITTED)
    about = json.loads((tmp_path / "out" / "label.json").read_text())
    assert about["skipped"] == (sum(commit.counts.values()) if commit else 0)
