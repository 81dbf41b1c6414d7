"""Records that crash workers that have no supervisor (`mmstream.supervision.supervisor`).

On a cluster, when a worker dies, the runner gives the same records to another worker, again and again. So a worker
notes in the output which records of a part it is processing, and removes the note when it has finished or has failed
without dying. If two workers have died while they processed a record, that record is tried alone, in a child process,
before a third worker processes it.
"""

from __future__ import annotations

import contextlib
import json
import logging
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from mmstream.outputs import parts
from mmstream.records.record import DeadLetter, Record
from mmstream.storage import files
from mmstream.storage.json_files import load
from mmstream.supervision import children, worker

_logger = logging.getLogger(__name__)
Deaths = dict[str, int]
"""How many workers have died while they processed each record, by `worker.key_of`."""
_DEATHS = 2
"""The number of deaths after which a record is tried alone: a single one may be chance, such as a lost machine."""
_TRYING = threading.Lock()
"""Lets one thread of a process try records at a time, as a child may need all the memory that is left."""


@contextlib.contextmanager
def begun(
    output: str, part: int, items: Sequence[Record | DeadLetter], trial: worker.Trial, stall_seconds: float
) -> Iterator[None]:
    """Keep a note, while the block runs, that these records are being processed, and skip those that crash workers.

    In a worker that a supervisor watches, this does nothing.

    Args:
        output: the output directory.
        part: the part's number.
        items: the items of the part that are to be processed.
        trial: processes a record as the block does.
        stall_seconds: how long a child may try one record before it counts as hung.
    """
    records = {worker.key_of(item): item for item in items if isinstance(item, Record)}
    if worker.is_supervised() or not records:
        yield
        return
    name = f"unfinished/{parts.part_name(part)}.json"
    note = files.join(output, name)
    deaths = Counter(load(output, name, Deaths) or {})
    suspects = [record for key, record in records.items() if deaths[key] >= _DEATHS]
    verdicts = _try(suspects, trial, stall_seconds) if suspects else {}
    _write(note, deaths + Counter(records.keys()))
    with worker.condemned(verdicts):
        try:
            yield
        except MemoryError:
            raise  # counts as a death: the same would happen again
        except BaseException:
            _write(note, deaths)
            raise
    _write(note, {key: count for key, count in deaths.items() if key not in records})


def _try(suspects: Sequence[Record], trial: worker.Trial, stall_seconds: float) -> dict[str, worker.Verdict]:
    with _TRYING:
        verdicts = children.blame(suspects, trial, stall_seconds)
    for key, verdict in verdicts.items():
        _logger.warning("quarantined %r: %s", json.loads(key)[0], verdict.message)
    return verdicts


def _write(note: str, deaths: Mapping[str, int]) -> None:
    if deaths:
        files.write_bytes(note, json.dumps(deaths).encode())
    else:
        files.remove(note)
