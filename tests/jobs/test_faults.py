"""Kills of a preprocessing job, and faults of the machine: nothing half-written is seen, and a rerun completes."""

from __future__ import annotations

import errno
import signal
import subprocess

import pytest
from forks import run_planted
from planting import KILL
from small_road import COMMITTED, read_rows, run, snapshot, write_manifest

from mmstream.storage import files

EXAMPLES = ("examples", "transform/transform_fn/assets", "golden", "dead_letters", "parts")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("point", "before"),
    [
        ("job.json", False),
        ("transform/fingerprint", True),
        ("transform/fingerprint", False),
        ("examples/train/part-00000.tfrecord.gz.mmstream-tmp", True),
        ("examples/train/part-00000.tfrecord.gz.mmstream-tmp", False),
        ("parts/next-00000.json", True),
        ("parts/next-00000.json", False),
        ("examples/train/part-00000.tfrecord.gz", False),
        ("dead_letters/part-00000.jsonl", False),
        ("parts/part-00000.json", False),
        ("golden/records.jsonl", True),
        ("preprocess.json", True),
    ],
)
def test_a_kill_around_the_commit_of_a_part_of_examples(road, tmp_path, point, before):
    preprocess = ("preprocess", road.config, "--output", tmp_path / "out")
    kill = KILL.format(point=point, before=before)
    assert run_planted("mmstream.storage.files", kill, *preprocess) == -signal.SIGKILL
    assert run(*preprocess) == 0
    assert snapshot(tmp_path / "out", *EXAMPLES) == snapshot(road.examples, *EXAMPLES)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.EIO])
def test_a_disk_that_refuses_gives_one_message_and_a_rerun_completes(
    road, pictures, tmp_path, monkeypatch, capsys, number
):
    manifest = write_manifest(road.folder / "data" / "refused.jsonl", pictures(1200))
    write = files.write_bytes

    def refuse(path, data):
        if "labels/.part-00001" in path:
            raise OSError(number, "planted", path)
        write(path, data)

    monkeypatch.setattr(files, "write_bytes", refuse)
    command = ("label", road.model, "--input", manifest, "--output", tmp_path / "out")
    assert run(*command) == 1
    said = capsys.readouterr().err
    assert f"planted: '{tmp_path}/out/labels/.part-00001.parquet" in said
    assert "Traceback" not in said
    assert not list((tmp_path / "out").rglob("*mmstream-tmp*"))
    monkeypatch.undo()
    assert run(*command) == 0
    assert len(read_rows(tmp_path / "out")) == 1200
    assert run("audit", tmp_path / "out", "--input", manifest) == 0


def test_an_input_that_vanishes_while_it_is_read_gives_one_message(road, pictures, tmp_path, monkeypatch, capsys):
    from mmstream.jobs import labelling

    manifest = write_manifest(road.folder / "data" / "vanishing.jsonl", pictures(30))
    check = labelling.check_input
    monkeypatch.setattr(labelling, "check_input", lambda *given: (check(*given), manifest.unlink()))
    command = ("label", road.model, "--input", manifest, "--output", tmp_path / "out")
    assert run(*command) == 1
    said = capsys.readouterr().err
    assert "vanishing.jsonl" in said
    assert "Traceback" not in said


@pytest.fixture
def small_disk(tmp_path):
    """(its folder, what makes it larger): a file system of 200 KiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(disk)]
    mounted = subprocess.run(mount, capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"this machine does not let a test mount a small disk: {mounted.stderr.strip()}")
    yield disk, lambda: subprocess.run(["mount", "-o", "remount,size=100m", str(disk)], check=True)
    subprocess.run(["umount", str(disk)], check=True)


def fill(command, disk, enlarge, capsys):
    """Run a job on a small disk, see what it says, and run it again on a larger one."""
    assert run(*command, disk / "out") == 1
    said = capsys.readouterr().err
    assert "No space left on device" in said
    assert "Traceback" not in said
    assert not list((disk / "out").glob("*/[!.]*mmstream-tmp*"))
    enlarge()
    assert run(*command, disk / "out") == 0


@pytest.mark.slow
def test_labels_on_a_full_disk(road, pictures, tmp_path, small_disk, capsys):
    manifest = write_manifest(road.folder / "data" / "full.jsonl", pictures(6000))
    label = ("label", road.model, "--input", manifest, "--output")
    fill(label, *small_disk, capsys)
    assert run(*label, tmp_path / "whole") == 0
    assert snapshot(small_disk[0] / "out", *COMMITTED) == snapshot(tmp_path / "whole", *COMMITTED)


@pytest.mark.slow
def test_examples_on_a_full_disk(road, small_disk, capsys):
    fill(("preprocess", road.config, "--output"), *small_disk, capsys)
    assert snapshot(small_disk[0] / "out", *EXAMPLES) == snapshot(road.examples, *EXAMPLES)
