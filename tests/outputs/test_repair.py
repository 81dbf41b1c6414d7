"""Hand edits of an output: each gives one message that names a way out, and the way out works."""

from __future__ import annotations

import json
import shutil

import pytest
from small_road import read_lines, read_rows, run, write_manifest

from mmstream.outputs import parts


@pytest.fixture(scope="module")
def fed(road, tmp_path_factory):
    """(manifest, output) of 60 records in 4 parts; another input was labelled before."""
    data = road.folder / "data"
    pictures = sorted(path.relative_to(data).as_posix() for path in data.glob("*moji/*.png"))[:30]
    output = tmp_path_factory.mktemp("fed") / "out"
    for name in ("first", "second"):
        rows = [{"id": f"{name}{n:02d}", "image": picture} for n, picture in enumerate(pictures)]
        rows[3]["image"] = "not_there.png"
        manifest = write_manifest(data / f"edited_{name}.jsonl", [*rows, b"not json"])
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(parts, "RECORDS_PER_PART", 8)
            assert run("label", road.model, "--input", manifest, "--output", output) == 0
    assert json.loads((output / "parts" / "plan.json").read_text())["parts"] == 4
    return manifest, output


@pytest.fixture
def edited(fed, tmp_path):
    """(manifest, copy of the output that may be edited)."""
    shutil.copytree(fed[1], tmp_path / "out")
    return fed[0], tmp_path / "out"


def ids(output):
    return [row["id"] for row in read_rows(output)], sorted(
        (letter["id"], letter["origin"], letter["input"]) for letter in read_lines(output / "dead_letters")
    )


def change(name, **values):
    """Sets keys of a JSON file; ... removes one."""

    def make(output):
        about = json.loads((output / name).read_text())
        about = {key: value for key, value in {**about, **values}.items() if value is not ...}
        (output / name).write_text(json.dumps(about))

    return make


def write(name, content):
    def make(output):
        (output / name).parent.mkdir(parents=True, exist_ok=True)
        (output / name).write_bytes(content)

    return make


def remove(name):
    return lambda output: (output / name).unlink()


def into_folder(name):
    def make(output):
        (output / name).unlink(missing_ok=True)
        (output / name).mkdir()
        (output / name / "inside").write_bytes(b"x")

    return make


PLAN, JOB, RECORD = "parts/plan.json", "job.json", "parts/part-00001.json"
NOT_JSON = (b"", b"{", b"null", b"[]", b"7", b'"x"', b"{}", b"\xff\xfe")
REPAIRED = {
    **{f"{name} is {content!r}": write(name, content) for name in (PLAN, JOB, RECORD) for content in NOT_JSON},
    **{f"label.json is {content!r}": write("label.json", content) for content in NOT_JSON},
    "another number of parts": change(PLAN, parts=8),
    "fewer parts": change(PLAN, parts=2),
    "no parts": change(PLAN, parts=0),
    "three parts": change(PLAN, parts=3),
    "parts as text": change(PLAN, parts="4"),
    "another key": change(PLAN, colour="red"),
    "no plan": remove(PLAN),
    "no job.json": remove(JOB),
    "no inputs": change(JOB, inputs=...),
    "inputs of another type": change(JOB, inputs={}),
    "no schema": change(JOB, schema=...),
    "a schema of other types": change(JOB, schema={"id": "text"}),
    "a fingerprint that is a number": change(JOB, fingerprint=7),
    "an input without its path": change(JOB, inputs=[{"number": 0}]),
    "no record": remove(RECORD),
    "a record of another part": change(RECORD, part=2),
    "a record without checksums": change(RECORD, checksums=...),
    "a record that counts texts": change(RECORD, counts={"labelled": "7"}),
    "a record that names a file elsewhere": change(RECORD, checksums={"../../x": "0" * 64}),
    "an empty announcement": write("parts/next-00001.json", b""),
    "an announcement of another type": write("parts/next-00001.json", b"[1]"),
    "a summary of another type": change("label.json", rows="many"),
    "a summary without rows": change("label.json", rows=...),
    "a part of nobody": write("labels/part-00009.parquet", b"x"),
    "dead letters of nobody": write("dead_letters/part-00009.jsonl", b""),
    **{f"{name} is a folder": into_folder(name) for name in (PLAN, JOB, RECORD, "label.json", "parts/next-00001.json")},
}
HARMLESS = {
    "a foreign announcement": write("parts/next-one.json", b"x"),
    "a foreign file among the records": write("parts/notes.txt", b"x"),
    "garbage in runs": write("runs/garbage", b"\xff"),
    "garbage in the folder of a run": write("runs/2020-01-01T00-00-00.000000Z/garbage.json", b"\xff"),
    "a folder of one's own": write("mine/notes.txt", b"x"),
    "a lock that is garbage": write(".lock", b"\xff"),
    "no summary": remove("label.json"),
    "no runs": lambda output: shutil.rmtree(output / "runs"),
}


QUICK = (f"{PLAN} is b'null'", f"{RECORD} is b'{{'", "another number of parts", "no record", "no job.json", "no plan")


@pytest.mark.parametrize(
    "edit", [each if each in QUICK else pytest.param(each, marks=pytest.mark.slow) for each in REPAIRED]
)
def test_an_edit_that_jobs_cannot_go_on_with_is_mended(road, fed, edited, capsys, edit):
    manifest, output = edited
    REPAIRED[edit](output)
    capsys.readouterr()
    assert run("label", road.model, "--input", manifest, "--output", output) == 1
    said = capsys.readouterr().err
    assert f"mmstream repair {output}" in said
    assert len(said.splitlines()) == 1
    assert len(said) < 900
    assert run("repair", output) == 0
    assert run("label", road.model, "--input", manifest, "--output", output) == 0
    assert ids(output) == ids(fed[1])
    capsys.readouterr()
    assert run("audit", output) == 0
    assert run("repair", output) == 0
    assert "mended      0" in capsys.readouterr().err


