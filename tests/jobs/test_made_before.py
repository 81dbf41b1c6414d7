"""What an earlier mmstream made is read and gone on with; `tests/made_before/make.py` says what that is.

Floats are compared within a tolerance, as another processor adds up in another order. Labels, digests, fingerprints
and whatever was committed are compared as they are.
"""

from __future__ import annotations

import csv
import json
import shutil
import tarfile
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest
from make import ARCHIVE, CHANGES, PLACE, SINKS, settings, unpack_pictures
from small_road import COMMITTED, read_lines, run, snapshot

from mmstream.outputs import parts
from mmstream.trained_model import model_directory
from mmstream.trained_model.versions import versions_of

INPUT = "data/to_label.jsonl"
SCORES = 1e-4
MODELS = [pytest.param(model, marks=[pytest.mark.slow] * (model != "concat")) for model in CHANGES]


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made_before")
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(folder, filter="data")
    unpack_pictures(folder / "data")
    return folder


@pytest.fixture(autouse=True)
def here(unpacked, tmp_path, monkeypatch):
    """A copy of what was made, which is the working directory; packages count as of the versions of then.

    Outputs say where the model and their inputs lie, and are told where that is now; nothing else is changed.
    """
    folder = tmp_path / "here"
    shutil.copytree(unpacked, folder)
    monkeypatch.chdir(folder)
    for path in Path("labels").rglob("job.json"):
        path.write_text(path.read_text().replace(str(PLACE), str(folder)))
    then = {}
    for path in Path("models").glob("*/model.json"):
        then |= json.loads(path.read_text())["versions"]
    monkeypatch.setattr(
        model_directory, "versions_of", lambda config: {name: then[name] for name in versions_of(config)}
    )
    return folder


def rows_of(output: Path) -> list[dict[str, Any]]:
    """The label rows of an output, part by part, texts of numbers as numbers."""
    rows = []
    for path in sorted((output / "labels").iterdir()):
        if path.suffix == ".parquet":
            rows += pyarrow.parquet.read_table(path).to_pylist()
        elif path.suffix == ".jsonl":
            rows += map(json.loads, path.read_text().splitlines())
        else:
            with path.open(newline="") as file:
                rows += [{name: as_number(text) for name, text in row.items()} for row in csv.DictReader(file)]
    return rows


