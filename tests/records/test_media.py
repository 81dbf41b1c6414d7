"""Media are read only where the user allows it."""

from __future__ import annotations

import base64
import errno
import os
from pathlib import Path

import pytest

from mmstream.errors import MediaError, MmstreamError
from mmstream.records import media as media_module
from mmstream.records import spool
from mmstream.records.media import Media

BY_HANDLE = [True, False] if media_module._BY_HANDLE else [False]


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


@pytest.fixture(params=BY_HANDLE, ids=lambda found: "descriptors have names" if found else "they have none")
def system(request, monkeypatch):
    """Linux, and one where a descriptor does not say where it leads."""
    monkeypatch.setattr(media_module, "_BY_HANDLE", request.param)


@pytest.mark.usefixtures("system")
def test_a_folder_that_becomes_a_link_after_its_first_use_is_not_followed(folder):
    outside = folder.parent / "outside"
    outside.mkdir()
    (outside / "b.bin").write_bytes(b"secret")
    (folder / "sub").mkdir()
    (folder / "sub/b.bin").write_bytes(b"inside")
    media = Media(str(folder))
    assert media.read("sub/b.bin", 100) == b"inside"
    inside = media.metadata("sub/b.bin")
    (folder / "sub").rename(folder / "before")
    (folder / "sub").symlink_to(outside)
    for look in (lambda: media.read("sub/b.bin", 100), lambda: media.metadata("sub/b.bin")):
        with pytest.raises(MediaError, match="outside the allowed folders"):
            look()
    (folder / "sub").unlink()
    (folder / "sub").symlink_to(folder / "before")  # back, by a link that stays inside
    assert media.read("sub/b.bin", 100) == b"inside"
    assert media.metadata("sub/b.bin") == inside


@pytest.mark.usefixtures("system")
def test_a_file_that_becomes_a_link_is_not_followed(folder):
    media = Media(str(folder))
    assert media.read("a.bin", 100) == b"abc"
    (folder / "a.bin").unlink()
    (folder / "a.bin").symlink_to(folder.parent / "secret.bin")
    for look in (lambda: media.read("a.bin", 100), lambda: media.metadata("a.bin")):
        with pytest.raises(MediaError, match="outside the allowed folders"):
            look()


@pytest.mark.usefixtures("system")
@pytest.mark.parametrize("metadata", [False, True])
def test_a_folder_that_is_swapped_between_the_look_and_the_opening_is_not_read(folder, monkeypatch, metadata):
    outside = folder.parent / "outside"
    outside.mkdir()
    (outside / "b.bin").write_bytes(b"secret")
    (folder / "sub").mkdir()
    (folder / "sub/b.bin").write_bytes(b"inside")
    original, swapped, read = os.open, [], []

    def swapping(path, *arguments, **options):
        if not swapped and str(path).endswith("b.bin"):
            (folder / "sub").rename(folder / "before")
            (folder / "sub").symlink_to(outside)
            swapped.append(path)
        return original(path, *arguments, **options)

    monkeypatch.setattr(os, "open", swapping)
    monkeypatch.setattr(os, "read", lambda *arguments: read.append(arguments))
    media = Media(str(folder))
    if metadata and not media_module._BY_HANDLE:
        pytest.skip("only a handle tells what stood there when it was looked at")
    with pytest.raises(MediaError, match=r"outside the allowed folders|was replaced"):
        media.metadata("sub/b.bin") if metadata else media.read("sub/b.bin", 100)
    assert swapped
    assert not read


def test_what_is_known_to_lie_outside_is_never_opened(folder, monkeypatch):
    (folder / "link.bin").symlink_to(folder.parent / "secret.bin")
    (folder / "up").symlink_to(folder.parent)
    opened = []
    original = os.open

    def noting(path, flags, *arguments, **options):
        if not flags & os.O_NOFOLLOW:
            opened.append(path)
        return original(path, flags, *arguments, **options)

    monkeypatch.setattr(os, "open", noting)
    for reference in ("link.bin", "up/secret.bin", "../secret.bin", "/etc/hostname"):
        with pytest.raises(MediaError, match="outside the allowed folders"):
            Media(str(folder)).read(reference, 100)
    assert not opened


