"""What every test of this repository may use, and must not leave behind."""

from __future__ import annotations

import atexit
import contextlib
import gc
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

# tensorflow-transform leaves protocol buffers in reference cycles; freed after the protobuf module itself, at the very
# end, they crash the process (exit code 139) when all tests have passed.
atexit.register(gc.freeze)
_PATIENCE_SECONDS = 20


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of test data beside the repository: tests without it are skipped, but fail in CI."""
    folder = Path(__file__).resolve().parent.parent / "shared" / "data"
    if not folder.is_dir():
        message = f"needs the test data in {folder}, which is not there"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return folder


@pytest.fixture(scope="session", autouse=True)
def leaves_nothing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Gives tests, and the processes that they start, a temporary folder, and looks at the end what is left."""
    folder = tmp_path_factory.mktemp("tmp")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(folder))
        patch.setattr(tempfile, "tempdir", None)
        yield
    until = time.monotonic() + _PATIENCE_SECONDS
    while (left := [*_processes(tmp_path_factory.getbasetemp()), *_files(folder)]) and time.monotonic() < until:
        time.sleep(0.2)
    assert not left, "\n".join(["tests have left behind:", *left])


def _files(folder: Path) -> Iterator[str]:
    """What lies there, save what TensorFlow removes when this process ends."""
    return (path.name for path in folder.iterdir() if not path.name.startswith("__autograph_generated_file"))


def _processes(folder: Path) -> Iterator[str]:
    """Command lines of processes whose temporary folder lies there."""
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if f"TMPDIR={folder}/".encode() in (process / "environ").read_bytes():
                yield (process / "cmdline").read_text().replace("\0", " ")