def as_number(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def near(value: Any, tolerance: float) -> Any:
    """What equals a value but for the last digits of its floats."""
    if isinstance(value, dict):
        return {name: near(each, tolerance) for name, each in value.items()}
    if isinstance(value, list):
        return [near(each, tolerance) for each in value]
    return pytest.approx(value, abs=tolerance, rel=tolerance) if isinstance(value, float) else value


def within(before: Any, now: Any) -> Any:
    """What a dict holds of the keys that it had before, at any depth: newer metrics are left out."""
    if not isinstance(before, dict) or not isinstance(now, dict):
        return now
    return {name: within(each, now[name]) for name, each in before.items()}


def books(output: str) -> tuple[int, ...]:
    about = json.loads(Path(output, "label.json").read_text())
    return tuple(about[name] for name in ("read", "labelled", "dead_lettered", "skipped"))


@pytest.mark.parametrize("model", MODELS)
def test_a_model_proves_itself_and_labels_as_it_did(model, here):
    assert run("verify", f"models/{model}") == 0
    before, output = Path("labels") / model, Path("anew")
    (output / "parts").mkdir(parents=True)
    shutil.copy(before / parts.PLAN, output / parts.PLAN)
    sink = SINKS.get(model, "parquet")
    assert run("label", f"models/{model}", "--input", INPUT, "--output", output, "--sink", sink) == 0
    assert rows_of(output) == near(rows_of(before), SCORES)
    assert read_lines(output / "dead_letters") == read_lines(before / "dead_letters")
    assert [path.name for path in sorted(output.glob("*/part-*"))] == [
        path.name for path in sorted(before.glob("*/part-*"))
    ]


@pytest.mark.parametrize("model", MODELS)
def test_a_model_is_evaluated_as_it_was(model):
    assert run("evaluate", f"models/{model}", "--examples", "examples", "--baselines", "none") == 0
    now, before = [
        json.loads(Path(path).read_text())
        for path in (f"models/{model}/evaluation/test/metrics.json", f"metrics/{model}.json")
    ]
    for head in before["heads"]:
        said = [metrics["heads"][head].pop("warnings", []) for metrics in (now, before)]
        assert len(said[0]) == len(said[1]), "the words may have become plainer since"
    assert within(before, now) == near(before, SCORES)


@pytest.mark.parametrize("model", CHANGES)
def test_nothing_is_found_in_a_whole_output(model, here):
    before = snapshot(here / "labels" / model, "")
    assert run("audit", f"labels/{model}", "--input", INPUT) == 0
    assert run("repair", f"labels/{model}") == 0
    assert run("audit", f"labels/{model}") == 0
    assert snapshot(here / "labels" / model, "") == before


def test_a_rerun_leaves_what_is_there(here):
    before = snapshot(here / "labels" / "attention", *COMMITTED)
    assert run("label", "models/attention", "--input", INPUT, "--output", "labels/attention") == 0
    assert books("labels/attention") == (31, 0, 0, 31)
    assert snapshot(here / "labels" / "attention", *COMMITTED) == before


def test_an_output_that_stopped_half_way_is_finished(here):
    output, whole = here / "labels" / "interrupted", here / "labels" / "attention"
    before, undisturbed = snapshot(output, *COMMITTED), snapshot(whole, *COMMITTED)
    begun = [name for name in before if "/next-" in name or "/." in name]
    assert begun, "what was killed had begun to commit"
    kept = {name: data for name, data in before.items() if name not in begun}
    assert {name: undisturbed[name] for name in kept} == kept
    assert run("label", "models/attention", "--input", INPUT, "--output", output) == 0
    after = snapshot(output, *COMMITTED)
    assert after.keys() == undisturbed.keys()
    assert {name: after[name] for name in kept} == kept
    read, labelled, dead_lettered, skipped = books(output)
    assert read == labelled + dead_lettered + skipped == 31
    assert skipped > 0 < labelled
    assert rows_of(output) == near(rows_of(whole), SCORES)
    assert read_lines(output / "dead_letters") == read_lines(whole / "dead_letters")
    assert run("audit", output, "--input", INPUT) == 0


@pytest.mark.slow
def test_dead_letters_are_replayed(here):
    shutil.copy("data/twemoji/bear.png", "data/mended_later.png")
    assert run("replay", "labels/attention") == 0
    assert len(rows_of(here / "labels" / "attention")) == 29
    assert run("audit", "labels/attention", "--input", INPUT) == 0


def test_an_output_is_cut_anew(here, monkeypatch):
    before = rows_of(here / "labels" / "attention")
    monkeypatch.setattr(parts, "RECORDS_PER_PART", 4)
    assert run("repartition", "labels/attention") == 0
    assert json.loads(Path("labels/attention", parts.PLAN).read_text())["parts"] == 8
    after = rows_of(here / "labels" / "attention")
    assert sorted(after, key=lambda row: row["id"]) == sorted(before, key=lambda row: row["id"])
    assert run("audit", "labels/attention", "--input", INPUT) == 0


@pytest.mark.slow
def test_examples_are_left_as_they_are(here):
    folders = ("examples", "dead_letters", "parts", "transform", "golden")
    before = snapshot(here / "examples", *folders)
    assert run("preprocess", "config.yaml", "--output", "examples") == 0
    assert json.loads(Path("examples/preprocess.json").read_text())["skipped"] == 32
    assert snapshot(here / "examples", *folders) == before


@pytest.mark.parametrize("model", CHANGES)
def test_a_training_that_is_over_stays_so(model, here):
    before = snapshot(here / "models" / model, "")
    assert run("train", "config.yaml", *settings(model), "--examples", "examples", "--output", f"models/{model}") == 0
    assert snapshot(here / "models" / model, "") == before


def test_a_training_that_was_killed_goes_on(capfd):
    arguments = ("--examples", "examples", "--output", "models/interrupted")
    assert run("train", "config.yaml", *settings("concat"), *arguments) == 0
    assert "Epoch 1/2" not in capfd.readouterr().out
    resumed, undisturbed = [
        [{name: as_number(text) for name, text in row.items()} for row in csv.DictReader(path.read_text().splitlines())]
        for path in (Path("models/interrupted/history.csv"), Path("models/concat/history.csv"))
    ]
    assert resumed[0] == near(undisturbed[0], 1e-3), "the epoch before the kill, on the machine where both were trained"
    assert [row["epoch"] for row in resumed] == [1, 2]
    assert resumed[1].keys() == undisturbed[1].keys()
    assert run("verify", "models/interrupted") == 0