def test_a_file_behind_a_link_that_stays_inside_is_read(folder):
    (folder / "deep/er").mkdir(parents=True)
    (folder / "deep/er/c.bin").write_bytes(b"deep")
    (folder / "one").symlink_to("deep")
    (folder / "two").symlink_to("one/er/c.bin")
    media = Media(str(folder))
    assert media.read("one/er/c.bin", 100) == media.read("two", 100) == b"deep"
    assert media.metadata("one/er/c.bin") == media.metadata("two") == media.metadata("deep/er/c.bin")


def test_links_that_lead_to_each_other_lead_nowhere(folder):
    (folder / "one").symlink_to("two")
    (folder / "two").symlink_to("one")
    with pytest.raises(MediaError, match="cannot open"):
        Media(str(folder)).read("one", 100)


def failing(monkeypatch, name, number, times, path="a.bin"):
    """`os.<name>` fails so many times with such an error, when it is asked for a file or something else than a path."""
    original, failed = getattr(os, name), []

    def fail(first, *arguments, **options):
        if len(failed) < times and (not isinstance(first, str) or first.endswith(path)):
            failed.append(first)
            raise OSError(number, os.strerror(number))
        return original(first, *arguments, **options)

    monkeypatch.setattr(os, name, fail)
    return failed


PASSING = ["EMFILE", "ENFILE", "ENOMEM", "EIO", "ESTALE", "ETIMEDOUT", "EBUSY", "EAGAIN"]


@pytest.mark.parametrize("name", ["open", "read", "fstat"])
@pytest.mark.parametrize("error", PASSING)
def test_a_fault_that_passes_is_waited_for(folder, monkeypatch, name, error):
    waits: list[float] = []
    failed = failing(monkeypatch, name, getattr(errno, error), 2)
    assert Media(str(folder), sleep=waits.append).read("a.bin", 100) == b"abc"
    assert len(failed) == len(waits) == 2
    assert sum(waits) < 1
    if name != "read":
        failing(monkeypatch, name, getattr(errno, error), 2)
        assert Media(str(folder), sleep=waits.append).metadata("a.bin")[0] == 3


@pytest.mark.parametrize("name", ["open", "read", "readlink"])
@pytest.mark.parametrize("error", ["EMFILE", "ENFILE", "ENOMEM", "ENOBUFS"])
def test_what_the_machine_is_short_of_is_no_fault_of_the_file(folder, monkeypatch, name, error):
    failing(monkeypatch, name, getattr(errno, error), 100, path="")
    media = Media(str(folder), sleep=lambda seconds: None)
    looks = [lambda: media.read("a.bin", 100)]
    if name != "read":
        looks.append(lambda: media.metadata("a.bin"))
    for look in looks:
        with pytest.raises(
            MmstreamError, match=rf"{os.strerror(getattr(errno, error)).lower()} while reading .*a\.bin"
        ):
            look()


@pytest.mark.parametrize("error", ["EIO", "ESTALE", "ETIMEDOUT", "EACCES", "ENOENT"])
def test_a_fault_of_one_file_is_its_own(folder, monkeypatch, error):
    failed = failing(monkeypatch, "open", getattr(errno, error), 100)
    with pytest.raises(MediaError, match="cannot open"):
        Media(str(folder), sleep=lambda seconds: None).read("a.bin", 100)
    assert len(failed) < 5


def test_a_file_that_is_read_in_small_pieces_comes_whole(folder, monkeypatch):
    original, asked = os.read, []
    (folder / "long.bin").write_bytes(bytes(range(256)) * 40)

    def little(descriptor, count):
        asked.append(count)
        return original(descriptor, min(count, 100))

    monkeypatch.setattr(os, "read", little)
    assert Media(str(folder)).read("long.bin", 20_000) == bytes(range(256)) * 40
    assert len(asked) == 103  # 102 full pieces and the rest


