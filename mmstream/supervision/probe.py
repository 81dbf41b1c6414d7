"""Trying records one by one for `mmstream.supervision.children`: `python -m mmstream.supervision.probe START`."""

from __future__ import annotations

import logging
import os
import pickle
import sys
from pathlib import Path

from mmstream import terminal
from mmstream.runtime import alive
from mmstream.storage import files
from mmstream.supervision import worker

_logger = logging.getLogger(__name__)


def main() -> int:
    """Try the suspects, beginning with number START, and note which one is being tried; returns the exit code."""
    terminal.divert_library_noise()
    worker.begin()
    folder = Path(os.environ[alive.FOLDER])
    trial: worker.Trial = pickle.loads((folder / worker.TRIAL).read_bytes())
    suspects = pickle.loads((folder / "suspects").read_bytes())
    trial.prepare()
    for place, record in enumerate(suspects[int(sys.argv[1]) :], int(sys.argv[1])):
        for step in trial.steps:
            files.write_bytes(str(folder / "current"), f"{place} {step}".encode())
            try:
                trial.take(step, record)
            except MemoryError:
                return worker.OUT_OF_MEMORY
            except Exception:  # such a record fails in the job as well; what counts here is which one ends the process
                _logger.exception("%s", step)
                break
    worker.ended()
    return 0


if __name__ == "__main__":
    sys.exit(main())
