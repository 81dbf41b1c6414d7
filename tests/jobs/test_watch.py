"""`mmstream label --watch`: what arrives is labelled once, whatever is written, changed or killed meanwhile."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from small_road import read_lines, read_rows, run, write_manifest

import mmstream

PATIENCE_SECONDS = 300


@contextlib.contextmanager
def watching(road, source: Path, output: Path, *more: str) -> Iterator[subprocess.Popen]:
    """A process that watches a folder; ended by force if the test has not ended it."""
    command = [sys.executable, "-m", "mmstream.cli", "label", str(road.model), "--input", str(source)]
    process = subprocess.Popen([*command, "--output", str(output), "--watch", "--every", "0.2", *more])
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def until(fact: Callable[[], bool], process: subprocess.Popen) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while not fact():
        assert process.poll() is None, "the process has ended"
        assert time.monotonic() < end, "it takes too long"
        time.sleep(0.05)


def books(output: Path) -> tuple[int, ...]:
    """(read, labelled, dead-lettered, skipped, rows, dead letters) of label.json; () before there is one."""
    with contextlib.suppress(FileNotFoundError):
        about = json.loads((output / "label.json").read_text())
        names = ("read", "labelled", "dead_lettered", "skipped", "rows", "dead_letters")
        return tuple(about[name] for name in names)
    return ()


def end(process: subprocess.Popen) -> None:
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0


def folder_of(pictures: list[Path], parent: Path) -> Path:
    folder = parent / "in"
    folder.mkdir()
    for picture in pictures:
        shutil.copy(picture, folder)
    return folder


@pytest.fixture
def drawings(road) -> list[Path]:
    return sorted((road.folder / "data" / "twemoji").iterdir())


@pytest.fixture
def temporary(tmp_path, monkeypatch) -> Path:
    """The folder of temporary files."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    return folder


def has_looked(temporary: Path) -> bool:
    """Whether a worker has looked at its input, and waits until it looks again."""
    return bool(list(temporary.glob("mmstream-*/got_on")))


@contextlib.contextmanager
def being_written(path: Path, data: bytes) -> Iterator[None]:
    """A file of which so much is there, and whose time changes again and again while the block runs."""
    path.write_bytes(data)
    before, is_whole = path.stat().st_mtime_ns, threading.Event()

    def touch() -> None:
        for number in itertools.count(1):
            os.utime(path, ns=(before + number, before + number))
            if is_whole.wait(0.001):
                return

    thread = threading.Thread(target=touch)
    thread.start()
    try:
        yield
    finally:
        is_whole.set()
        thread.join()


def test_pictures_are_labelled_as_they_come_and_again_when_they_change(road, drawings, tmp_path, temporary):
    folder, output = tmp_path / "in", tmp_path / "out"
    with watching(road, folder, output) as process:
        until(lambda: has_looked(temporary), process)
        folder.mkdir()
        for picture in drawings[:20]:
            shutil.copy(picture, folder)
        until(lambda: books(output) == (20, 20, 0, 0, 20, 0), process)

        (folder / "broken.png").write_bytes(b"<!doctype html>")
        until(lambda: books(output) == (21, 20, 1, 0, 20, 1), process)
        shutil.copy(drawings[30], folder / "broken.png")
        until(lambda: books(output) == (22, 21, 1, 0, 21, 0), process)

        whole = drawings[31].read_bytes()
        with being_written(folder / "slow.png", whole[:12]):
            shutil.copy(drawings[32], folder)  # which is labelled once it has been looked at twice
            until(lambda: books(output) == (23, 22, 1, 0, 22, 0), process)
            (folder / "slow.png").write_bytes(whole)
        until(lambda: books(output) == (24, 23, 1, 0, 23, 0), process)
        end(process)
    assert run("audit", output, "--input", folder) == 0
    assert run("label", road.model, "--input", folder, "--output", output) == 0
    assert books(output) == (23, 0, 0, 23, 23, 0)


