"""Kills and faults of the machine: nothing half-written is seen, and a rerun gives the bytes of an undisturbed run."""

from __future__ import annotations

import errno
import json
import random
import signal
import subprocess
import sys
import time

import pytest
from planting import plant
from small_road import COMMITTED, read_rows, run, snapshot, write_manifest

from mmstream import files, parts

KILL = """
def plant(module):
    import os, signal

    def kill_at(name):
        call = getattr(module, name)

        def planted(*arguments):
            place = str(arguments[0 if name == "write_bytes" else 1])
            if {point!r} in place and {before}:
                os.kill(os.getpid(), signal.SIGKILL)
            call(*arguments)
            if {point!r} in place:
                os.kill(os.getpid(), signal.SIGKILL)

        setattr(module, name, planted)

    kill_at("write_bytes")
    kill_at("move_in")
"""
LABEL = [sys.executable, "-m", "beam_jobs.label"]
PREPROCESS = [sys.executable, "-m", "beam_jobs.preprocess"]
EXAMPLES = ("examples", "transform/transform_fn/assets", "golden", "dead_letters", "parts")


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


@pytest.fixture(scope="module")
def undisturbed_examples(road, tmp_path_factory):
    """Examples of the road's records, made in a process of its own."""
    output = tmp_path_factory.mktemp("undisturbed") / "examples"
    subprocess.run([*PREPROCESS, str(road.config), "--output", str(output)], check=True)
    return output


@pytest.mark.slow
@pytest.mark.parametrize(
    ("point", "before"),
    [
        ("job.json", False),
        ("transform/fingerprint", True),
        ("transform/fingerprint", False),
        ("examples/train/part-00000", True),
        ("examples/train/part-00000", False),
        ("dead_letters/part-00000", False),
        ("parts/part-00000.json", False),
        ("golden/records.jsonl", True),
        ("preprocess.json", True),
    ],
)
def test_a_kill_around_the_commit_of_a_part_of_examples(road, undisturbed_examples, tmp_path, point, before):
    command = [*PREPROCESS, str(road.config), "--output"]
    env = plant(tmp_path / "planted", "mmstream.files", KILL.format(point=point, before=before))
    assert subprocess.run([*command, str(tmp_path / "out")], env=env).returncode == -signal.SIGKILL
    subprocess.run([*command, str(tmp_path / "out")], check=True)
    assert snapshot(tmp_path / "out", *EXAMPLES) == snapshot(undisturbed_examples, *EXAMPLES)


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


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.EIO])
def test_a_disk_that_refuses_gives_one_message_and_a_rerun_completes(
    road, pictures, tmp_path, monkeypatch, capsys, number
):
    manifest = write_manifest(road.folder / "data" / "refused.jsonl", pictures(1200))
    write = files.write_bytes

    def refuse(path, data):
        if "labels/part-00001" in path:
            raise OSError(number, "planted", path)
        write(path, data)

    monkeypatch.setattr(files, "write_bytes", refuse)
    command = ("label", road.model, "--input", manifest, "--output", tmp_path / "out")
    assert run(*command) == 1
    said = capsys.readouterr().err
    assert f"planted: '{tmp_path}/out/labels/part-00001.parquet'" in said
    assert "Traceback" not in said
    assert not list((tmp_path / "out").rglob("*mmstream-tmp*"))
    monkeypatch.undo()
    assert run(*command) == 0
    assert len(read_rows(tmp_path / "out")) == 1200
    assert run("audit", tmp_path / "out", "--input", manifest) == 0


def test_an_input_that_vanishes_while_it_is_read_gives_one_message(road, pictures, tmp_path, monkeypatch, capsys):
    from beam_jobs import label

    manifest = write_manifest(road.folder / "data" / "vanishing.jsonl", pictures(30))
    check = label.check_input
    monkeypatch.setattr(label, "check_input", lambda *given: (check(*given), manifest.unlink()))
    command = ("label", road.model, "--input", manifest, "--output", tmp_path / "out")
    assert run(*command) == 1
    said = capsys.readouterr().err
    assert "vanishing.jsonl" in said
    assert "Traceback" not in said


@pytest.mark.slow
def test_a_full_disk(road, pictures, tmp_path, capfd):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(disk)], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"this machine does not let a test mount a small disk: {mounted.stderr.strip()}")
    try:
        manifest = write_manifest(road.folder / "data" / "full.jsonl", pictures(6000))
        command = [*LABEL, str(road.model), "--input", str(manifest), "--output"]
        full = subprocess.run([*command, str(disk / "out")], capture_output=True, text=True)
        assert full.returncode == 1
        assert "No space left on device" in full.stderr
        assert "Traceback" not in full.stderr
        subprocess.run(["mount", "-o", "remount,size=100m", str(disk)], check=True)
        subprocess.run([*command, str(disk / "out")], check=True)
        subprocess.run([*command, str(tmp_path / "whole")], check=True)
        assert snapshot(disk / "out", *COMMITTED) == snapshot(tmp_path / "whole", *COMMITTED)
    finally:
        subprocess.run(["umount", str(disk)], check=True)
