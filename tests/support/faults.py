"""Faults of the disk: one read, write, rename or listing below a folder fails, once or as long as a run lasts."""

from __future__ import annotations

import builtins
import contextlib
import io
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

_CALLS = ("open", "replace", "rename", "unlink", "remove", "scandir", "stat", "lstat", "mkdir", "listdir", "rmdir")
"""Functions of `os` that take a path first."""


class Faults:
    """Counts what is done below a folder, and lets one of these things fail.

    Args:
        folder: only what is done below it counts.
        at: number of the thing that fails, from 1; 0 to count only.
        error: makes the error, given the path.
        lasting: whether the same thing with the same file fails each time it is tried.

    Attributes:
        count: how many things were done so far.
        failed: what failed, as "replace labels/part-00000.parquet"; "" if nothing has.
    """

    def __init__(
        self, folder: Path, at: int = 0, error: Callable[[str], BaseException] | None = None, *, lasting: bool = False
    ):
        self._folder, self._at, self._error, self._lasting = str(folder), at, error, lasting
        self._lock = threading.Lock()
        self.count = 0
        self.failed = ""

    def meet(self, what: str, path: Any) -> None:
        """Count a thing that is done, or let it fail."""
        try:
            name = os.fsdecode(path)
        except TypeError:  # a descriptor
            return
        if not name.startswith(self._folder + "/"):
            return
        about = f"{what} {name.removeprefix(self._folder)}"
        with self._lock:
            self.count += 1
            first = self.count == self._at
            if first:
                self.failed = about
        if self._error and (first or (self._lasting and about == self.failed)):
            raise self._error(name)


class _Raw(io.FileIO):
    """A file whose reads and writes may fail."""

    def __init__(self, faults: Faults, path: Any, mode: str) -> None:
        super().__init__(path, mode)
        self._faults, self._path = faults, path

    def readinto(self, buffer: Any) -> Any:
        self._faults.meet("read", self._path)
        return super().readinto(buffer)

    def readall(self) -> bytes:
        self._faults.meet("read", self._path)
        return super().readall()

    def write(self, data: Any) -> Any:
        self._faults.meet("write", self._path)
        return super().write(data)


@contextlib.contextmanager
def planted(faults: Faults) -> Iterator[None]:
    """While the block runs, what this process does with files goes past these faults."""
    plain_open = io.open

    def opened(file: Any, mode: str = "r", *more: Any, **named: Any) -> Any:
        faults.meet("open", file)
        if mode in ("rb", "wb") and isinstance(file, str | os.PathLike):
            raw = _Raw(faults, file, mode)
            return io.BufferedReader(raw) if mode == "rb" else io.BufferedWriter(raw)
        return plain_open(file, mode, *more, **named)

    def wrapped(name: str) -> Callable[..., Any]:
        call = getattr(os, name)

        def planted_call(path: Any = ".", *more: Any, **named: Any) -> Any:
            faults.meet(name, more[0] if name in ("replace", "rename") and more else path)
            return call(path, *more, **named)

        return planted_call

    fsync = os.fsync

    def synced(descriptor: int) -> None:
        faults.meet("fsync", Path(f"/proc/self/fd/{descriptor}").readlink())
        fsync(descriptor)

    with pytest.MonkeyPatch.context() as patch:
        for name in _CALLS:
            patch.setattr(os, name, wrapped(name))
        patch.setattr(os, "fsync", synced)
        patch.setattr(io, "open", opened)
        patch.setattr(builtins, "open", opened)
        yield