def test_rows_of_manifests_are_labelled_as_they_come_change_and_get_their_pictures(road, drawings, tmp_path):
    folder, output = folder_of(drawings[:10], tmp_path), tmp_path / "out"
    rows = [{"id": picture.stem, "image": picture.name} for picture in drawings[:11]]
    write_manifest(folder / "one.jsonl", [*rows, b"no json"])
    with watching(road, folder, output) as process:
        until(lambda: books(output) == (12, 10, 2, 0, 10, 2), process)
        shutil.copy(drawings[10], folder)
        until(lambda: books(output) == (13, 11, 2, 0, 11, 1), process)
        write_manifest(folder / "two.jsonl", [{"id": rows[0]["id"], "image": drawings[1].name}])
        until(lambda: books(output) == (14, 11, 3, 0, 11, 2), process)
        mended = {"id": "mended", "image": drawings[2].name}
        write_manifest(folder / "one.jsonl", [*rows, mended, {"id": "appended", "image": drawings[3].name}])
        until(lambda: books(output) == (16, 13, 3, 0, 13, 1), process)
        end(process)
    assert [(each["error"], each["origin"]) for each in read_lines(output / "dead_letters")] == [
        ("DuplicateId", "two.jsonl:1")
    ]
    assert "lost" not in json.loads((output / "label.json").read_text())
    assert {row["id"]: row["_origin"] for row in read_rows(output)} == {
        row["id"]: f"one.jsonl:{line}" for line, row in enumerate([*rows, mended, {"id": "appended"}], start=1)
    }
    assert run("audit", output, "--input", folder) == 0


@pytest.mark.slow
def test_a_row_whose_id_stood_elsewhere_is_labelled_when_that_place_is_vacated(road, drawings, tmp_path):
    folder, output = folder_of(drawings[:3], tmp_path), tmp_path / "out"
    rows = [{"id": picture.stem, "image": picture.name} for picture in drawings[:3]]
    write_manifest(folder / "one.jsonl", rows[:2])
    with watching(road, folder, output) as process:
        until(lambda: books(output) == (2, 2, 0, 0, 2, 0), process)
        write_manifest(folder / "two.jsonl", rows[1:])
        until(lambda: books(output)[4:] == (3, 1), process)
        write_manifest(folder / "one.jsonl", rows[:1])
        until(lambda: books(output)[4:] == (3, 0), process)
        end(process)
    assert "lost" not in json.loads((output / "label.json").read_text())
    origins = {row["id"]: row["_origin"] for row in read_rows(output)}
    assert origins == {rows[0]["id"]: "one.jsonl:1", rows[1]["id"]: "two.jsonl:1", rows[2]["id"]: "two.jsonl:2"}
    assert run("audit", output, "--input", folder) == 0


@pytest.mark.slow
def test_a_damaged_output_is_made_anew(road, drawings, tmp_path):
    folder, output = folder_of(drawings[:8], tmp_path), tmp_path / "out"
    with watching(road, folder, output) as process:
        until(lambda: books(output) == (8, 8, 0, 0, 8, 0), process)
        for path in output.glob("labels/*.parquet"):
            path.write_bytes(b"damaged")
        shutil.copy(drawings[8], folder)
        until(lambda: books(output)[4:] == (9, 0), process)
        end(process)
    assert run("audit", output, "--input", folder) == 0


@pytest.mark.parametrize(
    ("flags", "why"),
    [
        (["--prune"], "cannot be combined"),
        (["--preview", "3"], "cannot be combined"),
        (["--runner", "FlinkRunner"], "no Beam pipeline"),
        (["--column", "image"], "expected NEW=OLD"),
    ],
)
def test_flags_that_make_no_sense_for_a_job_without_an_end_are_refused(road, tmp_path, capsys, flags, why):
    command = ("label", road.model, "--input", tmp_path / "in", "--output", tmp_path / "out", "--watch")
    assert run(*command, *flags) in (1, 2)
    assert why in capsys.readouterr().err


def test_a_column_that_no_row_has_yet_is_refused(road, drawings, tmp_path, capsys):
    folder = folder_of(drawings[:2], tmp_path)
    command = ("label", road.model, "--input", folder, "--output", tmp_path / "out", "--watch", "--every", "0.1")
    assert run(*command, "--column", "image=pictur") == 1
    said = capsys.readouterr().err
    assert "has a column 'pictur'. Available: category, image" in said
    assert not (tmp_path / "out").exists()


def test_an_output_within_its_input_is_refused(road, tmp_path, capsys):
    assert run("label", road.model, "--input", tmp_path, "--output", tmp_path / "out", "--watch") == 2
    assert "is inside the input" in capsys.readouterr().err


