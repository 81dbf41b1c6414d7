"""Folders of one run: for its log, and for temporary files."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from mmstream import terminal
from mmstream.outputs import ownership
from mmstream.runtime import scratch as temporary
from mmstream.storage import files


@contextlib.contextmanager
def scratch(output: str) -> Iterator[str]:
    """A folder for a run's temporary files: on this machine, or in the output if that is remote."""
    if not files.is_remote(output):
        with temporary.folder() as here:
            yield str(here)
        return
    folder = files.join(output, ownership.SCRATCH)
    yield folder
    files.remove_folder(folder)


@contextlib.contextmanager
def log(output: str, run: str) -> Iterator[None]:
    """While the block runs, libraries log to `logs/<start>.log` in the output."""
    name = f"{run}.log"
    with tempfile.TemporaryDirectory(prefix="mmstream-") as scratch:
        path = Path(scratch if files.is_remote(output) else output, "logs", name)
        try:
            with terminal.library_log(path):
                yield
        finally:
            if files.is_remote(output):
                files.write_bytes(files.join(output, "logs", name), path.read_bytes())