def _open_descriptors() -> int:
    return len(list(Path("/dev/fd").iterdir()))


def test_no_descriptor_stays_open(folder):
    (folder / "link.bin").symlink_to(folder.parent / "secret.bin")
    os.mkfifo(folder / "pipe")
    media = Media(str(folder))
    before = _open_descriptors()
    for reference in ("a.bin", "link.bin", "pipe", "missing.bin", ".", "../secret.bin"):
        for look in (lambda r=reference: media.read(r, 2), lambda r=reference: media.metadata(r)):
            try:
                look()
            except (MediaError, OSError):
                continue
    assert _open_descriptors() == before


def test_spooled_bytes_that_cannot_be_read_for_want_of_descriptors_are_no_fault_of_the_record(folder, monkeypatch):
    spooled = spool.spool(b"spooled", str(folder / "spool"))
    media = Media(str(folder), sleep=lambda seconds: None)
    assert media.read(spooled, 100) == b"spooled"

    def refuse(path):
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE), path)

    monkeypatch.setattr("mmstream.storage.files.open_read", refuse)
    monkeypatch.setattr("mmstream.storage.files.read_bytes", lambda path: refuse(path))
    with pytest.raises(MmstreamError, match="too many open files while reading"):
        media.read(spooled, 100)


@pytest.mark.parametrize(
    ("error", "tries", "message"),
    [
        (FileNotFoundError(errno.ENOENT, "No such file"), 1, "No such file"),
        (RuntimeError("503 slow down"), 4, "503 slow down"),
        (OSError("the connection was reset"), 4, "the connection was reset"),
        (type("NotFound", (Exception,), {"code": 404})("404 no such object"), 1, "404 no such object"),
    ],
    ids=["not there", "an error of a store's own", "no number", "not there, in a store's words"],
)
def test_a_store_is_asked_again_unless_it_says_that_there_is_no_such_file(monkeypatch, error, tries, message):
    asked = []

    def refuse(path):
        asked.append(path)
        raise error

    monkeypatch.setattr("mmstream.storage.files.has_filesystem", lambda scheme: True)
    monkeypatch.setattr("mmstream.storage.files.open_read", refuse)
    monkeypatch.setattr("mmstream.storage.files.metadata", refuse)
    media = Media("memory://bucket", sleep=lambda seconds: None)
    with pytest.raises(MediaError, match=message):
        media.read("a.bin", 100)
    assert len(asked) == tries
    with pytest.raises(OSError, match=message):
        media.metadata("a.bin")
    assert len(asked) == 2 * tries


def test_a_message_never_holds_much_of_a_name(folder):
    for reference in ("x" * 100_000, "../" * 30_000):
        with pytest.raises(MediaError) as refused:
            Media(str(folder)).read(reference, 100)
        assert len(str(refused.value)) < 600


def uri_of(path: Path) -> str:
    return path.as_uri()


def test_a_file_uri_is_the_path_that_it_says(folder):
    (folder / "a b%20#é.bin").write_bytes(b"named oddly")
    media = Media(str(folder))
    for uri in (uri_of(folder / "a.bin"), uri_of(folder / "a.bin").replace("file://", "FILE://localhost")):
        assert media.read(uri, 100) == b"abc"
        assert media.metadata(uri)[0] == 3
    assert media.read(uri_of(folder / "a b%20#é.bin"), 100) == b"named oddly"
    assert Media(str(folder), [uri_of(folder.parent)]).read(uri_of(folder.parent / "secret.bin"), 100) == b"secret"


