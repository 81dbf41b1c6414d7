"""Options of a sink: checked when they are named, kept by the output, used by every command on it."""

from __future__ import annotations

import csv
import json

import pytest
from small_road import emoji_rows, run, write_manifest


@pytest.fixture
def manifest(road):
    rows = emoji_rows(6)
    rows = [{"id": f"{sign}{row['id']}", "image": row["image"]} for sign, row in zip("=+-@'x", rows, strict=True)]
    rows[2]["image"] = "not_there.png"
    return write_manifest(road.folder / "data" / "formulas.jsonl", rows)


def label(road, manifest, output, *more):
    return run("label", road.model, "--input", manifest, "--output", output, *more)


def ids(output):
    """The ids as a spreadsheet sees them."""
    lines = [csv.DictReader(path.open(newline="")) for path in sorted((output / "labels").glob("*.csv"))]
    return sorted(row["id"] for reader in lines for row in reader)


ESCAPE = ("--sink", "csv", "--sink-option", "formulas=escape")


def test_every_command_writes_and_reads_with_the_options_of_the_output(road, manifest, tmp_path, capsys):
    output = tmp_path / "out"
    assert label(road, manifest, output, *ESCAPE) == 0
    assert json.loads((output / "job.json").read_text())["sink_options"] == {"formulas": "escape"}
    assert [each[:2] for each in ids(output)] == ["''", "'+", "'=", "'@", "x" + emoji_rows(6)[5]["id"][:1]]
    before = {path: path.read_bytes() for path in (output / "labels").iterdir()}
    assert label(road, manifest, output, *ESCAPE) == 0
    assert {path: path.read_bytes() for path in (output / "labels").iterdir()} == before
    assert run("audit", output, "--input", manifest) == 0
    picture = road.folder / "data" / emoji_rows(1)[0]["image"]
    (road.folder / "data" / "not_there.png").write_bytes(picture.read_bytes())
    try:
        assert run("replay", output) == 0
    finally:
        (road.folder / "data" / "not_there.png").unlink()
    assert "'-" in [each[:2] for each in ids(output)]
    assert run("repartition", output) == 0
    assert len(ids(output)) == 6
    assert all(each[0] in "'x" for each in ids(output))
    assert run("audit", output) == 0


def test_an_output_keeps_its_options(road, manifest, tmp_path, capsys):
    output = tmp_path / "out"
    assert label(road, manifest, output, *ESCAPE) == 0
    before = ids(output)
    assert label(road, manifest, output, "--sink", "csv") == 1
    assert 'written with --sink-option formulas="escape"; give the same options again' in capsys.readouterr().err
    assert ids(output) == before
    assert label(road, manifest, tmp_path / "plain", "--sink", "csv") == 0
    assert label(road, manifest, tmp_path / "plain", *ESCAPE) == 1
    assert "written with no --sink-option; give the same options again" in capsys.readouterr().err
    assert "sink_options" not in json.loads((tmp_path / "plain" / "job.json").read_text())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["formulas=drop"], "must be 'keep' or 'escape'; found 'drop'"),
        (["formulas=1"], "formulas: must be 'keep' or 'escape'"),
        (["formula=keep"], "takes no parameter 'formula'. Did you mean 'formulas'?"),
        (["formulas"], "expected NAME=VALUE"),
        (["=keep"], "expected NAME=VALUE"),
        (["formulas=keep", "formulas=escape"], "each name only once"),
        (["formulas=[1"], "not valid YAML"),
    ],
)
def test_wrong_options_are_explained(road, manifest, tmp_path, capsys, options, message):
    more = [argument for option in options for argument in ("--sink-option", option)]
    assert label(road, manifest, tmp_path / "out", "--sink", "csv", *more) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_sink_without_options_says_so(road, manifest, tmp_path, capsys):
    assert label(road, manifest, tmp_path / "out", "--sink-option", "formulas=escape") == 2
    assert "'parquet' takes no parameter 'formulas'" in capsys.readouterr().err
