"""Paths that users write: home folders, patterns, folders called like patterns, tables beside pictures."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from small_road import EMOJI, emoji_rows, read_rows, run

from mmstream import cli
from mmstream.config.loading import load_config
from mmstream.errors import MmstreamError
from mmstream.inputs.sources import source_for
from mmstream.options.introspection import arguments_of, commands_of
from mmstream.plugins import components
from mmstream.storage.files import expanded

PATHS = ("CONFIG", "DIR", "MODEL", "MODELS", "PATH")
PICTURES = [EMOJI / "train" / row["image"] for row in emoji_rows(3)]


def pictures_in(folder: Path) -> Path:
    folder.mkdir(parents=True)
    for number, picture in enumerate(PICTURES):
        shutil.copy(picture, folder / f"{number}.png")
    return folder


def test_a_tilde_in_a_flag_is_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    for kind in ("cats", "dogs"):
        pictures_in(tmp_path / "home" / "pictures" / kind)
    assert run("init", "~/pictures", "--output=~/made/config.yaml") == 0
    assert (tmp_path / "home" / "made" / "config.yaml").exists()
    assert not (tmp_path / "~").exists()


def test_every_flag_that_is_a_path_takes_a_tilde():
    commands = commands_of(cli.parser())
    paths = [(each.name, a.dest, a.type) for each in commands for a in arguments_of(each.parser) if a.metavar in PATHS]
    assert len(paths) > 20
    assert [path for path in paths if path[2] is not expanded] == []


def test_a_tilde_in_a_config_is_the_home_folder(road, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    config = load_config(str(road.config), ["source.path=~/rows.jsonl", "source.roots=[~/pictures, /data]"])
    assert config.source.path == str(tmp_path / "rows.jsonl")
    assert config.source.roots == [str(tmp_path / "pictures"), "/data"]


@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        ("d/*.jpeg", "no file matches {0}/d/*.jpeg. {0}/d holds: 0.png, 1.png, 2.png, notes.csv"),
        ("*", "no file matches {0}/*. {0} holds: d/"),
        ("nope/*.png", "no file matches {0}/nope/*.png: there is no folder {0}/nope"),
        ("d/*", "{0}/d/* matches several kinds of files: notes.csv (csv), 0.png (image_folder); narrow it"),
    ],
)
def test_a_pattern_that_nothing_or_too_much_matches_says_what_there_is(tmp_path, capsys, pattern, why):
    (pictures_in(tmp_path / "d") / "notes.csv").write_text("name,size\n1.png,2\n")
    assert run("init", tmp_path / pattern, "--output", tmp_path / "config.yaml") == 1
    assert why.format(tmp_path) in capsys.readouterr().err


@pytest.mark.parametrize("name", ["trip [2023]", "what?", "a*b"])
def test_a_folder_that_is_called_like_a_pattern_is_that_folder(tmp_path, name):
    folder = pictures_in(tmp_path / name)
    pictures_in(tmp_path / "trip 2")  # which "trip [2023]" would match
    pictures_in(tmp_path / "a-b")
    source = components.build("source", "image_folder", {})
    for path in (folder, folder / "*.png", folder / "[01].png"):
        assert source_for(str(path)) == "image_folder"
        rows = [row for split in source.splits(str(path)) for row in source.read(split)]
        assert [row.origin for row in rows] == ["0.png", "1.png", "2.png"][: 2 if "[01]" in path.name else 3]
    with pytest.raises(MmstreamError, match=r"no file matches .* holds: 0\.png"):
        source_for(str(folder / "*.csv"))


def test_model_input_and_output_may_lie_in_a_folder_that_is_called_like_a_pattern(road, tmp_path):
    folder = tmp_path / "trip [2023]"
    pictures_in(folder / "in")
    shutil.copytree(road.model, folder / "model")
    command = ("label", folder / "model", "--input", folder / "in" / "*.png", "--output", folder / "out")
    assert run(*command) == 0
    assert [row["id"] for row in read_rows(folder / "out")] == ["0.png", "1.png", "2.png"]
    assert run("audit", folder / "out", "--input", folder / "in" / "*.png") == 0


def test_a_table_beside_pictures_is_told(road, tmp_path, capsys):
    folder = pictures_in(tmp_path / "d")
    (folder / "notes.csv").write_text("id,image\na,1.png\n")
    of_table = f"in {folder}, the records are the rows of notes.csv"
    of_pictures = f"in {folder}, the 3 files that image_folder reads are the records; notes.csv is passed over"
    assert run("init", folder, "--output", tmp_path / "config.yaml") == 1, "nothing looks like a target"
    assert of_table in capsys.readouterr().err
    assert run("label", road.model, "--input", folder, "--preview", 9) == 0
    assert of_table in capsys.readouterr().err
    assert run("label", road.model, "--input", folder, "--preview", 9, "--source", "image_folder") == 0
    assert of_pictures in capsys.readouterr().err
    config = tmp_path / "pictures.yaml"
    config.write_text(
        "source: {use: image_folder, path: d}\nfields: {image: {use: image, size: [8, 8]}, category: {use: category}}\n"
        "model: {encoders: {image: {use: cnn}}, heads: {category: {use: classification, reads: image}}}\n"
    )
    run("preprocess", config, "--output", tmp_path / "examples")
    assert of_pictures in capsys.readouterr().err