@pytest.mark.parametrize("edit", HARMLESS)
def test_an_edit_that_means_nothing_changes_nothing(road, fed, edited, capsys, edit):
    manifest, output = edited
    HARMLESS[edit](output)
    assert run("label", road.model, "--input", manifest, "--output", output) == 0
    assert "Traceback" not in capsys.readouterr().err
    assert ids(output) == ids(fed[1])
    assert run("audit", output) == 0


@pytest.mark.parametrize("command", ["replay", "repartition", "audit"])
@pytest.mark.parametrize("edit", ["another number of parts", "no record", f"{JOB} is b'null'", f"{RECORD} is b'{{'"])
def test_every_command_stops_at_an_edit(fed, edited, capsys, command, edit):
    _, output = edited
    REPAIRED[edit](output)
    more = ("--input", fed[0]) if command == "replay" else ()
    assert run(command, output, *more) == 1
    said = capsys.readouterr()
    assert f"mmstream repair {output}" in said.err + said.out or command == "audit"
    assert "Traceback" not in said.err
    assert run("repair", output) == 0
    assert run(command, output, *more) == 0


def test_a_note_of_a_run_that_is_garbage_is_named_and_removed(fed, edited, capsys):
    manifest, output = edited
    (run_folder, *_) = sorted((output / "runs").iterdir())
    (run_folder / "part-00000.json").write_bytes(b"\xff")
    assert run("replay", output, "--input", manifest) == 1
    assert f"mmstream repair {output}" in capsys.readouterr().err
    assert run("repair", output) == 0
    assert run("replay", output, "--input", manifest) == 0


def test_labels_that_nobody_can_read_are_put_aside_and_said_to_be_lost(road, fed, edited, capsys):
    manifest, output = edited
    (output / RECORD).unlink()
    (output / "labels" / "part-00001.parquet").write_bytes(b"rotten")
    assert run("label", road.model, "--input", manifest, "--output", output) == 1
    assert run("repair", output) == 1
    said = capsys.readouterr().err
    assert "labels/part-00001.parquet is lost; label again: " in said
    assert "edited_first.jsonl" in said
    assert [path.read_bytes() for path in output.glob("damaged/*/labels/*")] == [b"rotten"]
    for name in ("edited_first", "edited_second"):
        assert run("label", road.model, "--input", manifest.with_name(f"{name}.jsonl"), "--output", output) == 0
    assert ids(output) == ids(fed[1])
    assert run("audit", output) == 0


def test_job_json_of_before_runs_kept_a_copy_cannot_be_rebuilt_and_this_is_said(fed, edited, capsys):
    _, output = edited
    for copy in output.glob("runs/*/job.json"):
        copy.unlink()
    (output / JOB).unlink()
    assert run("repair", output) == 1
    assert "job.json cannot be rebuilt" in capsys.readouterr().err


@pytest.mark.parametrize(
    "edit", [PLAN, *(pytest.param(name, marks=pytest.mark.slow) for name in (RECORD, "preprocess.json"))]
)
def test_an_output_of_preprocess_is_mended_too(road, tmp_path, capsys, edit):
    output = tmp_path / "examples"
    shutil.copytree(road.examples, output)
    (output / edit.replace("00001", "00000")).write_bytes(b"{")
    assert run("preprocess", road.config, "--output", output) == 1
    assert f"mmstream repair {output}" in capsys.readouterr().err
    assert run("repair", output) == 0
    assert run("preprocess", road.config, "--output", output) == 0
    assert run("audit", output) == 0


@pytest.mark.slow
def test_job_json_of_preprocess_is_written_anew_by_each_run(road, tmp_path):
    output = tmp_path / "examples"
    shutil.copytree(road.examples, output)
    (output / JOB).write_bytes(b"{")
    assert run("audit", output) == 1
    assert run("preprocess", road.config, "--output", output) == 0
    assert run("audit", output) == 0


def test_what_is_no_output_is_refused(tmp_path, capsys):
    assert run("repair", tmp_path) == 1
    assert "is not an output of" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["labels", "parts", ".lock", "runs", "spool", "labels/part-00000.parquet"])
def test_a_link_in_an_output_is_refused_and_not_followed(road, edited, tmp_path, capsys, name):
    manifest, output = edited
    elsewhere = tmp_path / "elsewhere"
    place = output / name
    if place.is_dir():
        place.rename(elsewhere)
    elif place.exists():
        place.unlink()
    if not elsewhere.exists():
        elsewhere.write_bytes(b"precious")
    place.symlink_to(elsewhere)
    before = elsewhere.read_bytes() if elsewhere.is_file() else sorted(elsewhere.iterdir())
    for command in (("label", road.model, "--input", manifest, "--output", output), ("repartition", output)):
        assert run(*command) == 1
        assert f"{place} is a link" in capsys.readouterr().err
    assert (elsewhere.read_bytes() if elsewhere.is_file() else sorted(elsewhere.iterdir())) == before


def test_the_lock_of_an_output_that_is_being_made_is_no_link_either(road, edited, tmp_path, capsys):
    from mmstream.errors import MmstreamError
    from mmstream.outputs import lock

    (tmp_path / "new").mkdir()
    (tmp_path / "precious").write_bytes(b"precious")
    (tmp_path / "new" / ".lock").symlink_to(tmp_path / "precious")
    with pytest.raises(MmstreamError, match="is a link"), lock.held(str(tmp_path / "new"), "run"):
        pass
    assert (tmp_path / "precious").read_bytes() == b"precious"
