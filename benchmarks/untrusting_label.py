"""`mmstream label` without commit records, checksums, lock, notes of what is in hand, and supervisor."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from beam_jobs import label
from mmstream import commits, files, lock, outputs, trained_model

_committed: dict[int, commits.Commit] = {}


def commit_part(
    output: str,
    part: int,
    fingerprint: str,
    counts: Mapping[str, int],
    made: Mapping[str, bytes | Path],
    *,
    parts: int,
    onto: commits.Commit | None,
    inputs: str = "",
    run: str = "",
) -> commits.Commit:
    """Write the files of a part, and remember its counts for the books."""
    for path, content in made.items():
        Path(files.join(output, path)).parent.mkdir(parents=True, exist_ok=True)
        Path(files.join(output, path)).write_bytes(content)  # type: ignore[arg-type]  # label makes bytes alone
    _committed[part] = commits.Commit(
        part=part, fingerprint=fingerprint, counts=dict(counts), checksums={}, parts=parts
    )
    return _committed[part]


@contextlib.contextmanager
def held(output: str, run: str, *, take_over: bool = False) -> Iterator[None]:
    """Hold nothing."""
    yield


if __name__ == "__main__":
    commits.commit_part = commit_part
    commits.recorded = lambda output, part: _committed.get(part)
    outputs.contradictions = lambda output, plan: iter(())
    lock.held = held
    lock.check = lambda output, run: None
    trained_model.check_files = lambda path, about: None
    sys.exit(label.main())
