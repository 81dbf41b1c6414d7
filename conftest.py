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
    """Temporary files, also of the processes that tests start, lie in pytest's folder, and go with it if all is well.

    Some tests kill processes, which then cannot tidy up; no process of theirs may outlive them.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(tmp_path_factory.mktemp("tmp")))
        patch.setattr(tempfile, "tempdir", None)
        yield
    until = time.monotonic() + _PATIENCE_SECONDS
    while (left := list(_processes_in(tmp_path_factory.getbasetemp()))) and time.monotonic() < until:
        time.sleep(0.2)
    assert not left, "\n".join(["processes have outlived their tests:", *left])


def _processes_in(folder: Path) -> Iterator[str]:
    """The command lines of processes whose temporary files lie there, save helpers that multiprocessing itself ends."""
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            line = (process / "cmdline").read_text().replace("\0", " ")
            ours = f"TMPDIR={folder}/".encode() in (process / "environ").read_bytes()
            if ours and "from multiprocessing." not in line:
                yield line
