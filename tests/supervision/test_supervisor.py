"""A record that kills or hangs the process that works on it ends in quarantine alone, and the run goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from planting import POISON, plant
from small_road import COMMITTED, read_lines, read_rows, snapshot, write_manifest

from mmstream.runtime import alive

COMMAND = [sys.executable, "-m", "mmstream.cli"]


@pytest.fixture
def poisoned(road, pictures):
    """A manifest of 100 records, some of them poisoned."""

    def make(*kinds: str) -> Path:
        rows = pictures(100)
        for place, kind in enumerate(kinds):
            (road.folder / "data" / f"{kind}.poison").write_bytes(kind.encode())
            rows[10 + 40 * place]["image"] = f"{kind}.poison"
        return write_manifest(road.folder / "data" / "poisoned.jsonl", rows)

    return make


def supervised(
    *arguments: object, env: dict[str, str] | None = None, folder: Path | None = None
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", *COMMAND[1:], *map(str, arguments)]
    return subprocess.run(command, env=env, cwd=folder, capture_output=True, text=True, timeout=500)


@pytest.mark.slow
def test_a_record_that_aborts_and_one_that_hangs_end_in_quarantine_alone(road, poisoned, tmp_path):
    manifest = poisoned("abort", "sleep")
    env = plant(tmp_path / "planted", "mmstream_image.field", POISON)
    label = ("label", road.model, "--input", manifest, "--output", tmp_path / "out", "--stall-timeout", 20)
    (tmp_path / "base64.py").write_text("raise ImportError('the data were imported')")
    done = supervised(*label, env=env, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    letters = {letter["row"]["image"]: letter for letter in read_lines(tmp_path / "out" / "dead_letters")}
    assert sorted(letters) == ["abort.poison", "sleep.poison"]
    assert {letter["stage"] for letter in letters.values()} == {"quarantine"}
    assert "SIGABRT" in letters["abort.poison"]["message"]
    assert "20 s" in letters["sleep.poison"]["message"]
    assert len(read_rows(tmp_path / "out")) == 98
    before = snapshot(tmp_path / "out", *COMMITTED)
    again = supervised(*label, env=env)  # they are known now, and not tried again
    assert "quarantined" not in again.stderr
    assert snapshot(tmp_path / "out", *COMMITTED) == before


READER = """
def plant(module):
    import time
    read = module.Media.read

    def planted(self, reference, max_bytes):
        if reference == "sleep.poison":
            time.sleep(100_000)
        return read(self, reference, max_bytes)

    module.Media.read = planted
"""


@pytest.mark.slow
def test_a_file_that_cannot_be_read_to_its_end_goes_to_quarantine(road, poisoned, tmp_path):
    env = plant(tmp_path / "planted", "mmstream.records.media", READER)
    label = ("label", road.model, "--input", poisoned("sleep"), "--output", tmp_path / "out", "--stall-timeout", 20)
    done = supervised(*label, env=env)
    assert done.returncode == 0, done.stderr
    before = snapshot(tmp_path / "out", *COMMITTED)
    (letter,) = read_lines(tmp_path / "out" / "dead_letters")
    assert (letter["stage"], letter["error"], letter["row"]["image"]) == ("quarantine", "Stalled", "sleep.poison")
    assert supervised(*label, env=env).returncode == 0
    assert snapshot(tmp_path / "out", *COMMITTED) == before


SLOW = """
def plant(module):
    import sys, time
    read = module.Media.read

    def planted(self, reference, max_bytes):
        golden = str(reference).startswith("media/")
        if sys.modules["__main__"].__spec__.name != "mmstream.supervision.probe" and not golden:
            time.sleep(15)
        return read(self, reference, max_bytes)

    module.Media.read = planted
