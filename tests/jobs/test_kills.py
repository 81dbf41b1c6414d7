"""Kills of a labelling job: a rerun gives the bytes of an undisturbed run.

A test that kills asserts that SIGKILL is what ended the job: it was still running.
"""

from __future__ import annotations

import json
import random
import shutil
import signal

import pytest
from faults import Faults, planted
from forks import run_planted
from planting import KILL
from small_road import COMMITTED, run, snapshot, write_manifest

from mmstream.outputs import commit_records, commits

FILES, LABELLING = "mmstream.storage.files", "mmstream.trained_model.labelling"
COUNT = """
def plant(module):
    import os, signal
    from mmstream.outputs import parts
    from mmstream.storage import files
    parts.RECORDS_PER_PART = 500
    label_batch, write_bytes, committed = module.label_batch, files.write_bytes, []

    def counted(records, *more):
        results = label_batch(records, *more)
        descriptor = os.open({file!r}, os.O_APPEND | os.O_CREAT | os.O_WRONLY)
        os.write(descriptor, b"." * len(records))
        os.close(descriptor)
        return results

    def planted(path, data):
        write_bytes(path, data)
        if "/parts/part-" in path:
            committed.append(path)
            if len(committed) == {last}:
                os.kill(os.getpid(), signal.SIGKILL)

    module.label_batch, files.write_bytes = counted, planted
"""
"""For `mmstream.trained_model.labelling`: a byte in a file for each record that is labelled, SIGKILL once so many parts
are committed, and parts of 500 records."""
DIE = """
def plant(module):
    import os, signal
    from pathlib import Path
    from faults import Faults, planted
    faults = Faults(Path({output!r}), {at}, lambda path: os.kill(os.getpid(), signal.SIGKILL))
    module.planted = planted(faults)  # kept, or it would end here
    module.planted.__enter__()
"""
"""SIGKILL at the so-many-eth thing that is done with files of an output."""
SHARES = 10


@pytest.fixture(scope="module")
def undisturbed(road, tmp_path_factory):
    """(manifest, labels of it): 900 records, some of them broken."""
    data = road.folder / "data"
    pictures = sorted(path.relative_to(data).as_posix() for path in data.glob("*moji/*.png"))
    rows = [{"id": f"k{n:05d}", "image": pictures[n % len(pictures)]} for n in range(900)]
    for place in (7, 77, 777):
        rows[place]["image"] = "not_there.png"
    manifest = write_manifest(data / "killed.jsonl", rows)
    output = tmp_path_factory.mktemp("undisturbed") / "out"
    assert run("label", road.model, "--input", manifest, "--output", output) == 0
    return manifest, output


@pytest.mark.parametrize(
    ("point", "before", "done"),
    [
        ("labels/part-00000.parquet.mmstream-tmp", False, False),  # one file of two is written beside its place
        ("labels/part-00000.parquet", False, True),  # one file of two is in its place
        *(
            pytest.param(*each, marks=pytest.mark.slow)
            for each in (
                ("parts/next-00000.json", True, False),  # both are beside their places
                ("parts/next-00000.json", False, True),  # the part is as good as committed
                ("parts/part-00000.json", False, True),
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
    label = ("label", road.model, "--input", manifest, "--output", output)
    assert run_planted(FILES, KILL.format(point=point, before=before), *label) == -signal.SIGKILL
    assert run(*label) == 0
    assert snapshot(output, *COMMITTED) == snapshot(whole, *COMMITTED)
    assert json.loads((output / "label.json").read_text())["skipped"] == (900 if done else 0)


@pytest.mark.parametrize("point", ["dead_letters/part-00000.jsonl", "labels/part-00000.parquet"])
def test_a_kill_between_the_files_of_a_part_loses_nothing_of_another_input(road, undisturbed, tmp_path, point):
    manifest, whole = undisturbed
    shutil.copytree(whole, tmp_path / "out")
    other = write_manifest(manifest.with_name("other.jsonl"), [{"id": "other", "image": "not_there_either.png"}])
    label = ("label", road.model, "--input", other, "--output", tmp_path / "out")
    assert run_planted(FILES, KILL.format(point=point, before=False), *label) == -signal.SIGKILL
    assert run("audit", tmp_path / "out") == 1
    assert run(*label) == 0
    about = json.loads((tmp_path / "out" / "label.json").read_text())
    assert (about["rows"], about["dead_letters"], about["of_other_inputs"]) == (897, 4, 900)
    assert run("audit", tmp_path / "out", "--input", manifest) == 0


@pytest.mark.slow
def test_at_most_one_part_is_done_twice_and_all_have_the_same_bytes(road, pictures, tmp_path):
    manifest = write_manifest(road.folder / "data" / "eight.jsonl", pictures(4000))
    output, whole, count = (tmp_path / name for name in ("out", "whole", "count"))
    label = ("label", road.model, "--threads", 2, "--input", manifest, "--output")
    never, at_the_third = (COUNT.format(file=str(count), last=last) for last in (0, 3))
    assert run_planted(LABELLING, never, *label, whole) == 0
    count.unlink()
    assert run_planted(LABELLING, at_the_third, *label, output) == -signal.SIGKILL
    assert 3 <= len(list((output / "parts").glob("part-*.json"))) < 8
    assert run_planted(LABELLING, never, *label, output) == 0
    assert snapshot(output, *COMMITTED) == snapshot(whole, *COMMITTED)
    records = [json.loads(path.read_text()) for path in (output / "parts").glob("part-*.json")]
    largest, batches_in_hand = max(record["counts"]["labelled"] for record in records), 3 * 2 * 64
    assert count.stat().st_size - 4000 <= largest + batches_in_hand
    about = json.loads((output / "label.json").read_text())
    assert about["read"] == about["labelled"] + about["skipped"] == 4000
    assert about["skipped"] > 0


@pytest.fixture(scope="module")
def moments(road, undisturbed, tmp_path_factory):
    """How many things a run does with files of its output."""
    output = tmp_path_factory.mktemp("counted") / "out"
    counted = Faults(output)
    with planted(counted):
        assert run("label", road.model, "--input", undisturbed[0], "--output", output) == 0
    return counted.count


@pytest.mark.slow
@pytest.mark.parametrize("share", range(SHARES))
def test_a_kill_at_a_random_moment(road, undisturbed, moments, tmp_path, share):
    """From each share of a run's moments, one is drawn; what happens between two of them leaves nothing on the disk."""
    manifest, whole = undisturbed
    output = tmp_path / "out"
    at = 1 + int(moments * (share + random.Random(share).random()) / SHARES)
    label = ("label", road.model, "--input", manifest, "--output", output)
    assert run_planted(FILES, DIE.format(output=str(output), at=at), *label) == -signal.SIGKILL
    is_done = commit_records.recorded(str(output), 0) or commits.pending(str(output))
    assert run(*label) == 0
    assert snapshot(output, *COMMITTED) == snapshot(whole, *COMMITTED)
    assert json.loads((output / "label.json").read_text())["skipped"] == (900 if is_done else 0)
