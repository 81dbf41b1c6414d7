"""What arrives in an input that is watched: each row once when its file is complete, and again when it changes."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from mmstream import components
from mmstream.stages.arrivals import Arrivals, Look


def arrivals_in(path: Path, use: str) -> Arrivals:
    return Arrivals(components.build("source", use, {}), str(path))


def settled(arrivals: Arrivals) -> Look:
    """The second of two looks: what had been written before the first is complete by then."""
    arrivals.look()
    return arrivals.look()


def origins(look: Look) -> list[str]:
    return [row.origin for row in look.rows]


def write(path: Path, *rows: object) -> None:
    """A manifest, of a time of its own: a file that is written twice within a clock tick may look unchanged."""
    path.parent.mkdir(exist_ok=True)
    before = path.stat().st_mtime_ns if path.exists() else 0
    path.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows))
    os.utime(path, ns=(before + 1_000_000, before + 1_000_000))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two pictures, as far as their names say."""
    place = tmp_path / "in"
    for name in ("cat/a.png", "b.png"):
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(b"1")
    return place


def test_a_file_is_given_once_and_only_when_it_has_not_changed_for_a_look(folder: Path) -> None:
    arrivals = arrivals_in(folder, "image_folder")
    assert arrivals.look() == ([], False, 2)
    first = arrivals.look()
    assert (origins(first), first.incomplete) == (["b.png", "cat/a.png"], 0)
    assert first.rows[1].columns == {"image": "cat/a.png", "category": "cat"}
    with (folder / "new.png").open("wb") as file:
        for count in range(3):
            file.write(bytes(count + 1))
            file.flush()
            assert arrivals.look() == ([], False, 1)
    assert origins(arrivals.look()) == ["new.png"]
    assert arrivals.look().rows == []


def test_a_picture_that_changes_is_given_again(folder: Path) -> None:
    arrivals = arrivals_in(folder, "image_folder")
    settled(arrivals)
    (folder / "b.png").write_bytes(b"22")
    assert origins(settled(arrivals)) == ["b.png"]
    assert not arrivals.still_there("b.png")
    assert arrivals.still_there("cat/a.png")
    (folder / "cat/a.png").unlink()
    arrivals.look()
    assert not arrivals.still_there("cat/a.png")


def test_what_is_no_picture_and_what_is_hidden_is_not_given(folder: Path) -> None:
    arrivals = arrivals_in(folder, "image_folder")
    settled(arrivals)
    for name in ("notes.txt", ".hidden.png", "part.png.crdownload"):
        (folder / name).write_bytes(b"1")
    assert settled(arrivals).rows == []


def test_of_a_table_that_changes_the_rows_that_differ_are_given(tmp_path: Path) -> None:
    write(tmp_path / "in" / "deep.jsonl", {"id": "a"}, {"id": "b"}, "no json")
    arrivals = arrivals_in(tmp_path / "in", "jsonl")
    assert origins(settled(arrivals)) == ["deep.jsonl:1", "deep.jsonl:2", "deep.jsonl:3"]
    write(tmp_path / "in" / "deep.jsonl", {"id": "a"}, {"id": "c"}, "no json", {"id": "d"})
    changed = settled(arrivals)
    assert (origins(changed), changed.again) == (["deep.jsonl:2", "deep.jsonl:4"], True)
    assert arrivals.still_there("deep.jsonl:1")
    assert arrivals.still_there("deep.jsonl:3")
    assert not arrivals.still_there("deep.jsonl:2")
    write(tmp_path / "in" / "deep.jsonl", {"id": "a"})
    assert settled(arrivals).rows == []
    assert not arrivals.still_there("deep.jsonl:3")


def test_rows_of_another_table_stay_where_they_are(tmp_path: Path) -> None:
    write(tmp_path / "in" / "one.jsonl", {"id": "a"})
    arrivals = arrivals_in(tmp_path / "in", "jsonl")
    settled(arrivals)
    write(tmp_path / "in" / "two.jsonl", {"id": "b"})
    look = settled(arrivals)
    assert (origins(look), look.again) == (["two.jsonl:1"], False)
    assert arrivals.still_there("one.jsonl:1")


def test_a_row_is_given_again_when_the_picture_that_it_names_comes_or_changes(folder: Path) -> None:
    rows = [{"id": name, "image": name} for name in ("b.png", "./cat/a.png", "later.png")]
    write(folder / "rows.jsonl", *rows)
    arrivals = arrivals_in(folder, "jsonl")
    assert len(settled(arrivals).rows) == 3
    (folder / "later.png").write_bytes(b"1")
    assert origins(settled(arrivals)) == ["rows.jsonl:3"]
    assert arrivals.still_there("rows.jsonl:1")
    (folder / "cat/a.png").write_bytes(b"22")
    assert origins(settled(arrivals)) == ["rows.jsonl:2"]


def test_a_table_that_cannot_be_read_is_told_of_and_tried_again_when_it_changes(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    write(folder / "good.jsonl", {"id": "a"})
    (folder / "bad.jsonl.gz").write_bytes(b"this was never packed")
    arrivals = arrivals_in(folder, "jsonl")
    assert origins(settled(arrivals)) == ["good.jsonl:1"]
    assert "Not a gzipped file" in arrivals.unreadable["bad.jsonl.gz"]
    (folder / "bad.jsonl.gz").unlink()
    arrivals.look()
    assert arrivals.unreadable == {}


def test_a_single_file_and_a_pattern_can_be_watched(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    write(folder / "one.jsonl", {"id": "a"})
    alone, pattern = arrivals_in(folder / "one.jsonl", "jsonl"), arrivals_in(folder / "*.jsonl", "jsonl")
    assert origins(settled(alone)) == origins(settled(pattern)) == ["one.jsonl:1"]
    write(folder / "two.jsonl", {"id": "b"})
    write(folder / "one.jsonl", {"id": "a"}, {"id": "c"})
    assert origins(settled(alone)) == ["one.jsonl:2"]
    assert origins(settled(pattern)) == ["one.jsonl:2", "two.jsonl:1"]


def test_after_forgetting_everything_is_given_once_more(folder: Path) -> None:
    arrivals = arrivals_in(folder, "image_folder")
    settled(arrivals)
    arrivals.forget()
    assert origins(arrivals.look()) == ["b.png", "cat/a.png"]
