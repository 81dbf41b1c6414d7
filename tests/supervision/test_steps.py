"""What hangs or dies while it lists or reads ends the command with one message, before any record is to blame."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from planting import plant

from mmstream.errors import MmstreamError
from mmstream.runtime import alive
from mmstream.supervision.children import Children

CONFIG = """
source: {{use: jsonl, path: {path}, id: id}}
split: {{validation: 0.2, test: 0.2}}
fields:
  text: {{use: text, length: 8}}
  kind: {{use: category}}
model:
  width: 16
  encoders: {{text: {{use: gru}}}}
  heads: {{kind: {{use: classification, reads: text}}}}
training: {{epochs: 1, batch_size: 16}}
"""
PLANT = """
def plant(module):
    import os, time
    cut, row = module._cut, module._row

    def planted_cut(file):
        {cut}
        yield from cut(file)

    def planted_row(origin, line, whole):
        if b'"r3"' in line:
            {row}
        return row(origin, line, whole)

    module._cut, module._row = planted_cut, planted_row
"""
HANG = "time.sleep(100_000)"


def preprocess(tmp_path: Path, cut: str = "pass", row: str = "pass") -> subprocess.CompletedProcess[str]:
    """Preprocess a small table with faults planted where files are cut into pieces, or where a row is read."""
    data = tmp_path / "data.jsonl"
    rows = [{"id": f"r{n}", "text": f"word {n % 7}", "kind": "ab"[n % 2]} for n in range(60)]
    data.write_text("".join(json.dumps(each) + "\n" for each in rows))
    (tmp_path / "config.yaml").write_text(CONFIG.format(path=data))
    env = plant(tmp_path / "planted", "mmstream_io.jsonl", PLANT.format(cut=cut, row=row))
    command = [sys.executable, "-P", "-m", "mmstream.cli", "preprocess", str(tmp_path / "config.yaml")]
    command += ["--output", str(tmp_path / "out"), "--stall-timeout", "3"]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=500)


@pytest.mark.parametrize("what", ["cut", pytest.param("row", marks=pytest.mark.slow)])
def test_a_hang_while_listing_or_reading_ends_the_command_with_one_message(tmp_path, what):
    done = preprocess(tmp_path, **{what: HANG})
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    where = f"looking through {tmp_path / 'data.jsonl'}" if what == "cut" else "reading data.jsonl"
    assert line.startswith(f"mmstream: {where} did not finish within 3 s (--stall-timeout)")


@pytest.mark.slow
def test_memory_that_runs_out_while_listing_ends_the_command_with_one_message(tmp_path):
    done = preprocess(tmp_path, cut="raise MemoryError")
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line == f"mmstream: looking through {tmp_path / 'data.jsonl'} needs more memory than is available"


@pytest.mark.slow
@pytest.mark.parametrize("what", ["cut", "row"])
def test_a_file_that_ends_the_process_that_reads_it_ends_the_command_at_its_second_death(tmp_path, what):
    done = preprocess(tmp_path, **{what: "os.abort()"})
    assert done.returncode == 1
    assert done.stderr.count("starting a new worker") == 1
    assert "has ended the worker process twice (SIGABRT)" in done.stderr.splitlines()[-1]


@pytest.fixture
def watched(tmp_path, monkeypatch):
    """A folder of notes that this process writes into."""
    monkeypatch.setenv(alive.FOLDER, str(tmp_path))
    return lambda: [alive.look(path) for path in tmp_path.glob(alive.STEPS)]


def test_a_step_is_seen_while_it_lasts_and_its_signs_are_counted(watched):
    with alive.step("looking through a"):
        (before,) = watched()
        alive.progress()
        (after,) = watched()
        with alive.step("reading é\n"):
            assert watched()[0].what == "reading é\n"
        assert watched()[0].what == "looking through a"
    assert (before.what, after.what, watched()[0].what) == ("looking through a", "looking through a", "")
    assert after.signs > before.signs


def test_what_is_counted_steadily_takes_the_time_that_it_takes_and_what_is_not_has_stalled(watched, tmp_path):
    now = 0.0
    children = Children(tmp_path, 3, clock=lambda: now)
    with alive.step("looking through a"):
        for _ in range(40):
            now += 2
            alive.progress()
            assert children.stalled_step() == ""
        now += 3
        assert children.stalled_step() == ""
        now += 1
        assert children.stalled_step() == "looking through a"
    assert children.stalled_step() == ""


def test_what_is_done_with_an_item_is_no_part_of_the_step_that_took_it(watched):
    seen = []

    def items():
        for number in range(3):
            seen.append(watched()[0].what)
            yield number

    assert [(item, watched()[0].what) for item in alive.watched("reading b", items())] == [(0, ""), (1, ""), (2, "")]
    assert seen == ["reading b"] * 3


def test_every_thread_has_a_step_of_its_own(watched):
    def work() -> None:
        with alive.step("reading c"):
            both.wait()
            both.wait()

    both = threading.Barrier(3)
    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    both.wait()
    assert [step.what for step in watched()] == ["reading c"] * 2
    both.wait()
    for thread in threads:
        thread.join()
    assert [step.what for step in watched()] == [""] * 2


@pytest.mark.parametrize("supervised", [True, False])
def test_memory_that_runs_out_in_a_step_is_an_error_for_the_user_that_names_it(tmp_path, monkeypatch, supervised):
    if supervised:
        monkeypatch.setenv(alive.FOLDER, str(tmp_path))
    with pytest.raises(MmstreamError, match="reading d needs more memory than is available"), alive.step("reading d"):
        raise MemoryError


def test_without_a_supervisor_nothing_is_noted(tmp_path, monkeypatch):
    monkeypatch.delenv(alive.FOLDER, raising=False)
    monkeypatch.chdir(tmp_path)
    with alive.step("reading e"):
        alive.progress()
    assert list(alive.watched("reading e", [1, 2])) == [1, 2]
    assert not list(tmp_path.iterdir())


def test_a_very_long_name_is_cut_off(watched):
    with alive.step("reading " + "猫" * 5_000):
        assert watched()[0].what.startswith("reading 猫猫")
