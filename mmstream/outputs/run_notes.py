"""The notes that the readers and parts of a run keep on their work, in `runs/<start>/` of the output, on any runner."""

from __future__ import annotations

import datetime
import re
from collections import Counter
from collections.abc import Iterator, Set
from typing import Any

from mmstream.preprocessing.lookups import Counts, merged
from mmstream.runtime.concurrency import at_once
from mmstream.storage import files
from mmstream.storage.json_files import load, write_json

_NOTE = re.compile(r"(part|read)-\d{5,}\.json")
_Value = int | float | list[str] | Counts
_Values = dict[str, _Value]


def new_run() -> str:
    """Name a new run: its start in UTC, to the microsecond."""
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H-%M-%S.%fZ")


class Totals:
    """The totals of the notes of a run's parts and readers.

    Args:
        output: the output directory.
        run: the run's start, which names its folder.

    Attributes:
        damaged: files that were not as an earlier run had committed them, and what is wrong with each.
        lookups: which of the values that were labelled the model knows.
    """

    def __init__(self, output: str, run: str) -> None:
        self._output, self._run = output, run
        self._names: set[str] = set()
        self._totals: Counter[str] = Counter()
        self.damaged: list[str] = []
        self.lookups: Counts = {}

    def read(self) -> Counter[str]:
        """Return totals by name: the "parts" done, the smallest "smaller_batch", and the sum of each other count.

        Later calls add only new notes; a note that was replaced in the meantime still counts with its old values.
        """
        for name, values in notes(self._output, self._run, self._names):
            self._names.add(name)
            self._totals["parts"] += name.startswith("part-")
            self.damaged += values.pop("damaged", ())
            self.lookups = merged(self.lookups, values.pop("lookups", {}))
            smaller_batch = least(self._totals["smaller_batch"], values.pop("smaller_batch", 0))
            self._totals.update({key: value for key, value in values.items() if isinstance(value, int)})
            self._totals["smaller_batch"] = smaller_batch
        return self._totals


def least(*batches: int) -> int:
    """Return the smallest batch size, ignoring 0, which means that memory has not run out."""
    return min(filter(None, batches), default=0)


def notes(output: str, run: str = "", passing_over: Set[str] = frozenset()) -> Iterator[tuple[str, dict[str, Any]]]:
    """Read the notes of a run, or of all runs: the name of each, and its values.

    Args:
        output: the output directory.
        run: the run's start; "" for all runs.
        passing_over: the names of notes to leave out.

    Raises:
        DamagedFileError: one is not valid.
    """
    folder = f"runs/{run}" if run else "runs"

    def read(path: str) -> tuple[str, dict[str, Any]]:
        return files.name(path), load(output, f"{folder}/{path}", _Values) or {}

    return at_once(read, (path for path in note_files(output, run) if files.name(path) not in passing_over))


def note_files(output: str, run: str = "") -> Iterator[str]:
    """List the paths of a run's notes, relative to its folder, or of all runs' notes, relative to `runs/`."""
    paths = files.list_files(files.join(output, "runs", run))
    return (path for path in paths if _NOTE.fullmatch(files.name(path)))


def check_note(output: str, path: str) -> None:
    """Check that a note below `runs/` is valid.

    Raises:
        DamagedFileError: it is not.
    """
    load(output, f"runs/{path}", _Values)


def note(output: str, run: str, name: str, **values: _Value) -> None:
    """Write a note on what a part or a reader has done in a run; it replaces an earlier note of that name."""
    write_json(files.join(output, "runs", run, f"{name}.json"), values)
