"""Each thing that a command does with its output's files fails in turn: nothing is lost, and a rerun completes.

SWEEP_POINTS in the environment says how many failures of each command are tried, SWEEP_SEED which.
"""

from __future__ import annotations

import errno
import json
import os
import random
import shutil

import pytest
from faults import Faults, planted
from small_road import COMMITTED, read_lines, read_rows, run, snapshot, write_manifest

from mmstream.outputs import parts
from mmstream.stages import shared_model
from mmstream.storage import files
from mmstream.trained_model.artefact import TrainedModel

POINTS = int(os.environ.get("SWEEP_POINTS", "8"))
SEED = int(os.environ.get("SWEEP_SEED", "1"))
ERRORS = {
    **{name: getattr(errno, name) for name in ("EIO", "ENOSPC", "EMFILE", "ESTALE", "EACCES", "ETIMEDOUT", "EROFS")},
    "MemoryError": MemoryError,
    "KeyboardInterrupt": KeyboardInterrupt,
}


def failure(name):
    """Makes errors of this name."""
    kind = ERRORS[name]
    return (lambda path: OSError(kind, os.strerror(kind), path)) if isinstance(kind, int) else (lambda path: kind())


@pytest.fixture(scope="module")
def one_network():
    """Let all runs share a network: to load it takes most of the time of a small run."""
    known = {}

    def model(path, **named):
        key = (path, *sorted(named.items()))
        return known.setdefault(key, TrainedModel(path, **named))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shared_model, "TrainedModel", model)
        patch.setattr(parts, "RECORDS_PER_PART", 25)
        yield


@pytest.fixture(scope="module")
def inputs(road):
    """(manifest, another one) of 40 records each; a picture of each is broken, one is missing, one line is no row."""
    data = road.folder / "data"
    pictures = sorted(path.relative_to(data).as_posix() for path in data.glob("*moji/*.png"))[:40]
    made = []
    for name in ("a", "b"):
        rows = [{"id": f"{name}{n:02d}", "image": picture} for n, picture in enumerate(pictures)]
        rows[3]["image"] = f"late_{name}.png"
        made.append(write_manifest(data / f"swept_{name}.jsonl", [*rows, b"not json"]))
    return tuple(made)


@pytest.fixture(scope="module")
def fed_twice(road, one_network, inputs, tmp_path_factory):
    """An output that was fed from both inputs."""
    output = tmp_path_factory.mktemp("swept") / "out"
    for manifest in inputs:
        assert run("label", road.model, "--input", manifest, "--output", output) == 0
    return output


def commands(road, inputs, output):
    """Each command that reads or writes an output, and whether it begins with what is there already."""
    one, other = inputs
    return {
        "label": (("label", road.model, "--input", one, "--output", output), False),
        "second": (("label", road.model, "--input", other, "--output", output), True),
        "sink": (("label", road.model, "--input", one, "--output", output, "--sink", "jsonl"), False),
        "prune": (("label", road.model, "--input", one, "--output", output, "--prune"), True),
        "replay": (("replay", output, "--input", one), True),
        "repartition": (("repartition", output), True),
        "audit": (("audit", output), True),
        "repair": (("repair", output), True),
        "preprocess": (("preprocess", road.config, "--output", output), False),
    }


def content(output):
    """What an output says of its records."""
    return read_rows(output), read_lines(output / "dead_letters"), snapshot(output, *COMMITTED, "examples", "golden")


def start_from(base, output):
    shutil.rmtree(output, ignore_errors=True)
    if base:
        shutil.copytree(base, output)


