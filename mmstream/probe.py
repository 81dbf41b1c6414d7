"""Tries records one by one for `mmstream.children`: `python -m mmstream.probe START`."""

from __future__ import annotations

import logging
import os
import pickle
import sys
from pathlib import Path

from mmstream import alive, files, terminal, worker


def main() -> int:
    """Try the suspects from number START on, noting which one is being tried; returns the exit code."""
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
            except Exception:  # is the job's affair; here it counts who ends the process
                logging.getLogger(__name__).exception("%s", step)
                break
    worker.ended()
    return 0


if __name__ == "__main__":
    sys.exit(main())