"""


@pytest.mark.slow
def test_a_worker_that_is_merely_slow_gets_more_time_and_nobody_is_blamed(road, pictures, tmp_path):
    env = plant(tmp_path / "planted", "mmstream.records.media", SLOW)
    manifest = write_manifest(road.folder / "data" / "one.jsonl", pictures(1))
    label = ("label", road.model, "--input", manifest, "--output", tmp_path / "out", "--stall-timeout", 10)
    done = supervised(*label, env=env)
    assert done.returncode == 0, done.stderr
    assert "no record hangs, so this machine is slow; from now on a worker may take 20 s" in done.stderr
    assert "quarantined" not in done.stderr
    assert len(read_rows(tmp_path / "out")) == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "error", "message"),
    [("fill", "OutOfMemory", "memory"), ("leave", "Killed", "exit(0)")],  # a library that calls exit is not believed
)
def test_a_record_that_ends_the_process_in_another_way_ends_in_quarantine_alone(
    road, poisoned, tmp_path, kind, error, message
):
    env = plant(tmp_path / "planted", "mmstream_image.field", POISON)
    done = supervised("label", road.model, "--input", poisoned(kind), "--output", tmp_path / "out", env=env)
    assert done.returncode == 0, done.stderr
    (letter,) = read_lines(tmp_path / "out" / "dead_letters")
    assert (letter["stage"], letter["error"], letter["row"]["image"]) == ("quarantine", error, f"{kind}.poison")
    assert message in letter["message"]
    assert len(read_rows(tmp_path / "out")) == 99


@pytest.mark.slow
def test_preprocessing_quarantines_too(road, poisoned, tmp_path):
    rows = [json.loads(line) for line in (road.folder / "data" / "sample.jsonl").read_text().splitlines()]
    (road.folder / "data" / "abort.poison").write_bytes(b"abort")
    rows[7]["image"] = "abort.poison"
    manifest = write_manifest(road.folder / "data" / "poisoned_sample.jsonl", rows)
    env = plant(tmp_path / "planted", "mmstream_image.field", POISON)
    command = ("preprocess", road.config, "--set", f"source.path={manifest}", "--output", tmp_path / "out")
    done = supervised(*command, env=env)
    assert done.returncode == 0, done.stderr
    (letter,) = read_lines(tmp_path / "out" / "dead_letters")
    assert (letter["stage"], letter["row"]["image"]) == ("quarantine", "abort.poison")
    about = json.loads((tmp_path / "out" / "preprocess.json").read_text())
    assert about["examples"] + about["skipped"] == len(rows) - 1
    before = snapshot(tmp_path / "out", "examples", "dead_letters", "parts", "golden")
    again = supervised(*command, env=env)
    assert "quarantined" not in again.stderr
    assert snapshot(tmp_path / "out", "examples", "dead_letters", "parts", "golden") == before
    assert json.loads((tmp_path / "out" / "preprocess.json").read_text())["skipped"] == len(rows)


SMALL_PARTS = """
def plant(module):
    module.RECORDS_PER_PART = 50
"""
HOLDS_STILL = """
def plant(module):
    import time
    from pathlib import Path
    from mmstream.outputs import parts
    parts.RECORDS_PER_PART = 50
    write, holds = module.write_bytes, Path({holds!r})

    def planted(path, data):
        write(path, data)
        if "/parts/part-" in path and not holds.exists():
            holds.touch()
            time.sleep(100_000)

    module.write_bytes = planted