def worker_of(process: subprocess.Popen) -> int:
    """The process that does the work; 0 where there is none."""
    found = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True).stdout.split()
    return int(found[0]) if found else 0


@pytest.mark.slow
def test_whatever_is_killed_each_record_of_a_growing_folder_is_there_once(road, drawings, tmp_path):
    folder, output = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    chance = random.Random(5)
    count = 0

    def has_grown_to(labelled: int) -> bool:
        """Whether so many are labelled; puts another in as long as few wait for their labels."""
        nonlocal count
        done = (books(output) or (0,) * 6)[4]
        if count < done + 100:
            shutil.copy(drawings[count % len(drawings)], folder / f"{count}.png")
            count += 1
        return done >= labelled

    for victim in ("worker", "supervisor", "worker"):
        with watching(road, folder, output) as process:
            enough = count + chance.randrange(1, 40)
            until(lambda enough=enough: has_grown_to(enough), process)
            if victim == "worker":
                worker = worker_of(process)
                os.kill(worker, signal.SIGKILL)
                until(lambda worker=worker: worker_of(process) not in (0, worker), process)
            else:
                process.kill()
                assert process.wait() == -signal.SIGKILL
    with watching(road, folder, output) as process:
        until(lambda: books(output)[4:] == (count, 0), process)
        end(process)
    assert sorted(row["id"] for row in read_rows(output)) == sorted(f"{number}.png" for number in range(count))
    assert run("audit", output, "--input", folder) == 0


@pytest.mark.slow
def test_a_watcher_that_is_killed_while_nothing_arrives_is_started_again_however_often(road, tmp_path, temporary):
    (tmp_path / "in").mkdir()

    def another_waits(seen: list[int]) -> bool:
        return worker_of(process) not in seen and has_looked(temporary)  # in this order: it clears the mark of the last

    with watching(road, tmp_path / "in", tmp_path / "out") as process:
        seen = [0]
        while len(seen) <= 6:
            until(lambda: another_waits(seen), process)
            seen.append(worker_of(process))
            os.kill(seen[-1], signal.SIGKILL)
        until(lambda: another_waits(seen), process)
        end(process)
    assert not list(temporary.iterdir())


@pytest.mark.slow
def test_a_newer_model_takes_over_and_a_broken_one_does_not(road, drawings, tmp_path, capfd):
    folder, output, models = folder_of(drawings[:10], tmp_path), tmp_path / "out", tmp_path / "models"
    models.mkdir()
    trained = ("--set", "training.seed=2", "--set", "training.epochs=1", "--examples", road.examples)
    assert run("train", road.config, *trained, "--output", tmp_path / "trained") == 0
    with watching(road, folder, output, "--follow", str(models)) as process:
        until(lambda: books(output)[:2] == (10, 10), process)
        shutil.copytree(tmp_path / "trained", models / "broken")
        (models / "broken" / "network.keras").write_bytes(b"no network")
        (models / "broken" / "model.json").touch()
        until(lambda: "broken is refused" in capfd.readouterr().err, process)
        shutil.copy(drawings[10], folder)
        until(lambda: books(output)[:2] == (11, 11), process)
        (old,) = {row["_fingerprint"] for row in read_rows(output)}

        shutil.copytree(tmp_path / "trained", models / "newer")
        until(lambda: json.loads((output / "job.json").read_text())["fingerprint"] != old, process)
        for picture in drawings[11:15]:
            shutil.copy(picture, folder)
        until(lambda: books(output)[:2] == (15, 15), process)
        end(process)
    made = {row["id"]: row["_fingerprint"] for row in read_rows(output)}
    assert {made[picture.name] for picture in drawings[:11]} == {old}
    (new,) = {made[picture.name] for picture in drawings[11:15]}
    assert new == mmstream.load(models / "newer").fingerprint
    assert "refused" not in capfd.readouterr().err  # it was said once
    assert run("audit", output, "--input", folder) == 0
    with watching(road, folder, output, "--follow", str(models)) as process:
        until(lambda: books(output) == (15, 0, 0, 15, 15, 0), process)
        end(process)
    assert {row["id"]: row["_fingerprint"] for row in read_rows(output)} == made
