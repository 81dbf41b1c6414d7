"""What arrives in an input that is watched: each row once when its file is complete, and again when it changes."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

import pytest

from mmstream.inputs.arrivals import Arrivals, Look
from mmstream.inputs.input import Input
from mmstream.inputs.items import check_row
from mmstream.interfaces import Row
from mmstream.records.record import DeadLetter, Record


class Watched:
    """An input that is looked at; the ids of its records stand in the column `id` of tables."""

    def __init__(self, path: Path, use: str) -> None:
        self._input = Input(use, {}, str(path), id=None if use == "image_folder" else "id")
        self.arrivals = Arrivals(self._input.source(), str(path))

    def look(self) -> Look:
        return self.arrivals.look(lambda row: check_row(row, self._input))

    def settled(self) -> Look:
        """The second of two looks: what had been written before the first is complete by then."""
        self.look()
        return self.look()


def origins(look: Look) -> list[str]:
    return [item.origin for item in look.items]


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


# Files that are records


def test_a_file_is_given_once_and_only_when_it_has_not_changed_for_a_look(folder: Path) -> None:
    watched = Watched(folder, "image_folder")
    assert watched.look() == ([], False, False, 2)
    first = watched.look()
    assert (origins(first), first.incomplete) == (["b.png", "cat/a.png"], 0)
    assert isinstance(first.items[1], Record)
    assert first.items[1].columns == {"image": "cat/a.png", "category": "cat"}
    with (folder / "new.png").open("wb") as file:
        for count in range(3):
            file.write(bytes(count + 1))
            file.flush()
            assert watched.look() == ([], False, False, 1)
    assert origins(watched.look()) == ["new.png"]
    assert watched.look() == ([], False, False, 0)


def test_a_picture_that_changes_or_comes_back_is_given_again(folder: Path) -> None:
    watched = Watched(folder, "image_folder")
    watched.settled()
    (folder / "b.png").write_bytes(b"22")
    assert origins(watched.settled()) == ["b.png"]
    assert not watched.arrivals.still_there("b.png", "b.png")
    assert watched.arrivals.still_there("cat/a.png", "cat/a.png")
    moved = folder / "cat/a.png"
    moved.rename(folder / "cat/.a")
    watched.look()
    assert not watched.arrivals.still_there("cat/a.png", "cat/a.png")
    (folder / "cat/.a").rename(moved)
    assert origins(watched.settled()) == ["cat/a.png"]


def test_what_is_no_picture_and_what_is_hidden_is_not_given(folder: Path) -> None:
    watched = Watched(folder, "image_folder")
    watched.settled()
    for name in ("notes.txt", ".hidden.png", "part.png.crdownload"):
        (folder / name).write_bytes(b"1")
    assert watched.settled().items == []
    assert watched.look().incomplete == 0


@pytest.mark.parametrize("target", ["not_there.png", "link.png"])
def test_a_link_that_leads_nowhere_is_a_record_like_others(folder: Path, target: str) -> None:
    (folder / "link.png").symlink_to(target)
    assert sorted(origins(Watched(folder, "image_folder").settled())) == ["b.png", "cat/a.png", "link.png"]


def test_a_sample_and_a_count_take_nothing_away(folder: Path) -> None:
    watched = Watched(folder, "image_folder")
    assert watched.arrivals.sample(1) == []
    (first,) = watched.arrivals.sample(1)
    assert isinstance(first, Row)
    assert (first.origin, watched.arrivals.count()) == ("b.png", 2)
    assert origins(watched.look()) == ["b.png", "cat/a.png"]


# Tables


def test_of_a_table_that_changes_the_rows_that_differ_are_given(tmp_path: Path) -> None:
    table = tmp_path / "in" / "deep.jsonl"
    write(table, {"id": "a"}, {"id": "b"}, "no json")
    watched = Watched(tmp_path / "in", "jsonl")
    assert origins(watched.settled()) == ["deep.jsonl:1", "deep.jsonl:2", "deep.jsonl:3"]
    write(table, {"id": "a"}, {"id": "c"}, "no json", {"id": "d"})
    changed = watched.settled()
    assert (origins(changed), changed.again, changed.vacated) == (["deep.jsonl:2", "deep.jsonl:4"], True, True)
    for origin, key in (("deep.jsonl:1", "a"), ("deep.jsonl:3", "")):
        assert watched.arrivals.still_there(origin, key)
    assert not watched.arrivals.still_there("deep.jsonl:2", "c")  # it was given
    watched.look()
    assert watched.arrivals.still_there("deep.jsonl:2", "c")
    assert not watched.arrivals.still_there("deep.jsonl:2", "b")


def test_rows_that_move_within_a_table_are_given_where_they_stand_now(tmp_path: Path) -> None:
    table = tmp_path / "in" / "deep.jsonl"
    write(table, {"id": "a"}, "no json", {"id": "b"})
    watched = Watched(tmp_path / "in", "jsonl")
    watched.settled()
    write(table, {"id": "a"}, "", "no json", {"id": "b"})
    moved = watched.settled()
    assert origins(moved) == ["deep.jsonl:3", "deep.jsonl:4"]
    assert isinstance(moved.items[0], DeadLetter)
    watched.look()
    assert not watched.arrivals.still_there("deep.jsonl:2", "")


def test_a_bad_line_that_is_taken_out_makes_the_table_worth_a_look(tmp_path: Path) -> None:
    table = tmp_path / "in" / "deep.jsonl"
    write(table, {"id": "a"}, "no json")
    watched = Watched(tmp_path / "in", "jsonl")
    watched.settled()
    write(table, {"id": "a"})
    look = watched.settled()
    assert (look.items, look.again) == ([], True)
    watched.look()
    assert not watched.arrivals.still_there("deep.jsonl:2", "")


def test_a_table_to_which_rows_are_appended_has_vacated_nothing(tmp_path: Path) -> None:
    table = tmp_path / "in" / "deep.jsonl"
    write(table, {"id": "a"})
    watched = Watched(tmp_path / "in", "jsonl")
    watched.settled()
    write(table, {"id": "a"}, {"id": "b"})
    look = watched.settled()
    assert (origins(look), look.again, look.vacated) == (["deep.jsonl:2"], True, False)


def test_a_table_that_is_gone_has_vacated_its_ids(tmp_path: Path) -> None:
    write(tmp_path / "in" / "one.jsonl", {"id": "a"})
    write(tmp_path / "in" / "two.jsonl", {"id": "b"})
    watched = Watched(tmp_path / "in", "jsonl")
    watched.settled()
    (tmp_path / "in" / "one.jsonl").rename(tmp_path / "in" / "three.jsonl")
    assert watched.look().vacated
    assert not watched.arrivals.still_there("one.jsonl:1", "a")
    assert watched.arrivals.still_there("two.jsonl:1", "b")
    assert origins(watched.look()) == ["three.jsonl:1"]


def test_of_a_table_that_is_still_being_written_nobody_knows(tmp_path: Path) -> None:
    write(tmp_path / "in" / "one.jsonl", {"id": "a"})
    watched = Watched(tmp_path / "in", "jsonl")
    watched.look()
    assert watched.arrivals.still_there("one.jsonl:1", "whatever an earlier run found there")


def test_a_row_is_given_again_when_the_picture_that_it_names_comes_or_changes(folder: Path) -> None:
    rows = [{"id": name, "image": name} for name in ("b.png", "./cat/a.png", "later.png")]
    write(folder / "rows.jsonl", *rows)
    watched = Watched(folder, "jsonl")
    assert len(watched.settled().items) == 3
    (folder / "later.png").write_bytes(b"1")
    assert origins(watched.settled()) == ["rows.jsonl:3"]
    assert watched.arrivals.still_there("rows.jsonl:1", "b.png")
    (folder / "cat/a.png").write_bytes(b"22")
    assert origins(watched.settled()) == ["rows.jsonl:2"]


def test_a_picture_that_a_row_names_by_its_uri_is_known_again(folder: Path) -> None:
    write(folder / "rows.jsonl", {"id": "1", "image": (folder / "later on.png").as_uri()})
    watched = Watched(folder, "jsonl")
    watched.settled()
    (folder / "later on.png").write_bytes(b"1")
    assert origins(watched.settled()) == ["rows.jsonl:1"]


def test_a_picture_that_comes_while_its_table_is_written_is_not_forgotten(folder: Path) -> None:
    write(folder / "rows.jsonl", {"id": "late", "image": "late.png"})
    watched = Watched(folder, "jsonl")
    watched.settled()
    (folder / "late.png").write_bytes(b"1")
    watched.look()
    write(folder / "rows.jsonl", {"id": "late", "image": "late.png"}, '{"id": "half')
    assert watched.look() == ([], False, False, 1)  # the picture is complete, the table is not
    write(folder / "rows.jsonl", {"id": "late", "image": "late.png"}, {"id": "half a line before"})
    assert origins(watched.settled()) == ["rows.jsonl:1", "rows.jsonl:2"]


def test_a_table_that_cannot_be_read_keeps_what_came_of_it_and_is_tried_again(tmp_path: Path) -> None:
    place = tmp_path / "in" / "packed.jsonl.gz"
    place.parent.mkdir()
    whole = gzip.compress(b'{"id": "a"}\nno json\n')
    place.write_bytes(whole)
    watched = Watched(tmp_path / "in", "jsonl")
    assert origins(watched.settled()) == ["packed.jsonl.gz:1", "packed.jsonl.gz:2"]
    place.write_bytes(b"this was never packed")
    assert watched.settled().items == []
    assert "Not a gzipped file" in watched.arrivals.unreadable["packed.jsonl.gz"]
    assert watched.arrivals.still_there("packed.jsonl.gz:2", "")
    place.write_bytes(gzip.compress(b'{"id": "a"}\nno json\n{"id": "c"}\n'))
    assert origins(watched.settled()) == ["packed.jsonl.gz:3"]
    assert watched.arrivals.unreadable == {}
    place.write_bytes(whole[:-9])
    watched.settled()
    place.unlink()
    watched.look()
    assert watched.arrivals.unreadable == {}


def test_what_could_not_be_read_for_a_moment_is_read_at_the_next_look(tmp_path: Path, monkeypatch) -> None:
    from mmstream.storage import files

    write(tmp_path / "in" / "one.jsonl", {"id": "a"})
    watched = Watched(tmp_path / "in", "jsonl")
    watched.look()
    with monkeypatch.context() as patched:
        patched.setattr(files, "open_read", lambda path: (_ for _ in ()).throw(OSError("the disk is gone")))
        assert watched.look().items == []
    assert origins(watched.look()) == ["one.jsonl:1"]


def test_a_single_file_and_a_pattern_can_be_watched(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    write(folder / "one.jsonl", {"id": "a"})
    alone, pattern = Watched(folder / "one.jsonl", "jsonl"), Watched(folder / "*.jsonl", "jsonl")
    assert origins(alone.settled()) == origins(pattern.settled()) == ["one.jsonl:1"]
    write(folder / "two.jsonl", {"id": "b"})
    write(folder / "one.jsonl", {"id": "a"}, {"id": "c"})
    assert origins(alone.settled()) == ["one.jsonl:2"]
    assert origins(pattern.settled()) == ["one.jsonl:2", "two.jsonl:1"]


@pytest.mark.parametrize("use", ["image_folder", "jsonl"])
def test_after_forgetting_everything_is_given_once_more(folder: Path, use: str) -> None:
    write(folder / "rows.jsonl", {"id": "a"}, {"id": "b"})
    watched = Watched(folder, use)
    first = origins(watched.settled())
    assert len(first) == 2
    watched.arrivals.forget()
    assert origins(watched.look()) == first