"""
"""For `mmstream.storage.files`: the first worker that commits a part goes on with nothing else."""


def until(fact: Callable[[], object], process: subprocess.Popen[str]) -> None:
    """Wait for something that a job does, and see that it is still at work."""
    end = time.monotonic() + 300
    while not fact():
        assert process.poll() is None, "it has ended before"
        assert time.monotonic() < end, "nothing happens"
        time.sleep(0.01)
    assert process.poll() is None, "it has ended before"


@pytest.mark.slow
def test_a_worker_that_is_killed_from_outside_is_started_again_and_blames_nobody(road, pictures, tmp_path):
    manifest = write_manifest(road.folder / "data" / "many.jsonl", pictures(400))
    command = [*COMMAND, "label", str(road.model), "--input", str(manifest), "--output", str(tmp_path / "out")]
    temporary, holds = tmp_path / "tmp", tmp_path / "holds"
    temporary.mkdir()
    planted = plant(tmp_path / "planted", "mmstream.storage.files", HOLDS_STILL.format(holds=str(holds)))
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**planted, "TMPDIR": str(temporary)})
    until(holds.exists, process)
    os.kill(json.loads((tmp_path / "out" / ".lock").read_text())["process"], signal.SIGKILL)
    _, said = process.communicate(timeout=300)
    assert process.returncode == 0, said
    assert "was ended by SIGKILL" in said
    assert len(read_rows(tmp_path / "out")) == 400
    assert json.loads((tmp_path / "out" / "label.json").read_text())["skipped"] > 0
    assert not read_lines(tmp_path / "out" / "dead_letters")
    assert not list(temporary.iterdir())


DIES = """
def plant(module):
    import os, signal
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.slow
def test_a_worker_that_dies_again_and_again_and_gets_nothing_done_is_given_up(road, pictures, tmp_path):
    env = plant(tmp_path / "planted", "mmstream_image.field", DIES)
    manifest = write_manifest(road.folder / "data" / "one.jsonl", pictures(1))
    done = supervised("label", road.model, "--input", manifest, "--output", tmp_path / "out", env=env)
    assert done.returncode == 1
    assert "the worker process died 5 times, and none of the records that it was processing is at fault" in done.stderr


def test_a_command_within_a_worker_is_not_taken_for_it(tmp_path):
    env = {**os.environ, alive.FOLDER: str(tmp_path)}
    subprocess.run([*COMMAND, "plugins", "list"], env=env, check=True, capture_output=True)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("can_remove", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_a_worker_does_not_outlive_its_supervisor(road, pictures, tmp_path, can_remove):
    manifest = write_manifest(road.folder / "data" / "many.jsonl", pictures(6000))
    command = [*COMMAND, "label", str(road.model), "--input", str(manifest), "--output", str(tmp_path / "out")]
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    environment = {**os.environ, "TMPDIR": str(temporary), **({} if can_remove else {"PATH": ""})}
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, env=environment)
    lock = tmp_path / "out" / ".lock"
    until(lambda: lock.exists() and lock.read_text(), process)
    working = json.loads(lock.read_text())["process"]
    assert is_alive(working)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    end = time.monotonic() + 10
    while (is_alive(working) or (can_remove and list(temporary.iterdir()))) and time.monotonic() < end:
        time.sleep(0.05)
    assert working != process.pid
    assert not is_alive(working)
    assert bool(list(temporary.iterdir())) != can_remove


def is_alive(process: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_a_job_that_is_asked_to_end_does_so_with_one_message_and_goes_on_later(road, pictures, tmp_path, number):
    manifest = write_manifest(road.folder / "data" / "several.jsonl", pictures(2000))
    command = [*COMMAND, "label", str(road.model), "--input", str(manifest), "--output", str(tmp_path / "out")]
    env = plant(tmp_path / "planted", "mmstream.outputs.parts", SMALL_PARTS)
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=env)
    parts = tmp_path / "out" / "parts"
    until(lambda: list(parts.glob("part-*.json")), process)
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert said.count("run the same command again to continue") == 1, said
    assert "Traceback" not in said
    assert not (parts.parent / ".lock").exists()
    assert subprocess.run(command, capture_output=True).returncode == 0
    assert len(read_rows(tmp_path / "out")) == 2000


CRASHES_AT_ITS_END = """
def plant(module):
    import atexit, os
    atexit.register(os.abort)
"""


def test_a_library_that_crashes_when_all_is_done_changes_nothing(road, pictures, tmp_path):
    env = plant(tmp_path / "planted", "mmstream_image.field", CRASHES_AT_ITS_END)
    manifest = write_manifest(road.folder / "data" / "one.jsonl", pictures(1))
    done = supervised("label", road.model, "--input", manifest, "--output", tmp_path / "out", env=env)
    assert done.returncode == 0, done.stderr
    assert "starting a new worker" not in done.stderr
    assert len(read_rows(tmp_path / "out")) == 1


def test_wrong_usage_and_failures_come_through(road, tmp_path):
    assert (
        supervised("label", road.model, "--input", tmp_path / "nothing.jsonl", "--output", tmp_path / "o").returncode
        == 1
    )
    assert supervised("label", road.model, "--input", road.model).returncode == 2