@pytest.mark.parametrize("encoded", ["../secret.bin", "%2e%2e/secret.bin", "..%2fsecret.bin", "link.bin", "l%69nk.bin"])
def test_a_file_uri_does_not_leave_the_allowed_folders(folder, encoded):
    (folder / "link.bin").symlink_to(folder.parent / "secret.bin")
    media, uri = Media(str(folder)), f"file://{folder}/{encoded}"
    for look in (lambda: media.read(uri, 100), lambda: media.metadata(uri)):
        with pytest.raises(MediaError, match="outside the allowed folders"):
            look()


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("file://server/share/a.bin", "a file on another machine"),
        ("file:///a%00.bin", "not the path of a file"),
        ("https://example.org/1.png", "no filesystem is installed for https://; download such files first"),
        ("HTTP://example.org/1.png", "no filesystem is installed for HTTP://"),
    ],
)
@pytest.mark.parametrize("roots", [(), ("https://example.org", "/")])
def test_a_uri_that_nothing_here_reads_says_so_at_once_whatever_the_roots(folder, uri, message, roots):
    media = Media(str(folder), roots, sleep=lambda seconds: pytest.fail("there is nothing to wait for"))
    for look in (lambda: media.read(uri, 100), lambda: media.metadata(uri)):
        with pytest.raises(MediaError, match=message) as caught:
            look()
        assert "--root" not in str(caught.value)


PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(200))
PNG_TEXT = base64.b64encode(PNG).decode()


@pytest.mark.parametrize(
    "text",
    [
        f"data:image/png;base64,{PNG_TEXT}",
        f"data:;base64,{PNG_TEXT}",
        f"DATA:image/png;name=a b;Base64,{PNG_TEXT.rstrip('=')}",
        f"data:image/png;base64,{PNG_TEXT.replace('=', '%3D').replace('+', '%2B')}",
        PNG_TEXT,
        "\n".join(PNG_TEXT[start : start + 76] for start in range(0, len(PNG_TEXT), 76)),
        {"bytes": PNG_TEXT, "path": "1.png"},
        {"bytes": PNG, "path": None},
    ],
)
def test_a_medium_that_stands_in_a_text_is_read(folder, text):
    media = Media(str(folder))
    assert media.read(text, len(PNG)) == PNG
    assert media.metadata(text) == ()
    with pytest.raises(MediaError, match="more than max_bytes = 100"):
        media.read(text, 100)


def test_the_path_beside_no_bytes_is_read(folder):
    media = Media(str(folder))
    assert media.read({"bytes": None, "path": "a.bin"}, 100) == b"abc"
    assert media.metadata({"bytes": None, "path": "a.bin"}) == media.metadata("a.bin")
    with pytest.raises(MediaError, match="outside the allowed folders"):
        media.read({"bytes": None, "path": "../secret.bin"}, 100)
    nested = {"bytes": None, "path": {"bytes": None, "path": "a.bin"}}
    assert media.metadata(nested) == ()
    with pytest.raises(TypeError, match="found dict"):
        media.read(nested, 100)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("data:image/png;base64,*" + "A" * 300_000, "is not base64"),
        ("data:image/svg+xml,<svg>" + " " * 300_000, "only base64 data URIs are read"),
        ("A" * 5000, "not the path of a file; to give the file's bytes, write data:image/png;base64,…"),
        ("A" * 300_000, "text of 300,000 bytes is not the path"),
        ("x/" * 2500, "not the path of a file|cannot open"),
        ("pics\\1.png", "use / between folders"),
    ],
)
def test_what_is_refused_is_said_in_a_short_line(folder, text, message):
    with pytest.raises(MediaError, match=message) as caught:
        Media(str(folder)).read(text, 1 << 20)
    assert len(str(caught.value)) < 400
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["data:image.bin", "iVBORw0KGgo", "data:1,2.bin"])
def test_a_file_may_be_called_as_a_medium_begins(folder, name):
    (folder / name).write_bytes(b"a file")
    assert Media(str(folder)).read(name, 100) == b"a file"
