"""One job at a time writes to an output, and one that was robbed of it commits nothing more."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

import pytest
from small_road import run, write_manifest

from mmstream.errors import MmstreamError
from mmstream.outputs import lock

HOLD = """
import sys, time
from mmstream.outputs import lock
with lock.held(sys.argv[1], "the first run"):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def holder(tmp_path):
    """A process that holds `tmp_path / "out"`."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, tmp_path / "out"], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()


def test_the_second_is_refused_and_told_who_is_first(tmp_path, holder):
    refused = pytest.raises(MmstreamError, match=f"process {holder.pid} on .*, since 20.*--break-lock")
    with refused, lock.held(str(tmp_path / "out"), "the second run"):
        pass


def test_a_dead_process_holds_nothing(tmp_path, holder):
    holder.kill()
    with lock.held(str(tmp_path / "out"), "the second run"):
        lock.check(str(tmp_path / "out"), "the second run")
    assert not (tmp_path / "out" / ".lock").exists()


def test_who_was_robbed_of_an_output_may_not_commit(tmp_path):
    output = str(tmp_path / "out")
    with lock.held(output, "the first run"):
        with lock.held(output, "the second run", take_over=True):
            lock.check(output, "the second run")
            with pytest.raises(MmstreamError, match="was taken over by process"):
                lock.check(output, "the first run")
        with pytest.raises(MmstreamError, match="was taken over"):
            lock.check(output, "the first run")


def test_a_job_is_refused_while_another_writes(road, pictures, tmp_path, holder, capsys):
    manifest = write_manifest(road.folder / "data" / "few.jsonl", pictures(3))
    command = ("label", road.model, "--input", manifest, "--output", tmp_path / "out")
    assert run(*command) == 1
    assert f"process {holder.pid}" in capsys.readouterr().err
    assert not (tmp_path / "out" / "parts" / "plan.json").exists()
    assert run(*command, "--break-lock") == 0


def test_a_training_is_refused_while_another_writes_to_its_model(road, tmp_path, holder, capsys):
    assert run("train", road.config, "--examples", road.examples, "--output", tmp_path / "out") == 1
    assert f"process {holder.pid}" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "out").iterdir()] == [lock.FILE]


@pytest.fixture
def bucket(monkeypatch):
    """An object store: what is written below "mem://" lands in a dict."""
    held: dict[str, bytes] = {}

    def read(path: str) -> bytes:
        if path not in held:
            raise FileNotFoundError(path)
        return held[path]

    monkeypatch.setattr(lock.files, "read_bytes", read)
    monkeypatch.setattr(lock.files, "write_bytes", held.__setitem__)
    monkeypatch.setattr(lock.files, "remove", lambda path: held.pop(path, None))
    return held


def test_on_an_object_store_a_lease_is_renewed_and_goes_stale(bucket, monkeypatch):
    monkeypatch.setattr(lock, "_HEARTBEAT_SECONDS", 0.05)
    path = "mem://bucket/out/.lock"
    with lock.held("mem://bucket/out", "the first run"):
        first = json.loads(bucket[path])["renewed"]
        refused = pytest.raises(MmstreamError, match="another job is writing")
        with refused, lock.held("mem://bucket/out", "the second run"):
            pass
        while json.loads(bucket[path])["renewed"] <= first:
            os.sched_yield()
    assert path not in bucket
    owner = lock.Owner("a run that died", "elsewhere", 1, "long ago", time.time() - 1000)
    bucket[path] = json.dumps(lock.dataclasses.asdict(owner)).encode()
    with lock.held("mem://bucket/out", "the third run"):
        lock.check("mem://bucket/out", "the third run")