ON_OUTPUT = ["label", "second", "sink", "prune", "replay", "repartition", "audit", "repair", "preprocess"]
ON_INPUT = ["label", "second", "prune", "replay", "preprocess"]


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(
    ("command", "where"), [*((each, "output") for each in ON_OUTPUT), *((each, "input") for each in ON_INPUT)]
)
def test_nothing_is_lost_by_one_failure(
    road, one_network, inputs, fed_twice, tmp_path, monkeypatch, capfd, command, where
):
    output = tmp_path / "out"
    late = road.folder / "data" / "late_a.png"
    late.unlink(missing_ok=True)
    line, goes_on = commands(road, inputs, output)[command]
    base = fed_twice if goes_on else None
    if command == "replay":
        shutil.copy(road.folder / "data" / read_row_of(inputs[0], 0), late)
    if command == "repartition":
        monkeypatch.setattr(parts, "RECORDS_PER_PART", 5)
    if command == "second":
        base = tmp_path / "once"
        assert run("label", road.model, "--input", inputs[0], "--output", base) == 0
    start_from(base, output)
    folder = output if where == "output" else road.folder / "data"
    counted = Faults(folder)
    with planted(counted):
        assert run(*line) == 0
    expected = content(output)
    choose = random.Random(f"{SEED} {command} {where}")
    problems = []
    points = POINTS // 4 if command == "preprocess" else POINTS  # which takes ten times as long
    for point in sorted(choose.sample(range(1, counted.count + 1), min(points, counted.count))):
        error, lasting = choose.choice(list(ERRORS)), choose.random() < 0.7
        start_from(base, output)
        capfd.readouterr()
        faults = Faults(folder, point, failure(error), lasting=lasting)
        with planted(faults):
            code = run_to_its_end(line)
        said = capfd.readouterr().err
        about = f"{error}{' lasting' if lasting else ''} at {point}, {faults.failed}: {code}: {said[-600:]}"
        if "Traceback" in said or code not in (0, 1, 130):
            problems.append(f"{about}: traceback or exit code")
        if code == 0 and content(output) != expected and where == "output":  # a picture may be a dead letter for once
            problems.append(f"{about}: exit code 0, and the output is another")
        if (again := run_to_its_end(line)) != 0:
            problems.append(f"{about}: the rerun gave {again}: {capfd.readouterr().err[-600:]}")
        elif content(output) != expected:
            problems.append(f"{about}: after a rerun the output is another")
    assert not problems, "\n\n".join(problems)


def read_row_of(manifest, place):
    return json.loads(manifest.read_text().splitlines()[place])["image"]


def run_to_its_end(line):
    """The exit code of a command; what it raised, as a process would show it, if it did not end by itself."""
    try:
        return run(*line)
    except BaseException as error:  # noqa: BLE001 - the test says of which kind it was
        return f"raised {type(error).__name__}: {error}"


def refuse_to_read(monkeypatch, name, number, after=0):
    """Files of this name can be opened so many times, and then never again."""
    open_read, left = files.open_read, iter(range(after))

    def refuse(path):
        if path.endswith(name) and next(left, None) is None:
            raise OSError(number, "planted", path)
        return open_read(path)

    monkeypatch.setattr(files, "open_read", refuse)


@pytest.mark.parametrize("after", [pytest.param(0, marks=pytest.mark.slow), 1])
@pytest.mark.parametrize("name", ["labels/part-00000.parquet", "parts/part-00000.json", "job.json", "parts/plan.json"])
@pytest.mark.parametrize("command", ["label", "replay", "repartition"])
def test_a_file_that_cannot_be_read_is_not_taken_for_damaged(
    road, one_network, inputs, fed_twice, tmp_path, monkeypatch, capsys, command, name, after
):
    output = tmp_path / "out"
    shutil.copytree(fed_twice, output)
    line = {
        "label": ("label", road.model, "--input", inputs[1], "--output", output),
        "replay": ("replay", output, "--input", inputs[1]),
        "repartition": ("repartition", output),
    }[command]
    before = rows_and_letters(output)
    monkeypatch.setattr("mmstream.storage.disk._WAITS_SECONDS", (0, 0))
    with monkeypatch.context() as patched:
        refuse_to_read(patched, name, errno.EMFILE, after)
        code = run(*line)
    said = capsys.readouterr().err
    assert "Traceback" not in said
    assert (code, "planted" in said) in ((0, False), (1, True))
    assert rows_and_letters(output) == before
    assert run(*line) == 0
    assert run("audit", output) == 0
    assert rows_and_letters(output) == before


def rows_and_letters(output):
    """What an output holds, however it is cut into parts."""
    return read_rows(output), sorted(json.dumps(letter) for letter in read_lines(output / "dead_letters"))
