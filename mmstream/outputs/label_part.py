"""Reading a part of labels: its rows and dead letters, and the files that hold them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from mmstream.interfaces import LabelType, Sink
from mmstream.outputs import commit_records, parts
from mmstream.outputs.letters import load_letters
from mmstream.records.record import DeadLetter

LabelRow = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class LabelPart:
    """The contents of a part of labels, stored or still to be stored.

    Attributes:
        rows: the label rows.
        letters: the dead letters.
        commit: its commit record; None if it was never committed.
        damaged: its files that are not as they were committed, which are not read, and what is wrong with each.
        lost: how many rows and letters the damaged files held.
    """

    rows: list[LabelRow]
    letters: list[DeadLetter]
    commit: commit_records.Commit | None = None
    damaged: Mapping[str, str] = dataclasses.field(default_factory=dict)
    lost: int = 0

    def __len__(self) -> int:
        """Return the number of rows and dead letters."""
        return len(self.rows) + len(self.letters)


def read_part(output: str, part: int, sink: Sink, schema: Mapping[str, LabelType]) -> LabelPart:
    """Read what a part holds; nothing if it was never committed.

    Raises:
        DamagedFileError: its commit record is not valid.
        OSError: a file that exists cannot be read.
    """
    commit = commit_records.recorded(output, part)
    if commit is None:
        return LabelPart([], [])
    contents = commit_records.read_files(output, commit)
    rows_path, letters_path = label_paths(part, sink)
    rows = sink.loads(contents.sound[rows_path], schema) if rows_path in contents.sound else []
    letters = load_letters(contents.sound[letters_path]) if letters_path in contents.sound else []
    lost = sum(commit.counts.values()) - len(rows) - len(letters) if contents.damaged else 0
    return LabelPart(rows, letters, commit, contents.damaged, lost)


def label_paths(part: int, sink: Sink) -> tuple[str, str]:
    """Return the paths of a part's file of rows and its file of dead letters, below the output."""
    name = parts.part_name(part)
    return f"labels/{name}{sink.suffix}", f"dead_letters/{name}.jsonl"
