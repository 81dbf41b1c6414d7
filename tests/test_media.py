"""Media are read only where the user allows it."""

from __future__ import annotations

import os

import pytest

from mmstream.errors import MediaError
from mmstream.media import Media


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.bin").write_bytes(b"abc")
    (tmp_path / "secret.bin").write_bytes(b"secret")
    return tmp_path / "in"


def test_a_file_below_the_folder_is_read(folder):
    assert Media(str(folder)).read("a.bin", 3) == b"abc"


@pytest.mark.parametrize(
    "reference",
    ["../secret.bin", "{folder}/../secret.bin", "/etc/passwd", "link.bin", "file:///etc/passwd", "x/../../secret.bin"],
)
def test_what_lies_outside_is_refused(folder, reference):
    (folder / "link.bin").symlink_to(folder.parent / "secret.bin")
    with pytest.raises(MediaError, match=r"outside the allowed folders|cannot open"):
        Media(str(folder)).read(reference.format(folder=folder), 100)
    with pytest.raises(MediaError, match="outside the allowed folders"):  # nor does anybody learn whether it is there
        Media(str(folder)).metadata(reference.format(folder=folder))
    assert Media(str(folder)).metadata("a.bin")[0] == 3


def test_a_root_allows_its_files(folder):
    assert Media(str(folder), [str(folder.parent)]).read("../secret.bin", 100) == b"secret"


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("missing.bin", "cannot open"),
        ("", "not the path"),
        (" ", "not the path"),
        ("a\0b", "not the path"),
        (".", "not a plain file"),
    ],
)
def test_what_is_no_plain_file_is_refused(folder, reference, message):
    with pytest.raises(MediaError, match=message):
        Media(str(folder)).read(reference, 100)


def test_a_pipe_does_not_hang(folder):
    os.mkfifo(folder / "pipe")
    with pytest.raises(MediaError, match="not a plain file"):
        Media(str(folder)).read("pipe", 100)


def test_a_file_over_the_limit_is_refused(folder):
    with pytest.raises(MediaError, match="more than max_bytes = 2"):
        Media(str(folder)).read("a.bin", 2)


def test_a_value_of_the_wrong_type_says_what_it_is(folder):
    with pytest.raises(TypeError, match="found int: 5"):
        Media(str(folder)).read(5, 100)
