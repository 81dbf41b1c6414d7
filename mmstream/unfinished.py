"""Records that workers have begun with and died of, where no supervisor sees that (`mmstream.supervisor`).

On a cluster the runner sees a worker die, and only starts another one with the same records, again and again. So a
worker notes in the output which records of a part it has begun with, and takes that back when it is done with them, or
has failed in any other way than by dying. A record that two workers have died with is tried alone, in a child process,
before a third one begins with it.
"""

from __future__ import annotations

import contextlib
import json
import logging
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from mmstream import children, files, parts, worker
from mmstream.json_files import load
from mmstream.records import DeadLetter, Record

Deaths = dict[str, int]
"""How many workers have died with each record in hand, by `worker.key_of`."""
_DEATHS = 2
"""So many workers may die with a record in hand before it is tried alone: one may be chance, as a lost machine."""
_TRYING = threading.Lock()
"""One thread of a process at a time: a child may need all the memory that is left."""


@contextlib.contextmanager
def begun(
    output: str, part: int, items: Sequence[Record | DeadLetter], trial: worker.Trial, stall_seconds: float
) -> Iterator[None]:
    """While the block runs, records are noted as begun with, and those that workers die of are passed over.

    Within a worker that a supervisor watches this does nothing.

    Args:
        output: directory of the output.
        part: its number.
        items: of it, that are in hand.
        trial: does to a record what the block does.
        stall_seconds: after so long with one record a child that tries it counts as hung.
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
            raise  # as good as a death: the same would happen again
        except BaseException:
            _write(note, deaths)
            raise
    _write(note, {key: count for key, count in deaths.items() if key not in records})


def _try(suspects: Sequence[Record], trial: worker.Trial, stall_seconds: float) -> dict[str, worker.Verdict]:
    with _TRYING:
        verdicts = children.blame(suspects, trial, stall_seconds)
    for key, verdict in verdicts.items():
        logging.getLogger(__name__).warning("quarantined %r: %s", json.loads(key)[0], verdict.message)
    return verdicts


def _write(note: str, deaths: Mapping[str, int]) -> None:
    if deaths:
        files.write_bytes(note, json.dumps(deaths).encode())
    else:
        files.remove(note)
