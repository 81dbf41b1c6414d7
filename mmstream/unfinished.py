"""Parts that workers of a cluster have begun and not finished, so that a record which kills workers is found.

On one machine a supervisor sees its worker die (`mmstream.supervisor`). On a cluster the runner does, which only starts
another one with the same records, again and again. So a worker notes in the output that it has begun with a part, and
takes the note away when it is done with it, or has failed in any other way than by dying. Who finds that others have
died of a part tries its records alone, in a child process, before it begins.
"""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Iterator, Sequence

from mmstream import children, files, parts, worker
from mmstream.flags import STALL_SECONDS
from mmstream.records import DeadLetter, Record

_DEATHS = 2
"""So many workers may die of a part before its records are tried alone: one may be chance, as a lost machine."""


@contextlib.contextmanager
def begun(output: str, part: int, items: Sequence[Record | DeadLetter], trial: worker.Trial) -> Iterator[None]:
    """While the block runs, a part is noted as begun; records that workers die of are passed over in it.

    Args:
        output: directory of the output.
        part: its number.
        items: of it, that are in hand.
        trial: does to a record what the block does.
    """
    records = [item for item in items if isinstance(item, Record)]
    if not records:
        yield
        return
    note = files.join(output, "unfinished", parts.part_name(part))
    deaths = int(files.read_bytes(note)) if files.exists(note) else 0
    if deaths >= _DEATHS:
        found = children.blame(records, trial, STALL_SECONDS)
        for key, verdict in found.items():
            logging.getLogger(__name__).warning("quarantined %r: %s", json.loads(key)[0], verdict.message)
        worker.condemn(found)
    files.write_bytes(note, str(deaths + 1).encode())
    try:
        yield
    except MemoryError:
        raise  # as good as a death: the same would happen again
    except BaseException:
        files.remove(note)
        raise
    files.remove(note)
